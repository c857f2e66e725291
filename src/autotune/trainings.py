"""Which ways of training a search may try: what was asked for, and what makes sense here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from autotune.candidate import PARTS, AdapterConfig, MergeBase, Method, Schedule
from autotune.errors import UsageError
from autotune.units import format_size

__all__ = ["QAT", "QLORA_SLOWDOWN", "Offer", "Rounding", "Trainer", "Trainings", "offer"]

QAT: Method = "qat-lora"

# Training on a 4-bit base over the same at full width, 135M weights: 1.3 in bfloat16 on two
# cores with peft's layers, 1.05 in float32 on one with those of passes/lora.py.
QLORA_SLOWDOWN = 1.3
# Weights of a model whose steps a GPU replays from recordings, which 4-bit bases cannot be in:
# a two-layer model made 24.9 thousand tokens a second so and 3.9 thousand without (one H200).
_REPLAYED_BELOW = 1_000_000_000
# Of the trainer's memory: a base that takes more leaves little for everything else.
_LARGE = 0.5


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """What the user said about training.

    Attributes:
        methods: ``lora``, ``qlora``, ``qat-lora``; empty lets machine and model decide.
        merge_bases: weights that an adapter of method qlora is merged into.
        quantisers: that may be in the loop with qat-lora, as ``Recipe.quantiser`` spells them;
            empty takes those of the recipes.
        target_modules: what gets an adapter, each as in ``AdapterConfig``.
        epochs: passes over the data; None follows from the budget.
        steps: optimiser steps, in the place of epochs; None for no such number.
        schedule, rslora, double_quant, clip_norm: as in ``AdapterConfig``, for every one.
    """

    methods: tuple[Method, ...] = ()
    merge_bases: tuple[MergeBase, ...] = ("dequantized",)
    quantisers: tuple[str, ...] = ()
    target_modules: tuple[str, ...] = ("all-linear",)
    epochs: float | None = None
    steps: int | None = None
    schedule: Schedule = "cosine"
    rslora: bool = False
    double_quant: bool = True
    clip_norm: float | None = 1.0

    def __post_init__(self) -> None:
        if self.epochs is not None and self.steps is not None:
            raise UsageError(
                f"--epochs and --steps both say how long a training is, got {self.epochs:g} and"
                f" {self.steps}; leave one of them out."
            )
        if self.quantisers and self.methods and QAT not in self.methods:
            raise UsageError(
                f"--quantisers are for method {QAT!r}, got --methods {','.join(self.methods)};"
                " add it, or leave --quantisers out."
            )
        for modules in self.target_modules:  # what one config says, every one says
            AdapterConfig(
                target_modules=modules,
                epochs=1.0 if self.epochs is None else self.epochs,
                steps=self.steps,
                clip_norm=self.clip_norm,
            )

    def check_modules(self, layers: Collection[str]) -> None:
        """Raise where a name of ``target_modules`` is no layer of the model.

        Args:
            layers: full names of the model's matrices, embeddings and head left out.

        Raises:
            UsageError: names those that exist.
        """
        words = {word for one in self.target_modules for word in one.split("+")}
        for word in sorted(words.difference(PARTS)):
            if not any(f".{layer}".endswith(f".{word}") for layer in layers):
                known = sorted({layer.rpartition(".")[2] for layer in layers})
                raise UsageError(
                    f"--target-modules has {word!r}, which is no layer of this model; it has"
                    f" {', '.join(known)}, and {', '.join(PARTS)} mean several."
                )


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """The machine that trains.

    Attributes:
        device: ``cpu``, or a GPU's name.
        memory_bytes: of the GPU, or of the machine; None where unknown.
        versions: of its libraries, by distribution name.
    """

    device: str
    memory_bytes: int | None
    versions: Mapping[str, str]

    @property
    def bytes_per_weight(self) -> int:
        """What a weight of a base takes that is not rounded to 4 bits."""
        return 4 if self.device == "cpu" else 2


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """Quantisers of the recipes that may be built.

    Attributes:
        known: all of them, distinct.
        reproduced: those whose rounding training can do, in that order.
    """

    known: tuple[str, ...]
    reproduced: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What of training a search may try, and why.

    Attributes:
        methods: ways of training.
        reason: for people.
        quantisers: that may be in the loop; empty without qat-lora.
        quantiser_reason: why these or none, for people.
    """

    methods: tuple[Method, ...]
    reason: str
    quantisers: tuple[str, ...] = ()
    quantiser_reason: str = ""


def offer(trainings: Trainings, trainer: Trainer, parameters: int, rounding: Rounding) -> Offer:
    """Return the methods to try for a model with this many weights.

    LoRA wherever its base fits. QLoRA beside it where it has something to give: it saves
    memory, and costs time and a little accuracy. A quantiser in the loop wherever a recipe
    rounds weights as training can; the planner trains so where rounding costs something.

    Raises:
        UsageError: a method or a quantiser was asked for that cannot be had.
    """
    if trainings.methods:
        found = _offer_asked(trainings, trainer)
    elif "bitsandbytes" not in trainer.versions:
        reason = "qlora needs bitsandbytes, which is not installed"
        found = Offer(methods=("lora",), reason=reason)
    else:
        found = _offer_by_size(trainer, parameters)
    return _with_quantisers(found, trainings, rounding)


def _offer_asked(trainings: Trainings, trainer: Trainer) -> Offer:
    if "qlora" in trainings.methods and "bitsandbytes" not in trainer.versions:
        raise UsageError(
            "--methods qlora needs bitsandbytes, which is not installed;"
            " run: pip install 'autotune-slm[train]', or leave qlora out."
        )
    return Offer(methods=trainings.methods, reason="--methods")


def _with_quantisers(found: Offer, trainings: Trainings, rounding: Rounding) -> Offer:
    """Return ``found`` with the quantisers that may be in the loop."""
    if trainings.methods and QAT not in trainings.methods:
        return replace(found, quantiser_reason="--methods leaves qat-lora out")
    is_asked = QAT in trainings.methods or bool(trainings.quantisers)
    if not is_asked and "lora" not in found.methods:
        return replace(found, quantiser_reason="only a 4-bit base fits, and it needs the whole one")
    quantisers = _quantisers(trainings, rounding)
    if not quantisers:
        return replace(found, quantiser_reason="no recipe rounds weights as training can")
    reason = "where builds lose by rounding"
    if is_asked:
        reason = "--methods" if QAT in trainings.methods else "--quantisers"
    methods = tuple(dict.fromkeys((*found.methods, QAT)))
    return replace(found, methods=methods, quantisers=quantisers, quantiser_reason=reason)


def _quantisers(trainings: Trainings, rounding: Rounding) -> tuple[str, ...]:
    """Return the quantisers to have in the loop.

    Raises:
        UsageError: one that was asked for is unknown or not reproduced, or there is none.
    """
    possible = ", ".join(rounding.reproduced) or "none"
    for name in trainings.quantisers:
        if name not in rounding.known:
            raise UsageError(
                f"--quantisers has {name!r}, which no recipe that runs here has; choose from"
                f" {possible}."
            )
        if name not in rounding.reproduced:
            raise UsageError(
                f"--quantisers has {name!r}, whose rounding training does not reproduce; choose"
                f" from {possible}."
            )
    if QAT in trainings.methods and not rounding.reproduced:
        raise UsageError(
            f"--methods {QAT} needs a recipe whose rounding training reproduces, and those that"
            f" run here round with {', '.join(rounding.known) or 'nothing'}; leave it out."
        )
    return trainings.quantisers or rounding.reproduced


def _offer_by_size(trainer: Trainer, parameters: int) -> Offer:
    base = parameters * trainer.bytes_per_weight
    memory = trainer.memory_bytes
    size = f"the base takes {format_size(base)}"
    if memory is not None:
        size += f" of {format_size(memory)} in {8 * trainer.bytes_per_weight} bits"
        if base > memory:
            return Offer(methods=("qlora",), reason=f"{size}, so only 4 bits fit")
        if base > _LARGE * memory:
            small = f"about {format_size(parameters / 2)} in 4 bits"
            return Offer(methods=("lora", "qlora"), reason=f"{size}, {small}")
    if trainer.device != "cpu" and parameters < _REPLAYED_BELOW:
        return Offer(methods=("lora",), reason=f"only lora's steps are replayed, and {size}")
    if trainer.device != "cpu":
        return Offer(methods=("lora", "qlora"), reason="the GPU has kernels for a 4-bit base")
    slower = f"qlora takes up to {QLORA_SLOWDOWN:g} times as long"
    return Offer(methods=("lora",), reason=f"{slower} and saves nothing that is short: {size}")
