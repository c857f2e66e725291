from __future__ import annotations

import random
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import DataError
from autotune.plain import from_plain, to_plain
from autotune.task import Task, Template, load_task
from autotune.task.split import normalized

Rows = list[dict[str, Any]]
Write = Callable[..., str]
TEMPLATE = Template.parse(r"### Text: {phrase}\n### The tone is:\n{tone}")
OLIVE = Path("data/olive-cookbook/olive-ort-example/dataset/dataset-classification.json")
SHARED = Path(__file__).parents[2].parent / "shared"


def assert_splits_are_disjoint(task: Task) -> None:
    prompts = [{normalized(row.prompt) for row in part} for part in task.splits.values()]
    assert sum(map(len, prompts)) == len(set.union(*prompts)) == task.summary.rows_used


def test_a_file_of_labelled_rows_is_a_classification_task(write: Write, rows: Rows) -> None:
    task = load_task(write(rows), template=TEMPLATE)
    assert task.kind == "classification"
    assert task.labels == ("fear", "joy", "sadness", "surprise")
    assert task.summary.split_sizes == {"train": 24, "validation": 8, "test": 8}
    assert task.summary.label_counts["joy"] == {"train": 6, "validation": 2, "test": 2}
    assert task.train[0].prompt.endswith("### The tone is:\n")
    assert task.summary.warnings == ()
    assert_splits_are_disjoint(task)
    assert from_plain(Task, to_plain(task)) == task


def test_the_digest_follows_content_not_the_order_of_the_file(write: Write, rows: Rows) -> None:
    first = load_task(write(rows, "a"), template=TEMPLATE)
    shuffled = random.Random(1).sample(rows, len(rows))
    assert load_task(write(shuffled, "b"), template=TEMPLATE).digest == first.digest
    for changed in (
        load_task(write(rows[:-1], "c"), template=TEMPLATE),
        load_task(write(rows, "d"), template=TEMPLATE, seed=1),
        load_task(write(rows, "e"), template=Template.parse("{phrase} {tone}")),
    ):
        assert changed.digest != first.digest


def test_repeats_conflicts_and_empty_rows_are_counted(write: Write, rows: Rows) -> None:
    rows += [{"phrase": "Phrase  NUMBER 0", "tone": "joy"}, {"phrase": "", "tone": None}]
    rows += [{"phrase": "odd", "tone": "joy"}, {"phrase": "odd", "tone": "fear"}]
    summary = load_task(write(rows), template=TEMPLATE).summary
    assert (summary.rows_read, summary.repeats_removed, summary.empty_rows) == (44, 1, 1)
    assert (summary.conflicting_prompts, summary.conflicting_rows) == (1, 2)
    (warning,) = summary.warnings
    assert warning.startswith("1 prompt has more than one answer, 2 rows are left out for it: ")
    assert warning.endswith("is 'joy' (data.jsonl, line 43) and 'fear' (data.jsonl, line 44)")
    assert (
        "44 rows; left out: 1 repeated, 1 empty, 2 with conflicting answers; 40"
        in summary.lines()[0]
    )


def test_numbers_and_booleans_are_labels(write: Write) -> None:
    stars = [{"phrase": f"phrase {n}", "tone": n % 2} for n in range(20)]
    assert load_task(write(stars), template=TEMPLATE).labels == ("0", "1")
    truth = [{"phrase": f"phrase {n}", "tone": bool(n % 2)} for n in range(20)]
    assert load_task(write(truth), template=TEMPLATE).labels == ("false", "true")


def test_many_distinct_answers_are_generation(write: Write) -> None:
    sums = [{"phrase": f"{n} + {n} =", "tone": str(2 * n)} for n in range(20)]
    task = load_task(write(sums), template=TEMPLATE)
    assert (task.kind, task.labels, task.summary.label_counts) == ("generation", (), {})
    assert task.summary.split_sizes == {"train": 12, "validation": 4, "test": 4}
    assert "read as generation" in task.summary.warnings[0]
    assert_splits_are_disjoint(task)


def test_optional_prompt_fields_may_be_null_or_absent(write: Write, rows: Rows) -> None:
    for row in rows[::2]:
        row["context"] = None
    task = load_task(write(rows), template=Template.parse("{context}{phrase}: {tone}"))
    assert {row.prompt[:6] for row in task.train} == {"phrase"}


def with_row(row: dict[str, Any]) -> Callable[[Rows], Rows]:
    return lambda rows: [*rows, row]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_row({"phrase": "x", "tone": None}), r"null or empty in 1 row \(.*, line 41\)"),
        (with_row({"phrase": "x"}), r"null or empty in 1 row \(.*, line 41\)"),
        (with_row({"phrase": "x", "tone": " "}), r"null or empty in 1 row"),
        (with_row({"phrase": "x", "tone": ["joy"]}), r"'tone' is a list or an object in 1 row"),
        (with_row({"phrase": {"a": 1}, "tone": "joy"}), r"'phrase' is a list or an object"),
        (with_row({"phrase": " ", "tone": "joy"}), r"'phrase' is empty in 1 row"),
        (with_row({"phrase": "\ud800", "tone": "joy"}), r"half of a surrogate pair in 1 row"),
        (with_row({"phrase": "x", "tone": "Joy"}), r"'Joy' and 'joy'; write them alike"),
        (with_row({"phrase": "phrase number 0", "tone": "joy "}), r"'joy' and 'joy '"),
        (lambda rows: rows[::4], r"all rows have 'joy'"),
        (lambda rows: rows[:7], r"at least 8 rows .* got 7"),
        (lambda rows: [{"phrase": "", "tone": ""}, *rows[:0]], r"no row of .* has any \(1 read\)"),
        (lambda rows: [{"phrse": row["phrase"], "tone": "x"} for row in rows], r"mean 'phrse'"),
        (lambda rows: [row | {"split": "training"} for row in rows[1:]]
            + [rows[0] | {"split": "hold-out"}], r"'hold-out' stands in .*, line 40"),
        (lambda rows: [row | {"split": "test"} for row in rows], r"names none 'train'"),
        (lambda rows: [*(row | {"split": "train"} for row in rows),
            *(row | {"split": "test"} for row in rows[:3])],
            r"share 3, the first is .*, line 1 and .*, line 41\)"),
        (lambda rows: [row | {"split": "test" if row["tone"] == "joy" else "train"}
            for row in rows], r"'joy' is in other splits only"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_used_is_refused(
    write: Write, rows: Rows, change: Callable[[Rows], Rows], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_task(write(change(rows)), template=TEMPLATE)


def test_too_few_rows_for_a_label_are_an_error_only_if_classification_is_asked(
    write: Write, rows: Rows
) -> None:
    path = write(rows[:-4])
    assert load_task(path, template=TEMPLATE).labels != ()
    path = write(rows[:28])
    assert load_task(path, template=TEMPLATE).kind == "generation"
    with pytest.raises(DataError, match="got 'fear' 7, 'joy' 7, 'sadness' 7, 'surprise' 7;"):
        load_task(path, template=TEMPLATE, kind="classification")


def test_a_column_of_splits_is_honoured(write: Write, rows: Rows) -> None:
    for number, row in enumerate(rows):
        row["split"] = "Dev" if number < 8 else "test" if number < 20 else "train"
    task = load_task(write(rows), template=TEMPLATE)
    assert {row.prompt for row in task.validation} == {
        f"### Text: phrase number {n}\n### The tone is:\n" for n in range(8)
    }
    assert task.summary.split_sizes == {"train": 20, "validation": 8, "test": 12}
    assert task.summary.lines()[1].endswith("(train, validation, test as the data names them)")


def test_a_column_named_split_with_other_values_is_not_used(write: Write, rows: Rows) -> None:
    path = write([row | {"split": "left"} for row in rows])
    task = load_task(path, template=TEMPLATE)
    assert task.summary.own_splits == ()
    assert "names no known split" in task.summary.warnings[0]
    assert load_task(path, template=Template.parse("{split} {phrase} {tone}")).kind


def test_split_files_are_honoured_and_the_rest_is_drawn(write: Write, rows: Rows) -> None:
    test = [{"phrase": f"held out {n}", "tone": row["tone"]} for n, row in enumerate(rows[:12])]
    task = load_task(write(rows), template=TEMPLATE, test_data=write(test, "test.jsonl"))
    assert task.summary.split_sizes == {"train": 32, "validation": 8, "test": 12}
    assert {row.prompt[10:18] for row in task.test} == {"held out"}
    assert task.summary.own_splits == ("test",)
    whole = load_task(
        write(rows),
        template=TEMPLATE,
        test_data=write(test[:4], "test.jsonl"),
        validation_data=write(test[4:], "validation.jsonl"),
    )
    assert whole.summary.split_sizes == {"train": 40, "validation": 8, "test": 4}
    assert_splits_are_disjoint(whole)


def test_a_leak_between_files_is_refused(write: Write, rows: Rows) -> None:
    leak = write([{"phrase": "PHRASE number  3", "tone": "surprise"}], "test.jsonl")
    with pytest.raises(DataError, match=r"train and test share 1, the first is .*PHRASE number  3"):
        load_task(write(rows), template=TEMPLATE, test_data=leak)


def test_two_places_for_one_split_are_refused(write: Write, rows: Rows) -> None:
    path = write([row | {"split": "test"} for row in rows[:8]] + rows[8:])
    with pytest.raises(DataError, match="line"):
        load_task(path, template=TEMPLATE)
    path = write([row | {"split": "train" if n > 8 else "test"} for n, row in enumerate(rows)])
    other = write(rows[:1], "other.jsonl")
    with pytest.raises(DataError, match="--test-data is"):
        load_task(path, template=TEMPLATE, test_data=other)


def test_a_label_missing_in_a_small_split_is_a_warning(write: Write, rows: Rows) -> None:
    test = write([{"phrase": "held out", "tone": "joy"}], "test.jsonl")
    warnings = load_task(write(rows), template=TEMPLATE, test_data=test).summary.warnings
    assert "no row of test has the label 'fear'" in warnings


def test_the_demo_data_is_read_with_its_own_splits() -> None:
    path = files("autotune.demo") / "tones.jsonl"
    summary = load_task(str(path), template=TEMPLATE).summary
    assert summary.own_splits == ("train", "validation", "test")
    assert (summary.repeats_removed, summary.empty_rows, summary.warnings) == (0, 0, ())
    assert len(summary.label_counts) == 4


@pytest.mark.skipif(not (SHARED / OLIVE).exists(), reason="the public data set is not here")
def test_the_repeats_of_the_public_phrases_cross_no_split() -> None:
    task = load_task(str(SHARED / OLIVE), template=TEMPLATE)
    assert (task.summary.rows_read, task.summary.repeats_removed) == (1464, 321)
    assert task.summary.split_sizes == {"train": 683, "validation": 230, "test": 230}
    assert_splits_are_disjoint(task)


def test_near_duplicates_across_splits_are_counted_and_shown(write: Write, rows: Rows) -> None:
    rows[0]["phrase"] = "What a LOVELY day, is it not?"
    test = [{"phrase": "what a lovely day is it not", "tone": "joy"}]
    for number, tone in enumerate(("joy", "fear", "sadness", "surprise")):
        test.append({"phrase": f"new {number}", "tone": tone})
    path = write(test, "held-out.jsonl")
    task = load_task(write(rows), template=TEMPLATE, test_data=path)
    (warning,) = task.summary.warnings
    home = next(
        name for name, part in task.splits.items() if any("LOVELY" in r.prompt for r in part)
    )
    assert warning.startswith(f"1 of 5 test rows are near-duplicates of {home} rows (80% of")
    assert "(held-out.jsonl, line 1) of" in warning
    assert "(data.jsonl, line 1); remove them" in warning


def test_unequal_and_look_alike_labels_are_warned_of_and_shown_in_columns(write: Write) -> None:
    counts = {"surprise": 120, "suprise": 10, "joy": 40}
    table = [
        {"phrase": f"{tone} {n} of them", "tone": tone}
        for tone, count in counts.items()
        for n in range(count)
    ]
    summary = load_task(write(table), template=TEMPLATE).summary
    alike, unequal = summary.warnings
    assert alike.startswith("the label 'suprise' (10 rows) looks like 'surprise' (120 rows)")
    assert unequal.startswith("the label 'surprise' has 12 times the rows of 'suprise'")
    lines = summary.lines()
    assert lines[2] == (
        "classification, 3 labels; always answering 'surprise' is right in 71 % of the test rows"
    )
    assert lines[3:7] == (
        "  label     train  validation  test",
        "  surprise     72          24    24",
        "  joy          24           8     8",
        "  suprise       6           2     2",
    )


def test_a_long_list_of_labels_shows_its_ends(write: Write) -> None:
    table = [{"phrase": f"{n} in {label}", "tone": f"tone {label}"} for label in range(20)
        for n in range(10 + label)]  # fmt: skip
    text = "\n".join(load_task(write(table), template=TEMPLATE).summary.lines())
    for words in ("tone 19 ", "tone 12 ", "... and 8 labels between", "tone 3 ", "tone 0 "):
        assert words in text
    assert "tone 11 " not in text
    assert "tone 4 " not in text
