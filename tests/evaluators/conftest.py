"""Row sets over the tiny model, and one executor of real child processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.evaluators import BuiltModel, EvaluationRow, RowSet
from autotune.targets import LocalExecutor

_EOS = 0
# Token ids chosen so that the trie has two deep branches (walking it in any other order
# than depth first needs more than one token per node) and a label that stands alone.
_LABELS = {
    "joy": (65, 66, _EOS),
    "joyful": (65, 70, 81, _EOS),
    "joyless": (65, 70, 90, _EOS),
    "sad": (120, 66, _EOS),
    "sadness": (120, 121, 70, _EOS),
    "sadly": (120, 121, 75, _EOS),
    "fear": (200, _EOS),
}
_PHRASES = ("the news", "a dark house", "rain today", "nobody came", "it is a day", "see them")


@pytest.fixture(scope="session")
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor() as one:
        yield one


@pytest.fixture(scope="session")
def encode(tiny_model_dir: Path) -> Callable[[str], tuple[int, ...]]:
    from tokenizers import Tokenizer  # noqa: PLC0415 - only tests that need a model pay

    tokenizer = Tokenizer.from_file(str(tiny_model_dir / "tokenizer.json"))
    return lambda text: tuple(tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.fixture(scope="session")
def choices(encode: Callable[[str], tuple[int, ...]]) -> RowSet:
    """Twelve classification rows over seven labels whose tokens overlap."""
    label_ids = tuple(_LABELS.values())
    rows = []
    for i in range(12):
        prompt = f"### Text: {_PHRASES[i % 6]}, {i}\n### The tone is:\n"
        ids, right = encode(prompt), i % 7
        rows.append(
            EvaluationRow(
                prompt=prompt, prompt_ids=ids, reference=right, answer_ids=label_ids[right]
            )
        )
    return RowSet(
        kind="classification",
        rows=tuple(rows),
        labels=tuple(_LABELS),
        label_ids=label_ids,
        eos_ids=(_EOS,),
    )


@pytest.fixture(scope="session")
def answers(choices: RowSet) -> RowSet:
    """The same prompts as free text, answers of two to four tokens."""
    rows = tuple(replace(row, reference=choices.labels[int(row.reference)]) for row in choices.rows)
    return RowSet(kind="generation", rows=rows, eos_ids=(_EOS,), max_new_tokens=6)


@pytest.fixture(scope="session")
def built(tiny_built_dir: Path) -> BuiltModel:
    return BuiltModel(name="tiny", path=tiny_built_dir, provider="cpu")
