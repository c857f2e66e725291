"""Prompts that are too long: cut at their beginning, at a word, only when asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import DataError
from autotune.task import Template, load_task, tokenize_task

Write = Callable[..., str]
TEMPLATE = Template.parse(r"### Text: {phrase}\n### The tone is:\n{tone}")


def test_the_end_of_the_prompt_stays_and_the_row_fits(
    write: Write, rows: list[dict[str, Any]], plain_model: Path
) -> None:
    words = [f"word{n}" for n in range(200)]
    rows[3]["phrase"] = " ".join(words)
    task = load_task(write(rows), template=TEMPLATE)
    with pytest.raises(DataError, match=r"1 of 40 rows do not, .*line 4\).* --truncate"):
        tokenize_task(task, plain_model, 128)
    tokens = tokenize_task(task, plain_model, 128, truncates=True)
    assert tokens.warnings == ("the beginning of 1 of 40 prompts is left out (--truncate)",)
    every = [row for part in (tokens.train, tokens.validation, tokens.test) for row in part.rows]
    (cut,) = [row for row in every if "word199" in row.prompt]
    begun = cut.prompt.split()[0]
    assert cut.prompt.startswith("word"), "cut between words"
    left = " ".join(words[words.index(begun) :])
    assert cut.prompt == f"{left}\n### The tone is:\n"
    longest = max(map(len, tokens.train.label_ids))
    assert len(cut.prompt_ids) + longest <= 128
    assert all(row.prompt.startswith("### Text: ") for row in every if row is not cut)


def test_an_answer_that_fills_the_context_cannot_be_helped(write: Write, plain_model: Path) -> None:
    table = [{"phrase": f"say {n}", "tone": f"{n} " + "word " * 60} for n in range(20)]
    task = load_task(write(table), template=TEMPLATE)
    with pytest.raises(DataError, match="without its whole question"):
        tokenize_task(task, plain_model, 64, truncates=True)
