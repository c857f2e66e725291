"""Tiny models with tied and with own head, their prompts and answers, and one that is broken."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotune.targets import Architecture

__all__ = ["Fixture", "Logits", "answers", "exchanged", "make_fixtures"]

_VOCABULARY = 300
_LAYER_STD, _EMBEDDING_STD = 0.05, 0.0131
_PROMPT_LENGTHS = (5, 9, 13, 16)

Logits = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Fixture:
    """A tiny model, what it is, and what it answers.

    Attributes:
        folder: Hugging Face folder.
        architecture: as recipes see it.
        prompts: token ids.
        logits: of the last position, (prompts, vocabulary).
    """

    folder: Path
    architecture: Architecture
    prompts: list[list[int]]
    logits: Logits

    @property
    def name(self) -> str:
        """``tied-l2`` and the like."""
        head = "tied" if self.architecture.tied_embeddings else "untied"
        return f"{head}-l{self.architecture.layers}"


def make_fixtures(root: Path, *, depths: Sequence[int] = (1, 2)) -> list[Fixture]:
    """Return models with tied and with own head, of each depth, made from a seed."""
    return [
        _make_fixture(root / f"{tied}-{layers}", tied=tied, layers=layers)
        for tied, layers in itertools.product((True, False), depths)
    ]


def _make_fixture(folder: Path, *, tied: bool, layers: int) -> Fixture:
    import torch  # noqa: PLC0415 - only processes that build pay
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM  # noqa: PLC0415 - same

    folder.mkdir(parents=True)
    _write_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=_VOCABULARY,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        initializer_range=_LAYER_STD,
        dtype="float32",
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
        torch.nn.Module.eval(model)  # transformers' own has no types
        for table in (model.model.embed_tokens, model.lm_head):
            torch.nn.init.normal_(table.weight, std=_EMBEDDING_STD)
    model.generation_config = GenerationConfig.from_model_config(config)
    model.save_pretrained(folder)
    draw = np.random.default_rng(0)
    prompts = [draw.integers(1, _VOCABULARY, size=size).tolist() for size in _PROMPT_LENGTHS]
    read = import_module("autotune.passes.architectures").read_architecture
    return Fixture(
        folder=folder,
        architecture=read(folder),
        prompts=prompts,
        logits=answers(model, prompts),
    )


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models  # noqa: PLC0415 - only processes that build pay

    words = {f"w{number}": number for number in range(_VOCABULARY)}
    unknown = "w0"
    Tokenizer(models.WordLevel(words, unk_token=unknown)).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "w0", "bos_token": "w0"}',
        encoding="utf-8",
    )


def answers(model: Any, prompts: list[list[int]]) -> Logits:
    """Return the logits of the last position after each prompt, (prompts, vocabulary)."""
    import torch  # noqa: PLC0415 - only processes that build pay

    with torch.inference_mode():
        return np.stack([model(input_ids=torch.tensor([p])).logits[0, -1].numpy() for p in prompts])


def exchanged(fixture: Fixture, folder: Path) -> Fixture:
    """Return ``fixture`` with a folder in which its first two layers are exchanged."""
    shutil.copytree(fixture.folder, folder)
    _exchange_layers(folder / "model.safetensors")
    return replace(fixture, folder=folder)


def _exchange_layers(weights: Path) -> None:
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 - imports torch

    found = load_file(weights)
    for name in [name for name in found if ".layers.0." in name]:
        other = name.replace(".layers.0.", ".layers.1.")
        found[name], found[other] = found[other], found[name]
    save_file(found, weights, {"format": "pt"})
