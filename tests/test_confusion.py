"""The confusion matrix against scikit-learn, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.confusion import Confusion
from autotune.evaluators import macro_f1
from autotune.plain import from_plain, to_plain

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40)


@given(PAIRS)
@settings(deadline=None)  # the first example pays for an import
def test_classes_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    from sklearn import metrics  # noqa: PLC0415 - only the reference needs it

    references, answers = map(list, zip(*pairs, strict=True))
    confusion = Confusion.of(references, answers, n_labels=4)
    labels = range(4)
    assert confusion.matrix == metrics.confusion_matrix(references, answers, labels=labels).tolist()
    for zero, name, slow in zip(
        (0.0, 0.0, 0.0),
        ("precision", "recall", "f1"),
        metrics.precision_recall_fscore_support(
            references, answers, labels=list(labels), zero_division=0.0
        )[:3],
        strict=True,
    ):
        ours = [getattr(score, name) for score in confusion.classes]
        assert [zero if value is None else value for value in ours] == pytest.approx(list(slow))
    known = [score.f1 for score in confusion.classes if score.f1 is not None]
    assert sum(known) / len(known) == pytest.approx(macro_f1(references, answers, seed=0)[0])
    assert from_plain(Confusion, to_plain(confusion)) == confusion


def test_a_share_of_nothing_is_no_number() -> None:
    never_answered, never_asked, neither = Confusion.of([0], [1], n_labels=3).classes
    assert (never_answered.precision, never_answered.recall) == (None, 0.0)
    assert (never_asked.precision, never_asked.recall) == (0.0, None)
    assert (neither.precision, neither.recall, neither.f1) == (None, None, None)


def test_mistakes_come_in_the_order_of_their_number() -> None:
    confusion = Confusion.of([0, 1, 1, 2, 2, 2], [0, 0, 0, 0, 0, 1], n_labels=3)
    assert confusion.mistakes == ((1, 0, 2), (2, 0, 2), (2, 1, 1))


@pytest.mark.parametrize(
    "cells", [((0, 3, 1),), ((-1, 0, 1),), ((0, 0, 0),), ((1, 0, 1), (0, 0, 1)), ((0, 0, 1),) * 2]
)
def test_cells_that_are_no_matrix_are_refused(cells: tuple[tuple[int, int, int], ...]) -> None:
    with pytest.raises(ValueError, match="each pair once"):
        Confusion(n_labels=3, cells=cells)
