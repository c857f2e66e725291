"""One training of an adapter: advance, save, resume; a stop in between changes nothing.

For worker processes: importing this module imports torch. A loop of its own instead
of transformers' Trainer, because the exact continuation and the speed depend on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from autotune.candidate import AdapterConfig
from autotune.errors import UsageError
from autotune.plain import to_plain

from .answer_loss import answer_losses
from .base_model import head_of, set_training
from .compute import give_back_memory, is_out_of_memory, product_rate, repeatable
from .examples import Example, StepPlan
from .fit import plan_fit
from .lora import load_adapter, lora_weights, save_adapter
from .qat import rounded_layers
from .replay import Recordings
from .training_log import LossLog, SpeedLog

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

__all__ = ["Training"]

_OPTIMIZER = "optimizer.safetensors"
_STATE = "state.json"
# Operations of a step's products per trained weight tensor. Below, a GPU waits for the
# fifteen kernels or so that come with each of them to be asked for: about 75 µs.
_REPLAYED_BELOW = 5e9


@dataclass(kw_only=True)
class Training:
    """A model under training and how far it is.

    Attributes:
        base: the model that the adapter sits on.
        peft_model: base and adapter.
        adapter: how to train.
        examples: what to train on.
        step: optimiser steps done since the start.
        fit: how much of a batch is computed at once.
        not_repeatable: why another run would differ in the last bits; empty if it would not.
        recordings: of a GPU's work, where its steps are replayed; None where they are not.
        not_replayed: why they are not; empty if they are.
    """

    base: PreTrainedModel
    peft_model: PeftModel
    adapter: AdapterConfig
    examples: Sequence[Example]
    step: int = 0
    not_repeatable: str = ""
    recordings: Recordings | None = None

    def __post_init__(self) -> None:
        self.plan = StepPlan.of(self.adapter, self.examples)
        self.weights = lora_weights(self.peft_model)
        self._rounded = rounded_layers(self.peft_model)
        self.optimizer = torch.optim.AdamW(
            list(self.weights.values()), lr=0.0, weight_decay=self.adapter.weight_decay, fused=True
        )
        self.log = LossLog(name=self.adapter.name)
        self.speed = _speed_log(self.base, self.weights)
        self.fit = plan_fit(self.base, self.examples, batch_size=self.adapter.batch_size)
        self.not_replayed = self._why_not_replayed()
        if not self.not_replayed:
            self.recordings = Recordings(
                self.base, list(self.weights.values()), rows=self.adapter.batch_size
            )

    def _why_not_replayed(self) -> str:
        """Return why steps are asked for kernel by kernel; empty where replaying them pays."""
        if self.base.device.type != "cuda":
            return "only a GPU's work can be recorded"
        if self.adapter.method != "lora" or self.adapter.dropout:
            return "recordings are for method 'lora' without dropout"
        if self.fit.rows < self.adapter.batch_size or self.fit.checkpointing:
            return "memory is short"
        tokens = sum(self.plan.lengths) / len(self.plan.lengths) * self.adapter.batch_size
        work = self.speed.flops_per_token * tokens / len(self.weights)
        if work > _REPLAYED_BELOW:
            return f"its products keep the GPU busy ({work / 1e9:.1f} GFLOP per trained weight)"
        return ""

    @property
    def losses(self) -> list[float]:
        """Mean loss per answer token of each step since the start, nats."""
        return self.log.values

    def advance(self, stop: int) -> None:
        """Go on to ``stop`` steps, with lines on standard output.

        Raises:
            DivergedError: the loss of a step is not finite; on a processor that step is
                not taken, on a GPU it is noticed up to sixteen steps later.
        """
        set_training(self.base, is_training=True)
        with repeatable(self.base.device), _checkpointing(self.base, self.fit.checkpointing):
            self.speed.start()
            for step, indices in self.plan.batches(self.step, stop):
                self._take(step, [self.examples[i] for i in indices])
                if self.speed.is_due:
                    self._say(stop)
            self._say(stop)
            self.speed.stop()

    def _say(self, stop: int) -> None:
        self.log.read()
        if self.base.device.type == "cuda":
            torch.cuda.synchronize()
        if self.speed.steps:
            print(self.speed.line(step=self.step, stop=stop, loss=self.losses[-1]), flush=True)

    def _take(self, step: int, batch: Sequence[Example]) -> None:
        self.log.add(self._gradients(step, batch))
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate_at(step)
        if self.adapter.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.weights.values(), self.adapter.clip_norm)
        self.optimizer.step()
        self._adapter_changed()
        self.step = step + 1
        self.speed.add(
            tokens=sum(len(example.ids) for example in batch), answer_tokens=_answer_tokens(batch)
        )

    def _adapter_changed(self) -> None:
        for layer in self._rounded:
            layer.is_stale = True

    def _gradients(self, step: int, batch: Sequence[Example]) -> torch.Tensor:
        """Leave the gradients of ``batch`` in the weights; return its mean loss."""
        may_halve = True
        while True:
            if self.adapter.dropout:
                torch.manual_seed((self.adapter.seed << 32) + step)
            self.optimizer.zero_grad()
            try:
                if self.recordings is not None:
                    return self.recordings.gradients(batch)
                return self._add_gradients(batch)
            except RuntimeError as error:
                if self.recordings is not None:
                    self.recordings, self.not_replayed = None, str(error).splitlines()[0]
                elif is_out_of_memory(error) and may_halve and self.fit.rows > 1:
                    self.fit, may_halve = self.fit.halved(step=step), False
                elif "eterministic" in str(error) and not self.not_repeatable:
                    self.not_repeatable = str(error).splitlines()[0]
                    torch.use_deterministic_algorithms(mode=False)
                else:
                    raise
            # Outside of the handler, whose traceback holds the tensors that were in the way.
            give_back_memory()

    def _add_gradients(self, batch: Sequence[Example]) -> torch.Tensor:
        """Add the gradients of ``batch`` up, part by part; return its mean loss."""
        if len(batch) <= self.fit.rows:
            loss = answer_losses(self.base, batch).mean()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            return loss.detach()
        total, losses = _answer_tokens(batch), []
        for start in range(0, len(batch), self.fit.rows):
            part = batch[start : start + self.fit.rows]
            loss = answer_losses(self.base, part).sum() / total
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def facts(self) -> dict[str, Any]:
        """Return what there is to say about it, in plain values; see ``FinetunePass.run``."""
        return {
            "steps": self.step,
            "total_steps": self.plan.total_steps,
            "tokens": self.speed.tokens,
            "tokens_per_s": self.speed.tokens_per_s,
            "peak_share": self.speed.peak_share,
            "peak_flops": self.speed.peak,
            "losses": [round(loss, 5) for loss in self.losses],
            "rows_at_once": self.fit.rows,
            "checkpointing": self.fit.checkpointing,
            "fit_reason": self.fit.reason,
            "not_repeatable": self.not_repeatable,
            "replayed_shapes": 0 if self.recordings is None else len(self.recordings),
            "not_replayed": self.not_replayed,
            "parameters": sum(weight.numel() for weight in self.weights.values()),
        }

    def save(self, folder: Path) -> None:
        """Write ``adapter/`` in peft's form and what :meth:`resume` needs."""
        save_adapter(self.peft_model, folder / "adapter")
        moments = {
            f"{name}/{moment}": self.optimizer.state[weight][moment].cpu().contiguous()
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
            "device": self.base.device.type,
            "rows_at_once": self.fit.rows,
            "checkpointing": self.fit.checkpointing,
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
        self.step, self.log.values = state["step"], state["losses"]
        if (rows := state["rows_at_once"]) < self.fit.rows:  # sums in the same order
            self.fit = replace(self.fit, rows=rows, reason="the checkpoint was trained so")
            self.recordings, self.not_replayed = None, self._why_not_replayed()
        load_adapter(self.peft_model, folder / "adapter")
        self._adapter_changed()
        moments = load_file(folder / _OPTIMIZER, device=str(self.base.device))
        for name, weight in self.weights.items():
            self.optimizer.state[weight] = {
                # Where the fused kernel counts it: beside the weight.
                "step": torch.tensor(float(self.step), device=weight.device),
                "exp_avg": moments[f"{name}/exp_avg"],
                "exp_avg_sq": moments[f"{name}/exp_avg_sq"],
            }


def _answer_tokens(batch: Sequence[Example]) -> int:
    return sum(len(example.ids) - example.answer_start for example in batch)


def _speed_log(base: PreTrainedModel, weights: Mapping[str, nn.Parameter]) -> SpeedLog:
    """Return a log that counts 2 operations per weight forwards, and 2 for the input's gradient.

    Adapter weights have 2 more, for their own gradient. Attention's products are left out.
    """
    # By its shape: a 4-bit layer holds fewer numbers than it stands for.
    linear = [module for module in base.modules() if isinstance(module, nn.Linear)]
    sizes = {id(module): module.in_features * module.out_features for module in linear}
    of_head = sizes.pop(id(head_of(base)), 0)
    trained = sum(weight.numel() for weight in weights.values())
    return SpeedLog(
        flops_per_token=4 * sum(sizes.values()) + 2 * trained,
        flops_per_answer_token=4 * of_head,
        peak=product_rate(base.device.type, base.dtype),
    )


@contextmanager
def _checkpointing(base: PreTrainedModel, is_on: bool) -> Iterator[None]:
    """Have layers computed again in the backward pass, where ``is_on``."""
    if not is_on:
        yield
        return
    # Its name until transformers 5.20 or so; drop the old one with the pin in pyproject.toml.
    kind = "activation" if hasattr(base, "activation_checkpointing_enable") else "gradient"
    getattr(base, f"{kind}_checkpointing_enable")()
    try:
        yield
    finally:
        getattr(base, f"{kind}_checkpointing_disable")()
        base.disable_input_require_grads()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
