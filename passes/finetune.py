"""The finetune pass: base model + token ids -> LoRA adapter and what going on needs.

Inputs: ``model`` (Hugging Face folder), ``data`` (``train.json``) and, to go on from
a lower fraction of the same adapter config, ``checkpoint`` (an artifact of this pass).
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from autotune.candidate import AdapterConfig
from autotune.errors import DivergedError, UsageError

from .contract import Artifact
from .examples import read_examples
from .produce import pass_key
from .stopwatch import StopWatch

__all__ = ["FinetunePass"]


@dataclass(frozen=True, kw_only=True)
class FinetunePass:
    """Train ``adapter`` up to ``fraction`` of its steps.

    Attributes:
        adapter: how to train.
        fraction: share of the steps of the whole training, in (0, 1].
    """

    name: ClassVar[str] = "finetune"
    pool: ClassVar[str] = "train"
    timeout_s: ClassVar[float] = 4 * 3600.0
    # Kernels differ between instruction sets, and with them the last bits of a training.
    libraries: ClassVar[tuple[str, ...]] = (
        "torch",
        "transformers",
        "peft",
        "bitsandbytes",
        "device-class",
        "training-device",
    )

    adapter: AdapterConfig
    fraction: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise UsageError(f"fraction must be in (0, 1], got {self.fraction!r}.")

    def key(self, inputs: Mapping[str, Artifact], versions: Mapping[str, str]) -> str:
        """Return what the result depends on."""
        return pass_key(self, inputs, versions)

    def run(self, inputs: Mapping[str, Path], workdir: Path) -> dict[str, Any]:
        """Train in this process and write ``adapter/``, ``optimizer.safetensors``, ``state.json``.

        Returns:
            Facts: ``steps``, ``total_steps``, ``tokens`` and ``tokens_per_s`` (of the steps
            made here, padding left out), ``peak_share`` (of the rate that matrix products
            reach here, ``peak_flops``, in operations per second), ``losses`` (one per step
            since the start, nats per answer token), ``probe_nll`` (mean over probe rows of
            the summed negative log-likelihood of their answer tokens, nats, with qat-lora of
            the rounded weights; None without probe rows), ``probe_rows``, ``dtype`` with
            ``dtype_reason``, ``device`` with its ``device_model``, ``threads``,
            ``rows_at_once`` and ``checkpointing`` with ``fit_reason``, ``not_repeatable``
            (why equal trainings may differ in the last bits here; empty where they do not),
            ``replayed_shapes`` (recordings of a GPU's work) with ``not_replayed`` (why there
            are none), ``parameters`` (trained) and ``seconds`` per part.

        Raises:
            DivergedError: the loss is not finite.
            DataError: unusable examples.
            HardwareError: a GPU that torch sees but cannot compute on.
            UsageError: a checkpoint of another training, or qlora without bitsandbytes.
        """
        watch = StopWatch()
        from . import base_model, compute, lora  # noqa: PLC0415 - imports torch
        from .answer_loss import row_losses  # noqa: PLC0415 - same
        from .training import Training  # noqa: PLC0415 - same

        watch.lap("import")
        threads = compute.use_all_cores()
        examples, probe = read_examples(inputs["data"] / "train.json")
        used = compute.training_compute()
        if "checkpoint" in inputs:
            state = json.loads((inputs["checkpoint"] / "state.json").read_text(encoding="utf-8"))
            used = compute.checkpoint_compute(used, state["dtype"])
        base = base_model.training_base(
            inputs["model"], self.adapter.method, used, double_quant=self.adapter.double_quant
        )
        watch.lap("load")
        with lora.adapted(base, self.adapter) as peft_model:
            training = Training(
                base=base, peft_model=peft_model, adapter=self.adapter, examples=examples
            )
            stop = training.plan.steps_at(self.fraction)
            if "checkpoint" in inputs:
                training.resume(inputs["checkpoint"], stop=stop)
            watch.lap("prepare")
            training.advance(stop)
            watch.lap("train")
            probe_nll = self._mean_probe_nll(row_losses(base, probe))
            watch.lap("probe")
            training.save(workdir)
            watch.lap("save")
        facts = {
            **training.facts(),
            "probe_nll": probe_nll,
            "probe_rows": len(probe),
            "dtype": used.dtype_name,
            "dtype_reason": used.reason,
            "device": used.device,
            "device_model": used.model,
            "threads": threads,
            "seconds": watch.seconds,
        }
        del training, peft_model
        base_model.make_room(base.device)
        return facts

    def _mean_probe_nll(self, losses: list[float]) -> float | None:
        if not losses:
            return None
        mean = statistics.fmean(losses)
        if not math.isfinite(mean):
            raise DivergedError(
                f"The probe loss must be finite, it is {mean!r} after {self.adapter.name};"
                " use a lower learning rate."
            )
        return mean
