"""Which ways of training a search may try: what was asked for, and what makes sense here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autotune.candidate import MergeBase, Method
from autotune.errors import UsageError
from autotune.units import format_size

__all__ = ["QLORA_SLOWDOWN", "Offer", "Trainer", "Trainings", "offer"]

# Training on a 4-bit base over the same in 16 bits: 135M weights on two cores.
QLORA_SLOWDOWN = 1.3
# Of the trainer's memory: a base that takes more leaves little for everything else.
_LARGE = 0.5


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """What the user said about training.

    Attributes:
        methods: ``lora``, ``qlora``; empty lets machine and model decide.
        merge_bases: weights that an adapter of method qlora is merged into.
    """

    methods: tuple[Method, ...] = ()
    merge_bases: tuple[MergeBase, ...] = ("dequantized",)


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
    slower = f"qlora takes {QLORA_SLOWDOWN:g} times as long"
    return Offer(methods=("lora",), reason=f"{slower} and saves nothing that is short: {size}")
