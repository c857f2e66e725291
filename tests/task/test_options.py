"""Multiple choice: where the options stand, and how the right one is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autotune.errors import DataError
from autotune.task import Task, Template, load_task

Write = Callable[..., str]
TEMPLATE = Template.parse("{q}\nAnswer: {gold}.")
FOUR = ["a marsh", "the tundra", "a plain", "some desert"]


def _load(
    write: Write, golds: list[Any], options: list[Any] | None = None, columns: str = "o"
) -> Task:
    rows = [
        {"q": f"question {n}", "o": (options or [FOUR])[n % len(options or [1])], "gold": gold}
        for n, gold in enumerate(golds)
    ]
    return load_task(write(rows), template=TEMPLATE, options=columns.split(","))


def _answers(task: Task) -> dict[str, str]:
    return {row.prompt: row.answer for rows in task.splits.values() for row in rows}


@pytest.mark.parametrize(
    ("golds", "how"),
    [
        ([FOUR[n % 4] for n in range(12)], "by its text"),
        ([n % 4 for n in range(12)], "by its number from 0"),
        ([n % 4 + 1 for n in range(12)], "by its number from 1"),
        (["abcd"[n % 4] for n in range(12)], "by its letter"),
    ],
)
def test_the_right_option_is_named_in_one_way_for_all_rows(
    golds: list[Any], how: str, write: Write
) -> None:
    task = _load(write, golds)
    assert (task.kind, task.labels) == ("choice", ())
    assert task.summary.warnings == (f"'gold' names the right option {how}",)
    answers = _answers(task)
    for n in range(12):
        assert answers[f"question {n}\nAnswer:"] == f"{FOUR[n % 4]}."
    assert task.train[0].options == tuple(f"{text}." for text in FOUR)


def test_options_may_bring_labels_of_their_own(write: Write) -> None:
    offer = {"text": FOUR, "label": ["1", "2", "3", "X"]}
    task = _load(write, ["X", "1"] * 6, [offer])
    assert set(_answers(task).values()) == {"some desert.", "a marsh."}
    assert task.summary.warnings == ("'gold' names the right option by its label",)


def test_options_may_stand_in_columns_of_their_own(write: Write) -> None:
    lines = [f"question {n},yes,no,{'maybe' if n % 2 else ''},B" for n in range(12)]
    path = write("q,A,B,C,gold\n" + "\n".join(lines), "rows.csv")
    task = load_task(path, template=TEMPLATE, options=["A", "B", "C"])
    assert set(_answers(task).values()) == {"no."}
    assert {len(row.options) for row in task.train} == {2, 3}


def test_numbers_that_are_options_are_read_as_texts(write: Write) -> None:
    task = _load(write, ["2", "3"] * 6, [["1", "2", "3"]])
    assert set(_answers(task).values()) == {"2.", "3."}


def test_one_question_with_other_options_is_another_row(write: Write) -> None:
    rows = [{"q": "which", "o": [f"a {n}", f"b {n}"], "gold": 0} for n in range(12)]
    task = load_task(write(rows), template=TEMPLATE, options=["o"])
    assert task.summary.rows_used == 12


@pytest.mark.parametrize(
    ("golds", "options", "columns", "message"),
    [
        ([0] * 12, [["only"]], "o", r"two or more distinct options .*, line 1, has 1"),
        ([0] * 12, ["text"], "o", r"line 1, has 0"),
        ([0] * 12, [FOUR, ["a", "a "]], "o", r"line 2, has one of them twice"),
        ([0] * 12, [["a", " "]], "o", r"line 1, has an empty one"),
        ([0, 1] * 5 + [7, 0], [FOUR], "o", r"line 11, says '7' of 'a marsh', 'the tundra'"),
        ([0] * 12, [FOUR], "O", r"names the column 'O', .* Did you mean 'o'\?"),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    golds: list[Any], options: list[Any], columns: str, message: str, write: Write
) -> None:
    with pytest.raises(DataError, match=message):
        _load(write, golds, options, columns)


def test_options_and_another_kind_exclude_each_other(write: Write) -> None:
    path = write([{"q": "a", "o": FOUR, "gold": 0}])
    with pytest.raises(DataError, match="leave one out"):
        load_task(path, template=TEMPLATE, options=["o"], kind="generation")
    with pytest.raises(DataError, match="--options"):
        load_task(path, template=TEMPLATE, kind="choice")
