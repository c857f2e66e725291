"""Tiny real tokenizers and a writer of data files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

END, BEGIN = "<end>", "<begin>"
TEXTS = [
    "### Text: what a lovely day\n### The tone is:\njoy",
    "### Text: it is so dark\n### The tone is:\nfear",
    "### Text: nobody called\n### The tone is:\nsadness",
    "### Text: I did not see that coming\n### The tone is:\nsurprise",
]


def save_model(folder: Path, *, begin: bool = False, joined: bool = False, eos: Any = None) -> Path:
    """Write tokenizer.json and config.json of a byte-level BPE trained on ``TEXTS``.

    ``joined`` lets merges cross any boundary, the end of the prompt among them.
    """
    tokenizer = Tokenizer(models.BPE())
    if joined:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[END, BEGIN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BEGIN} $A", special_tokens=[(BEGIN, tokenizer.token_to_id(BEGIN))]
        )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    end = tokenizer.token_to_id(END) if eos is None else eos
    (folder / "config.json").write_text(json.dumps({"eos_token_id": end}))
    return folder


@pytest.fixture(scope="session")
def plain_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def begin_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("begin"), begin=True)


@pytest.fixture(scope="session")
def joined_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("joined"), joined=True)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes text, bytes or rows (JSON Lines) and gives the path."""

    def _write(content: str | bytes | list[dict[str, Any]], name: str = "data.jsonl") -> str:
        path = tmp_path / name
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return _write


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Forty rows, four labels of ten."""
    tones = ("joy", "fear", "sadness", "surprise")
    return [{"phrase": f"phrase number {n}", "tone": tones[n % 4]} for n in range(40)]
