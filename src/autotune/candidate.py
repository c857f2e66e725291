"""What can be tried: recipes (how to build), adapter configs (how to train), candidates.

The cost of running a model depends only on its recipe, its accuracy on both;
that is why they are two types. Names made here (``cpu-int4-b32``,
``lora-r16-lr0.001``) are what people read everywhere and are unique per value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

from autotune.errors import UsageError
from autotune.plain import digest, to_plain
from autotune.recipe import Algorithm, Embedding, Head, Precision, Recipe, read_recipe

__all__ = [
    "PARTS",
    "UNTRAINED",
    "AdapterConfig",
    "Algorithm",
    "Candidate",
    "Embedding",
    "Head",
    "MergeBase",
    "Method",
    "Precision",
    "Recipe",
    "Schedule",
    "read_recipe",
]

Method = Literal["lora", "qlora", "qat-lora"]
MergeBase = Literal["full", "dequantized"]
Schedule = Literal["cosine", "linear", "constant"]
# Parts of a decoder layer; names of layers stand beside them.
PARTS = ("all-linear", "attention", "mlp")


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """How a model is trained.

    Attributes:
        method: ``lora``, ``qlora`` (4-bit base while training) or ``qat-lora`` (the merged
            weights are rounded as in the built model while training).
        rank: LoRA rank, at least 1.
        alpha_ratio: lora_alpha / rank, greater than zero; alpha alone is redundant
            with the learning rate (facts on LoRA priors), the ratio is not.
        learning_rate: peak, greater than zero.
        epochs: passes over the training data at fidelity 1, greater than zero; not used
            where ``steps`` are given.
        batch_size: examples per optimiser step.
        warmup: share of all steps with a rising learning rate, in [0, 1).
        dropout: LoRA dropout, in [0, 1); 0 with qat-lora.
        weight_decay: AdamW's.
        target_modules: which linear layers get an adapter: ``all-linear``, ``attention``,
            ``mlp``, or names of layers joined by ``+`` (``q_proj+v_proj``).
        merge_base: weights that the adapter is merged into; ``dequantized`` is for qlora.
        seed: of initialisation, order and dropout.
        rslora: the product is scaled by alpha / sqrt(rank) in the place of alpha / rank, so
            that high ranks learn as fast as low ones (arXiv 2312.03732).
        double_quant: the scales of the 4-bit base are rounded too, to 8 bits; for qlora.
        schedule: of the learning rate after the warm-up: down to a tenth of the peak along
            a cosine or a line, or constant.
        steps: optimiser steps at fidelity 1, at least 1; None follows from ``epochs``.
        clip_norm: gradients are scaled down to this norm, greater than zero; None leaves
            them.
        quantiser: what rounds the weights while training, as ``Recipe.quantiser`` spells
            it; for qat-lora, which needs it.
        layers: decoder layers of the model that is trained, at least 1; None is all.
    """

    method: Method = "lora"
    rank: int = 16
    alpha_ratio: float = 2.0
    learning_rate: float = 1e-3
    epochs: float = 3.0
    batch_size: int = 16
    warmup: float = 0.05
    dropout: float = 0.0
    weight_decay: float = 0.0
    target_modules: str = "all-linear"
    merge_base: MergeBase = "full"
    seed: int = 0
    rslora: bool = False
    double_quant: bool = True
    schedule: Schedule = "cosine"
    steps: int | None = None
    clip_norm: float | None = 1.0
    quantiser: str | None = None
    layers: int | None = None

    def __post_init__(self) -> None:
        positive = ("rank", "alpha_ratio", "learning_rate", "epochs", "batch_size")
        optional = ("steps", "clip_norm", "layers")
        for field in (*positive, *optional):
            value = getattr(self, field)
            if value is None and field in optional:
                continue
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{field} must be finite and greater than zero, got {value!r}.")
        for field in ("warmup", "dropout"):
            value = getattr(self, field)
            if not 0 <= value < 1:
                raise UsageError(f"{field} must be in [0, 1), got {value!r}.")
        self._check_method()
        names = self.target_modules.split("+")
        if not all(names) or len(set(names)) < len(names):
            raise UsageError(
                "target_modules are distinct names joined by '+', or one of"
                f" {', '.join(PARTS)}; got {self.target_modules!r}."
            )

    def _check_method(self) -> None:
        """Raise ``UsageError`` for options that belong to another method."""
        if self.merge_base == "dequantized" and self.method != "qlora":
            raise UsageError("merge_base 'dequantized' is for method 'qlora' only; use 'full'.")
        if not self.double_quant and self.method != "qlora":
            raise UsageError("double_quant off is for method 'qlora' only; leave it on.")
        if bool(self.quantiser) != (self.method == "qat-lora"):
            raise UsageError(
                "Method 'qat-lora' needs a quantiser ('int4-b32') and no other method has one,"
                f" got method {self.method!r} with quantiser {self.quantiser!r}."
            )
        if self.quantiser and self.dropout:
            raise UsageError(
                "Method 'qat-lora' rounds base and adapter as one weight, from which no input of"
                f" the adapter can be dropped; use dropout 0, got {self.dropout!r}."
            )

    @property
    def name(self) -> str:
        """Short name with what the search varies, and a digest of the rest."""
        plain = to_plain(self)
        # Without what is as it was before there was a choice: names are in old records.
        added = {name: plain.pop(name) for name in _ADDED}
        usual = {field.name: field.default for field in fields(self)}
        plain |= {name: value for name, value in added.items() if value != usual[name]}
        method = self.method if self.quantiser is None else f"{self.method}-{self.quantiser}"
        depth = "" if self.layers is None else f"-l{self.layers}"
        shown = f"{method}{depth}-r{self.rank}-a{self.alpha_ratio:g}-lr{self.learning_rate:.3g}"
        return f"{shown}-{digest(plain)[:6]}"

    def serves(self, recipe: Recipe) -> bool:
        """Return whether a model that was trained so can be built with ``recipe``."""
        return self.layers == recipe.layers


# Fields that came after the first records.
_ADDED = ("rslora", "double_quant", "schedule", "steps", "clip_norm", "quantiser", "layers")

UNTRAINED = "untrained"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An adapter config at a fidelity, built with a recipe.

    Attributes:
        adapter: None is the untrained base model.
        fraction: share of the training steps that were done: 0 for the base, else (0, 1].
        recipe: how it is built.
    """

    adapter: AdapterConfig | None
    fraction: float
    recipe: Recipe

    def __post_init__(self) -> None:
        if (self.adapter is None) != (self.fraction == 0):
            raise UsageError("fraction is 0 for the untrained model and above 0 for an adapter.")
        if not 0 <= self.fraction <= 1:
            raise UsageError(f"fraction must be in [0, 1], got {self.fraction!r}.")
        if self.adapter is not None and not self.adapter.serves(self.recipe):
            raise UsageError(
                "An adapter is built with recipes of the depth that it was trained at, got"
                f" layers {self.adapter.layers!r} for recipe {self.recipe.name!r}."
            )

    @property
    def training(self) -> str:
        """Name of the training: adapter and share of its steps, or ``untrained``."""
        if self.adapter is None:
            return UNTRAINED
        share = "" if self.fraction == 1 else f"@{self.fraction:.2f}"
        return f"{self.adapter.name}{share}"

    @property
    def name(self) -> str:
        """``training/recipe``."""
        return f"{self.training}/{self.recipe.name}"
