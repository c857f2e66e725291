"""One training of an adapter: advance, save, resume; a stop in between changes nothing.

For worker processes: importing this module imports torch. A loop of its own instead
of transformers' Trainer, because the exact continuation and the speed depend on it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from autotune.candidate import AdapterConfig
from autotune.errors import DivergedError, UsageError
from autotune.plain import to_plain

from .answer_loss import answer_losses
from .base_model import set_training
from .examples import Example, StepPlan
from .lora import load_adapter, lora_weights, save_adapter

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

__all__ = ["Training"]

_OPTIMIZER = "optimizer.safetensors"
_STATE = "state.json"
_CLIP_NORM = 1.0


@dataclass(kw_only=True)
class Training:
    """A model under training and how far it is.

    Attributes:
        base: the model that the adapter sits on.
        peft_model: base and adapter.
        adapter: how to train.
        examples: what to train on.
        step: optimiser steps done since the start.
        losses: mean loss per answer token of each step since the start, nats.
        tokens: tokens of the rows seen in this process, padding left out.
        seconds: wall time of the steps made in this process.
    """

    base: PreTrainedModel
    peft_model: PeftModel
    adapter: AdapterConfig
    examples: Sequence[Example]
    step: int = 0
    losses: list[float] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.plan = StepPlan.of(self.adapter, self.examples)
        self.weights = lora_weights(self.peft_model)
        self.optimizer = torch.optim.AdamW(
            list(self.weights.values()), lr=0.0, weight_decay=self.adapter.weight_decay, fused=True
        )

    def advance(self, stop: int) -> None:
        """Go on to ``stop`` steps.

        Raises:
            DivergedError: the loss of a step is not finite; that step is not taken.
        """
        set_training(self.base, is_training=True)
        start = time.perf_counter()
        for step, indices in self.plan.batches(self.step, stop):
            self._take(step, [self.examples[i] for i in indices])
        self.seconds += time.perf_counter() - start

    def _take(self, step: int, batch: Sequence[Example]) -> None:
        if self.adapter.dropout:
            torch.manual_seed((self.adapter.seed << 32) + step)
        loss = answer_losses(self.base, batch).mean()
        value = loss.item()
        if not math.isfinite(value):
            raise DivergedError(
                f"The training loss must stay finite, it is {value!r} at step {step}"
                f" of {self.adapter.name}; use a lower learning rate."
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate_at(step)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(self.weights.values(), _CLIP_NORM)
        self.optimizer.step()
        self.step = step + 1
        self.losses.append(value)
        self.tokens += sum(len(example.ids) for example in batch)

    def save(self, folder: Path) -> None:
        """Write ``adapter/`` in peft's form and what :meth:`resume` needs."""
        save_adapter(self.peft_model, folder / "adapter")
        moments = {
            f"{name}/{moment}": self.optimizer.state[weight][moment].contiguous()
            for name, weight in self.weights.items()
            for moment in ("exp_avg", "exp_avg_sq")
        }
        save_file(moments, folder / _OPTIMIZER)
        state = {
            "step": self.step,
            "losses": self.losses,
            "adapter": to_plain(self.adapter),
            "rows": len(self.examples),
            "dtype": str(self.base.dtype).removeprefix("torch."),
        }
        (folder / _STATE).write_text(json.dumps(state), encoding="utf-8")

    def resume(self, folder: Path, *, stop: int) -> None:
        """Take over weights, moments and position from a folder that :meth:`save` wrote.

        Raises:
            UsageError: it is of another training, or already beyond ``stop``.
        """
        state: dict[str, Any] = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        same = state["adapter"] == to_plain(self.adapter) and state["rows"] == len(self.examples)
        if not same or state["step"] > stop:
            raise UsageError(
                "A checkpoint must be of the same adapter config and data and not beyond the"
                f" {stop} steps asked for, this one is at step {state['step']} of"
                f" {state['adapter']!r} on {state['rows']} rows; leave it out."
            )
        self.step, self.losses = state["step"], state["losses"]
        load_adapter(self.peft_model, folder / "adapter")
        moments = load_file(folder / _OPTIMIZER, device=str(self.base.device))
        for name, weight in self.weights.items():
            self.optimizer.state[weight] = {
                "step": torch.tensor(float(self.step)),
                "exp_avg": moments[f"{name}/exp_avg"],
                "exp_avg_sq": moments[f"{name}/exp_avg_sq"],
            }
