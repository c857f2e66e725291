from __future__ import annotations

from collections import Counter

import pytest

from autotune.errors import DataError
from autotune.task import LEAST_ROWS_PER_LABEL, MOST_LABELS, Kind
from autotune.task.labels import check_labels, decide_kind, look_alikes


def answers(**counts: int) -> list[str]:
    return [label for label, count in counts.items() for _ in range(count)]


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (answers(joy=8, fear=8), "classification"),
        (answers(joy=8, fear=7), "generation"),
        (answers(joy=8, Joy=1), "classification"),
        (answers(joy=80, fear=90, joyy=1), "classification"),
        (answers(joy=80, fear=90, joyy=1, other=2), "generation"),
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
        (answers(joy=90, fear=9, joyy=7), r"got 'joyy' 7 \(did you mean 'joy'\?\);"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(found: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_labels(found, Counter(found))


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ({"surprise": 100, "suprise": 9}, {"suprise": "surprise"}),
        ({"surprise": 100, "suprise": 11}, {}),  # not ten times as frequent
        ({"class 1": 100, "class 2": 3, "joy": 99}, {}),  # digits differ on purpose
        ({"male": 3, "female": 90}, {}),
        ({"positive": 90, "negative": 9}, {}),
    ],
)
def test_a_rare_label_beside_a_frequent_one_is_a_slip(
    counts: dict[str, int], found: dict[str, str]
) -> None:
    assert look_alikes(counts) == found
