"""Training examples as token ids, their batches and the plan of steps: pure data.

Everything here is a function of its arguments alone, which is what makes a
training that is stopped and continued equal to one that was not.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.candidate import AdapterConfig, Schedule
from autotune.errors import DataError

__all__ = ["Example", "StepPlan", "read_examples"]

# Rows are sorted by length inside groups of this many batches: enough that a batch holds
# rows of nearly one length (2% padding on the demo data), few enough that order stays random.
_BATCHES_PER_GROUP = 16
_FINAL_RATE = 0.1


@dataclass(frozen=True, kw_only=True)
class Example:
    """Token ids of prompt and answer; the answer starts at ``answer_start``, from 1 to len - 1."""

    ids: tuple[int, ...]
    answer_start: int

    def __post_init__(self) -> None:
        if not 1 <= self.answer_start < len(self.ids):
            raise DataError(
                "An example needs a token before its answer and one in it: answer_start must be"
                f" in [1, {len(self.ids) - 1}], got {self.answer_start!r}."
            )


def read_examples(path: Path) -> tuple[list[Example], list[Example]]:
    """Return the training and the probe examples of a ``train.json``.

    Raises:
        DataError: no training examples, or one without prompt or answer.
    """
    data = json.loads(path.read_text(encoding="utf-8"))
    examples, probe = (_examples(data[key]) for key in ("examples", "probe"))
    if not examples:
        raise DataError(f"{path.name!r} holds no training examples; training needs at least one.")
    return examples, probe


def _examples(items: Sequence[dict[str, Any]]) -> list[Example]:
    return [Example(ids=tuple(item["ids"]), answer_start=item["answer_start"]) for item in items]


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """Which rows each optimiser step sees and at which learning rate.

    Steps are numbered from 0. The plan is always that of the whole training, so the
    steps up to a smaller fraction are a true prefix.

    Attributes:
        lengths: tokens of each training example.
        batch_size: examples per step; the last batch of an epoch may be smaller.
        epochs: passes over the data, not necessarily whole.
        learning_rate: peak.
        warmup: share of all steps over which the rate rises linearly, in [0, 1).
        seed: of the order.
        schedule: of the rate after the rise.
        steps: of the whole training; None follows from ``epochs``.
    """

    lengths: tuple[int, ...]
    batch_size: int
    epochs: float
    learning_rate: float
    warmup: float
    seed: int
    schedule: Schedule = "cosine"
    steps: int | None = None

    @classmethod
    def of(cls, adapter: AdapterConfig, examples: Sequence[Example]) -> StepPlan:
        """Return the plan of training ``adapter`` on ``examples``."""
        return cls(
            lengths=tuple(len(example.ids) for example in examples),
            batch_size=adapter.batch_size,
            epochs=adapter.epochs,
            learning_rate=adapter.learning_rate,
            warmup=adapter.warmup,
            seed=adapter.seed,
            schedule=adapter.schedule,
            steps=adapter.steps,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one pass over the data, at least 1."""
        return math.ceil(len(self.lengths) / self.batch_size)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole training, at least 1."""
        return self.steps or max(1, round(self.epochs * self.steps_per_epoch))

    def steps_at(self, fraction: float) -> int:
        """Return the steps done at ``fraction`` of the training, at least 1."""
        return max(1, round(fraction * self.total_steps))

    def learning_rate_at(self, step: int) -> float:
        """Return the rate of ``step``: a linear rise, then what ``schedule`` says.

        Cosine and line end at a tenth of the peak. All follow from the steps of the whole
        training, so that those up to a smaller fraction are a true prefix.
        """
        warmup_steps = round(self.warmup * self.total_steps)
        if step < warmup_steps:
            return self.learning_rate * (step + 1) / (warmup_steps + 1)
        progress = (step - warmup_steps) / (self.total_steps - warmup_steps)
        left = {"cosine": (1 + math.cos(math.pi * progress)) / 2, "linear": 1 - progress}
        share = left.get(self.schedule, 1.0)
        return self.learning_rate * (_FINAL_RATE + (1 - _FINAL_RATE) * share)

    def batches(self, first: int, stop: int) -> Iterator[tuple[int, list[int]]]:
        """Yield each step from ``first`` up to but not including ``stop`` with its examples."""
        epoch_of_order, order = -1, list[list[int]]()
        for step in range(first, stop):
            epoch, position = divmod(step, self.steps_per_epoch)
            if epoch != epoch_of_order:
                epoch_of_order, order = epoch, self.epoch_batches(epoch)
            yield step, order[position]

    def epoch_batches(self, epoch: int) -> list[list[int]]:
        """Return the batches of ``epoch``: every example once, similar lengths together."""
        rng = random.Random(f"{self.seed}/{epoch}")  # noqa: S311 - an order, no secret
        order = list(range(len(self.lengths)))
        rng.shuffle(order)
        batches = []
        group_size = self.batch_size * _BATCHES_PER_GROUP
        for start in range(0, len(order), group_size):
            group = sorted(order[start : start + group_size], key=self.lengths.__getitem__)
            batches += [
                group[i : i + self.batch_size] for i in range(0, len(group), self.batch_size)
            ]
        rng.shuffle(batches)
        return batches
