from __future__ import annotations

from collections import Counter

import pytest

from autotune.errors import DataError
from autotune.task import LEAST_ROWS_PER_LABEL, MOST_LABELS, Kind
from autotune.task.labels import check_labels, decide_kind


def answers(**counts: int) -> list[str]:
    return [label for label, count in counts.items() for _ in range(count)]


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (answers(joy=8, fear=8), "classification"),
        (answers(joy=8, fear=7), "generation"),
        (answers(joy=8, Joy=1), "classification"),
        ([f"label {n}" for n in range(MOST_LABELS)] * LEAST_ROWS_PER_LABEL, "classification"),
        ([f"label {n}" for n in range(MOST_LABELS + 1)] * LEAST_ROWS_PER_LABEL, "generation"),
    ],
)
def test_fifty_answers_of_eight_rows_are_the_limit(found: list[str], kind: Kind) -> None:
    assert decide_kind(found).kind == kind


def test_the_user_decides() -> None:
    assert decide_kind(answers(joy=8, fear=8), asked="generation").kind == "generation"
    assert decide_kind(answers(joy=1), asked="classification").kind == "classification"


def test_a_rare_answer_that_prevents_classification_is_named() -> None:
    warning = decide_kind(answers(joy=90, fear=7, sadness=3)).warning
    assert "('sadness' 3, 'fear' 7)" in warning


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (answers(joy=9, Joy=9), "'Joy' and 'joy'"),
        (["joy"] * 9 + ["joy "] * 9, "'joy' and 'joy '"),
        (["very  sad"] * 9 + ["very sad"] * 9, "'very  sad' and 'very sad'"),
        (answers(joy=9), "all rows have 'joy'"),
        (answers(joy=9, fear=7), "got 'fear' 7;"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(found: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_labels(found, Counter(found))
