"""Which ways of training a search may try: what was asked for, and what makes sense here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from autotune.candidate import PARTS, AdapterConfig, MergeBase, Method, Schedule
from autotune.errors import UsageError
from autotune.units import format_size

__all__ = ["QLORA_SLOWDOWN", "Offer", "Trainer", "Trainings", "offer"]

# Training on a 4-bit base over the same at full width, 135M weights: 1.3 in bfloat16 on two
# cores with peft's layers, 1.05 in float32 on one with those of passes/lora.py.
QLORA_SLOWDOWN = 1.3
# Of the trainer's memory: a base that takes more leaves little for everything else.
_LARGE = 0.5


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """What the user said about training.

    Attributes:
        methods: ``lora``, ``qlora``; empty lets machine and model decide.
        merge_bases: weights that an adapter of method qlora is merged into.
        target_modules: what gets an adapter, each as in ``AdapterConfig``.
        epochs: passes over the data; None follows from the budget.
        steps: optimiser steps, in the place of epochs; None for no such number.
        schedule, rslora, double_quant, clip_norm: as in ``AdapterConfig``, for every one.
    """

    methods: tuple[Method, ...] = ()
    merge_bases: tuple[MergeBase, ...] = ("dequantized",)
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
class Offer:
    """The methods that a search may try, and why these."""

    methods: tuple[Method, ...]
    reason: str


def offer(trainings: Trainings, trainer: Trainer, parameters: int) -> Offer:
    """Return the methods to try for a model with this many weights.

    LoRA wherever its base fits. QLoRA beside it where it has something to give: it saves
    memory, and costs time and a little accuracy.

    Raises:
        UsageError: qlora was asked for and cannot run.
    """
    has_library = "bitsandbytes" in trainer.versions
    if trainings.methods:
        if "qlora" in trainings.methods and not has_library:
            raise UsageError(
                "--methods qlora needs bitsandbytes, which is not installed;"
                " run: pip install 'autotune-slm[train]', or leave qlora out."
            )
        return Offer(methods=trainings.methods, reason="--methods")
    if not has_library:
        return Offer(methods=("lora",), reason="qlora needs bitsandbytes, which is not installed")
    base = parameters * trainer.bytes_per_weight
    memory = trainer.memory_bytes
    size = f"the base takes {format_size(base)}"
    if memory is not None:
        size += f" of {format_size(memory)} in {8 * trainer.bytes_per_weight} bits"
        if base > memory:
            return Offer(methods=("qlora",), reason=f"{size}, so only 4 bits fit")
        if base > _LARGE * memory:
            return Offer(methods=("lora", "qlora"), reason=f"{size}, a quarter of that in 4 bits")
    if trainer.device != "cpu":
        return Offer(methods=("lora", "qlora"), reason="the GPU has kernels for a 4-bit base")
    slower = f"qlora takes up to {QLORA_SLOWDOWN:g} times as long"
    return Offer(methods=("lora",), reason=f"{slower} and saves nothing that is short: {size}")
