"""The heal pass: an adapter that draws a cut model to the whole one, before it learns anything.

Inputs: ``model`` (the cut one, of the prune pass), ``whole`` (the one it was cut from) and
``data`` (``train.json``). The result has the form of the finetune pass's, so that the merge
pass makes a model of it, which is then tuned like any other. It depends on neither seed nor
adapter config of the tuning and is made once per depth.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from autotune.candidate import AdapterConfig
from autotune.errors import DivergedError, UsageError

from .contract import Artifact
from .examples import Example, read_examples
from .produce import pass_key
from .stopwatch import StopWatch

__all__ = ["HealPass"]

# Found on SmolLM2-135M cut to 20 and 16 of 30 layers (docs/LOG.md); the rank is high because
# what ten layers did is to be taken over.
_RANK = 64
_LEARNING_RATE = 2e-3
_BATCH = 16
# More says nothing new of what a cut breaks, however many rows there are.
_MOST_STEPS = 512
# Of longer rows the beginning is looked at.
_TOKENS = 256
# Losses that stand for where it ended.
_ENDS = 10


@dataclass(frozen=True, kw_only=True)
class HealPass:
    """Train an adapter of the cut model on the whole model's states.

    Attributes:
        kept: numbers, in the whole model, of the layers that the cut one has.
        epochs: passes over the training rows, greater than zero; fewer where they would take
            more than 512 steps of 16 rows.
    """

    name: ClassVar[str] = "heal"
    pool: ClassVar[str] = "train"
    timeout_s: ClassVar[float] = 4 * 3600.0
    libraries: ClassVar[tuple[str, ...]] = (
        "torch",
        "transformers",
        "peft",
        "device-class",
        "training-device",
    )

    kept: tuple[int, ...]
    epochs: float

    def __post_init__(self) -> None:
        if not self.epochs > 0:
            raise UsageError(f"epochs must be greater than zero, got {self.epochs!r}.")

    def key(self, inputs: Mapping[str, Artifact], versions: Mapping[str, str]) -> str:
        """Return what the result depends on."""
        return pass_key(self, inputs, versions)

    def run(self, inputs: Mapping[str, Path], workdir: Path) -> dict[str, Any]:
        """Train in this process and write what the finetune pass writes.

        Returns:
            Facts: ``steps``, ``tokens``, ``tokens_per_s``, ``distance_before`` and
            ``distance`` (squared distance of states over the squared length of the whole
            model's, of the first step and the mean of the last ten), ``rows_at_once``, ``dtype``,
            ``device`` and ``seconds`` per part.

        Raises:
            DivergedError: the distance is not finite.
            DataError: unusable rows.
            HardwareError: a GPU that torch sees but cannot compute on.
        """
        watch = StopWatch()
        from . import base_model, compute, lora  # noqa: PLC0415 - imports torch
        from .healing import Healing  # noqa: PLC0415 - same

        watch.lap("import")
        compute.use_all_cores()
        examples, _ = read_examples(inputs["data"] / "train.json")
        used = compute.training_compute()
        adapter = self._adapter(len(examples))
        base = base_model.training_base(inputs["model"], adapter.method, used)
        whole = base_model.load_for(used, inputs["whole"])
        watch.lap("load")
        with lora.adapted(base, adapter) as peft_model:
            healing = Healing(
                base=base,
                peft_model=peft_model,
                adapter=adapter,
                examples=[_beginning(example) for example in examples],
                whole=whole,
                kept=self.kept,
            )
            watch.lap("prepare")
            healing.advance(healing.plan.total_steps)
            watch.lap("train")
            healing.save(workdir)
            watch.lap("save")
        losses = healing.losses
        facts = {
            "steps": healing.step,
            "tokens": healing.speed.tokens,
            "tokens_per_s": healing.speed.tokens_per_s,
            "distance_before": losses[0],
            "distance": _finite(statistics.fmean(losses[-_ENDS:])),
            "rows_at_once": healing.fit.rows,
            "dtype": used.dtype_name,
            "device": used.device,
            "seconds": watch.seconds,
        }
        del healing, peft_model, whole
        base_model.make_room(base.device)
        return facts

    def _adapter(self, rows: int) -> AdapterConfig:
        return AdapterConfig(
            rank=_RANK,
            learning_rate=_LEARNING_RATE,
            batch_size=_BATCH,
            epochs=min(self.epochs, _MOST_STEPS * _BATCH / rows),
            schedule="linear",
            layers=len(self.kept),
        )


def _beginning(example: Example) -> Example:
    ids = example.ids[:_TOKENS]
    # Every token counts here; the answer's place only says how much memory a step takes.
    return Example(ids=ids, answer_start=min(example.answer_start, len(ids) - 1))


def _finite(distance: float) -> float:
    if not 0 <= distance < float("inf"):
        raise DivergedError(
            f"The distance to the whole model must be finite, it is {distance!r}; keep more layers."
        )
    return distance
