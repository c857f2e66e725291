"""Comparing answers: each metric on cases by hand, and functions of the user's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.errors import RunError, UsageError
from autotune.evaluators import judge_answers, resolve_rule
from autotune.task import AnswerRule

METRIC = """
def same_length(predictions, references):
    return [float(len(p) == len(r)) for p, r in zip(predictions, references)]
def one_number(predictions, references):
    return [0.5]
def percent(predictions, references):
    return [100.0 for _ in predictions]
def raises(predictions, references):
    raise LookupError("no such word")
def of_empty(predictions, references):
    return [1 / len(p) for p in predictions]
NO_FUNCTION = 3
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module in the current folder, which is not on the path."""
    monkeypatch.chdir(tmp_path)
    name = "own_metric_of_a_test"
    (tmp_path / f"{name}.py").write_text(METRIC, encoding="utf-8")
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("metric", "answer", "reference", "value"),
    [
        ("exact", " joy\n", "joy", 1.0),
        ("exact", "Joy", "joy", 0.0),
        ("", "joy", "joy ", 1.0),
        ("contains", "It is joy, surely.", " joy ", 1.0),
        ("contains", "It is sad.", "joy", 0.0),
        ("f1", "The cat sat.", "a CAT sat", 1.0),
        ("f1", "cat", "cat sat there", 0.5),
        ("f1", "cat cat", "cat sat", 0.5),  # a word counts as often as both have it
        ("f1", "dog", "cat", 0.0),
        ("f1", "", "cat", 0.0),
        ("f1", "the", "a", 1.0),  # nothing but articles on both sides
    ],
)
def test_every_metric_by_hand(metric: str, answer: str, reference: str, value: float) -> None:
    assert judge_answers(AnswerRule(metric=metric), [answer], [reference]) == [value]


@pytest.mark.parametrize(
    ("pattern", "answer", "reference", "value"),
    [
        (r"#### (\d+)", "5 + 7 = 12\n#### 12", "I add.\n#### 12", 1.0),
        (r"#### (\d+)", "5 + 7 = 13\n#### 13", "#### 12", 0.0),
        (r"#### (\d+)", "12", "#### 12", 0.0),  # no match is no answer
        (r"#### (\d+)", "#### 12", "12", 1.0),  # a reference without match is taken whole
        (r"\d+", "12 or 13", "12", 1.0),  # the first match counts, whole without a group
        (r"(x)?\d", "1", "x1", 0.0),  # a group that took no part is empty
    ],
)
def test_what_is_extracted_is_compared(
    pattern: str, answer: str, reference: str, value: float
) -> None:
    rule = AnswerRule(metric="exact", extract=pattern)
    assert judge_answers(rule, [answer], [reference]) == [value]


def test_a_function_of_the_users_own_judges_rows(own_module: str) -> None:
    rule = AnswerRule(metric=f"{own_module}:same_length")
    assert judge_answers(rule, ["ab", "abc"], ["cd", "cd"]) == [1.0, 0.0]
    assert str(Path.cwd()) not in sys.path


def test_editing_a_function_makes_another_rule(own_module: str) -> None:
    rule = AnswerRule(metric=f"{own_module}:same_length")
    before = resolve_rule(rule, ["joy"])
    with Path(f"{own_module}.py").open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    after = resolve_rule(rule, ["joy"])
    assert before.code != after.code != ""
    assert resolve_rule(AnswerRule(metric="f1"), ["joy"]) == AnswerRule(metric="f1")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("one_number", r"returns 3 numbers in \[0, 1\], .* it returned 1 of them"),
        ("percent", r"it returned 100\.0 among them"),
        ("raises", r"it raised LookupError \(no such word\)"),
        (
            "missing",
            r"names no function; .* has of_empty, one_number, percent, raises, same_length",
        ),
        ("NO_FUNCTION", "names no function"),
    ],
)
def test_a_function_that_cannot_judge_is_refused_before_anything_runs(
    function: str, message: str, own_module: str
) -> None:
    rule = AnswerRule(metric=f"{own_module}:{function}")
    with pytest.raises(UsageError, match=message):
        resolve_rule(rule, ["joy", "fear", "sad", "more"])


def test_a_function_that_fails_on_an_answer_stops_the_run(own_module: str) -> None:
    rule = AnswerRule(metric=f"{own_module}:of_empty")
    assert resolve_rule(rule, ["j"]).code
    with pytest.raises(RunError, match="it raised ZeroDivisionError"):
        judge_answers(rule, ["", "a"], ["a", "a"])


def test_a_module_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"cannot be imported \(ModuleNotFoundError"):
        resolve_rule(AnswerRule(metric="nowhere.at_all:f"), ["joy"])
