from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from autotune.errors import DataError, ModelSourceError
from autotune.plain import from_plain, to_plain
from autotune.task import Encoder, Task, Template, TokenizedTask, load_task, tokenize_task

Rows = list[dict[str, Any]]
Write = Callable[..., str]
TEMPLATE = Template.parse(r"### Text: {phrase}\n### The tone is:\n{tone}")
CONTEXT = 512


@pytest.fixture
def task(write: Write, rows: Rows) -> Task:
    return load_task(write(rows), template=TEMPLATE)


def decoded(model: Path, ids: tuple[int, ...]) -> str:
    return str(Encoder.load(model).tokenizer.decode(list(ids), skip_special_tokens=False))


@pytest.mark.parametrize("model", ["plain_model", "begin_model"])
def test_training_ids_are_the_joint_tokens_and_an_end(
    request: pytest.FixtureRequest, task: Task, model: str
) -> None:
    folder: Path = request.getfixturevalue(model)
    tokenized = tokenize_task(task, folder, CONTEXT)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenized.warnings == ()
    for text, example in zip(task.train, tokenized.examples, strict=True):
        joint = tokenizer.encode(text.prompt + text.answer).ids
        assert list(example.ids) == [*joint, tokenized.eos_ids[0]]
        assert decoded(folder, example.ids[example.answer_start :]) == f"{text.answer}<end>"
    begins = {example.ids[0] == tokenizer.token_to_id("<begin>") for example in tokenized.examples}
    assert begins == {model == "begin_model"}


def test_rows_refer_to_labels_and_survive_json(task: Task, begin_model: Path) -> None:
    tokenized = tokenize_task(task, begin_model, CONTEXT)
    for rows, texts in zip(
        (tokenized.train, tokenized.validation, tokenized.test), task.splits.values(), strict=True
    ):
        assert rows.labels == task.labels
        assert rows.max_new_tokens == max(map(len, rows.label_ids))
        for row, text in zip(rows.rows, texts, strict=True):
            assert isinstance(row.reference, int)
            assert rows.labels[row.reference] == text.answer
            assert row.answer_ids == rows.label_ids[row.reference]
            assert row.prompt == text.prompt
    assert from_plain(TokenizedTask, to_plain(tokenized)) == tokenized


def test_spaces_before_the_answer_are_its_tokens(
    write: Write, rows: Rows, plain_model: Path
) -> None:
    task = load_task(write(rows), template=Template.parse("{phrase} is {tone}"))
    tokenized = tokenize_task(task, plain_model, CONTEXT)
    assert all(row.prompt.endswith(" is") for row in tokenized.test.rows)
    assert [decoded(plain_model, ids) for ids in tokenized.train.label_ids] == [
        f" {label}<end>" for label in task.labels
    ]
    assert tokenized.train.labels == task.labels


def test_an_end_written_in_the_template_is_not_doubled(
    write: Write, rows: Rows, plain_model: Path
) -> None:
    task = load_task(write(rows), template=Template.parse(r"{phrase}\n{tone}<end>"))
    for ids in tokenize_task(task, plain_model, CONTEXT).train.label_ids:
        assert decoded(plain_model, ids).count("<end>") == 1


def test_a_boundary_that_joins_tokens_is_kept_and_reported(task: Task, joined_model: Path) -> None:
    tokenized = tokenize_task(task, joined_model, CONTEXT)
    encoder = Encoder.load(joined_model)
    assert encoder.continuation(task.train[0].prompt, "joy") is None
    joined = [
        text
        for part in task.splits.values()
        for text in part
        if encoder.continuation(text.prompt, text.answer) is None
    ]
    assert f"in {len(joined)} of 40 rows the tokenizer would join" in tokenized.warnings[0]
    for text, example in zip(task.train, tokenized.examples, strict=True):
        assert example.ids[: example.answer_start] == encoder.encode(text.prompt)
        assert decoded(joined_model, example.ids) == f"{text.prompt}{text.answer}<end>"


def test_generation_keeps_each_answer_and_a_margin(write: Write, begin_model: Path) -> None:
    sums = [{"phrase": f"{n} and {n}", "tone": f"it is {n * n}"} for n in range(20)]
    task = load_task(write(sums), template=TEMPLATE)
    tokenized = tokenize_task(task, begin_model, CONTEXT)
    rows = [
        row for part in (tokenized.train, tokenized.validation, tokenized.test) for row in part.rows
    ]
    for row in rows:
        assert decoded(begin_model, row.answer_ids) == f"{row.reference}<end>"
    longest = max(len(row.answer_ids) for row in rows)
    assert longest < tokenized.test.max_new_tokens <= 1.25 * longest + 1
    assert (tokenized.test.labels, tokenized.test.label_ids) == ((), ())


def test_rows_over_the_context_are_counted_and_shown(
    write: Write, rows: Rows, plain_model: Path
) -> None:
    rows[3]["phrase"], rows[8]["phrase"] = "long " * 300, "longer " * 300
    task = load_task(write(rows), template=TEMPLATE)
    with pytest.raises(
        DataError, match=r"context of 512 tokens; 2 of 40 rows do not, .*Text: long"
    ):
        tokenize_task(task, plain_model, CONTEXT)


def test_the_context_may_be_filled_to_its_last_token(task: Task, plain_model: Path) -> None:
    tokenized = tokenize_task(task, plain_model, CONTEXT)
    parts = (tokenized.train, tokenized.validation, tokenized.test)
    longest = max(len(row.prompt_ids) for part in parts for row in part.rows)
    full = longest + max(map(len, tokenized.train.label_ids))
    assert tokenize_task(task, plain_model, full) == tokenized
    with pytest.raises(DataError, match="do not"):
        tokenize_task(task, plain_model, full - 1)


def test_the_digest_depends_on_text_and_tokenizer(
    task: Task, write: Write, rows: Rows, plain_model: Path, begin_model: Path
) -> None:
    other = load_task(write(rows), template=TEMPLATE, seed=1)
    digests = {
        tokenize_task(task, plain_model, CONTEXT).digest,
        tokenize_task(task, begin_model, CONTEXT).digest,
        tokenize_task(other, plain_model, CONTEXT).digest,
    }
    assert len(digests) == 3
    assert tokenize_task(task, plain_model, CONTEXT).digest in digests


def test_truncation_and_padding_of_the_file_are_ignored(plain_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(plain_model, tmp_path / "model")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(max_length=4)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(folder / "tokenizer.json"))
    text = "a sentence that is longer than four tokens"
    assert Encoder.load(folder).encode(text) == Encoder.load(plain_model).encode(text)


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [
        ({"eos_token_id": 3}, None, (3,)),
        ({"eos_token_id": 3}, {"eos_token_id": [5, 3]}, (5, 3)),
        ({"eos_token_id": [3, 3]}, {"eos_token_id": None}, (3,)),
        ({}, {"eos_token_id": 0}, (0,)),
    ],
)
def test_end_tokens_come_from_the_generation_config_first(
    plain_model: Path,
    tmp_path: Path,
    config: dict[str, Any],
    generation: dict[str, Any] | None,
    expected: tuple[int, ...],
) -> None:
    folder = shutil.copytree(plain_model, tmp_path / "model")
    (folder / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    assert Encoder.load(folder).eos_ids == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", None, "has none or an empty one"),
        ("tokenizer.json", "{}", "has none or an empty one"),
        ("tokenizer.json", "{", "cannot be read"),
        ("config.json", None, "no 'eos_token_id'"),
        ("config.json", '{"eos_token_id": null}', "no 'eos_token_id'"),
        ("config.json", '{"eos_token_id": true}', "no 'eos_token_id'"),
        ("config.json", '{"eos_token_id": []}', "no 'eos_token_id'"),
    ],
)
def test_a_model_without_tokenizer_or_end_is_refused(
    plain_model: Path, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    folder = shutil.copytree(plain_model, tmp_path / "model")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(ModelSourceError, match=message):
        Encoder.load(folder)
