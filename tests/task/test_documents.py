"""Plain text: nothing is lost between the file and the tokens that are learned and scored."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from autotune.errors import DataError
from autotune.task import RowSet, Task, Template, load_task, tokenize_task

Write = Callable[..., str]
TEXT = "".join(f" = Day {n} = \n \n It is so dark, and nobody called .\n" for n in range(60))


def _texts(task: Task) -> list[str]:
    return ["".join(row.answer for row in rows) for rows in task.splits.values()]


def test_a_text_file_is_cut_in_order_and_nothing_is_lost(write: Write) -> None:
    task = load_task(write(TEXT, "wiki.txt"), template=None, kind="perplexity")
    train, validation, test = _texts(task)
    assert train + validation + test == TEXT
    assert [round(len(part) / len(TEXT), 1) for part in (train, validation, test)] == [
        0.6,
        0.2,
        0.2,
    ]
    assert task.summary.lines()[1].endswith("(cut in order)")
    assert task.kind == "perplexity"


def test_rows_of_a_table_are_pieces_of_one_text(write: Write) -> None:
    rows = [{"text": f"{line}\n"} for line in TEXT.split("\n")[:-1]]
    from_rows = load_task(write(rows), template=None, kind="perplexity")
    from_file = load_task(write(TEXT, "wiki.txt"), template=None, kind="perplexity")
    assert _texts(from_rows) == _texts(from_file)
    spaced = Template.parse(r"{text}\n", is_plain_text=True)
    apart = load_task(write(rows), template=spaced, kind="perplexity")
    assert "".join(_texts(apart)) == TEXT.replace("\n", "\n\n")


def test_files_of_the_users_own_stay_whole(write: Write) -> None:
    train, test = write(TEXT, "a.txt"), write("It was all quiet.\n" * 9, "b.txt")
    task = load_task(train, template=None, kind="perplexity", test_data=test)
    texts = _texts(task)
    assert texts[0] + texts[1] == TEXT
    assert texts[2] == "It was all quiet.\n" * 9
    assert round(len(texts[0]) / len(TEXT), 2) == 0.75
    assert task.summary.lines()[1].endswith("data names them, train, validation cut in order)")


def test_a_text_that_is_in_two_splits_is_told(write: Write) -> None:
    line = "One line of ten words that is in both of them.\n"
    train, test = write(TEXT + line, "a.txt"), write(line + "Another end.\n", "b.txt")
    task = load_task(train, template=None, kind="perplexity", test_data=test)
    assert any("1 of 2 test rows are near-duplicates" in one for one in task.summary.warnings)


@pytest.mark.parametrize(
    ("text", "message"),
    [(" \n \n", "has none; name another"), ("one line only", "Every split has text, .* has none")],
)
def test_text_that_is_too_little_is_refused(text: str, message: str, write: Write) -> None:
    with pytest.raises(DataError, match=message):
        load_task(write(text, "a.txt"), template=None, kind="perplexity")


def test_a_template_of_plain_text_has_one_field() -> None:
    with pytest.raises(DataError, match="has one field"):
        Template.parse("{a} {b}", is_plain_text=True)


def _ids(model: Path, text: str) -> list[int]:
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def _joined(rows: RowSet) -> list[int]:
    return list(itertools.chain.from_iterable(row.answer_ids for row in rows.rows))


@pytest.mark.parametrize("model", ["plain_model", "begin_model"])
def test_every_token_but_the_first_is_learned_once_and_scored_once(
    model: str, write: Write, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(model)
    task = load_task(write(TEXT, "a.txt"), template=None, kind="perplexity")
    tokens = tokenize_task(task, folder, 64)
    train, validation, _ = _texts(task)
    assert _joined(tokens.train) == _ids(folder, train)[1:]
    assert _joined(tokens.validation) == _ids(folder, validation)[1:]
    begins = len(tokens.validation.rows[0].prompt_ids) - 1
    assert begins == (model == "begin_model")
    for row in (*tokens.train.rows, *tokens.validation.rows):
        assert len(row.prompt_ids) + len(row.answer_ids) <= 64
    before: list[int] = [_ids(folder, validation)[0]]
    for row in tokens.validation.rows:
        context = list(row.prompt_ids[begins:])
        assert context == before[len(before) - len(context) :], "the tokens just before"
        before += row.answer_ids
    assert all(len(row.prompt_ids) >= 16 for row in tokens.validation.rows[4:])


def test_a_long_text_is_sampled_evenly_and_says_so(write: Write, plain_model: Path) -> None:
    task = load_task(write(TEXT * 30, "a.txt"), template=None, kind="perplexity")
    tokens = tokenize_task(task, plain_model, 512)
    assert len(tokens.validation.rows) == 32
    assert {len(row.answer_ids) for row in tokens.validation.rows} == {64}
    assert tokens.warnings[0].startswith("validation: 2048 of ")
    assert tokens.warnings[0].endswith("in 32 windows of 256 tokens, stride 64")
