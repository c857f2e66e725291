"""The merge pass: base model + adapter -> one model folder, gated by its logits.

Inputs: ``model`` (Hugging Face folder), ``adapter`` (an artifact of the finetune pass).
The delta is added in float32 to the full-precision base, never to 4-bit weights:
rounding those again loses the adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from autotune.candidate import MergeBase

from .contract import Artifact
from .produce import pass_key
from .stopwatch import StopWatch

__all__ = ["MergePass"]


@dataclass(frozen=True, kw_only=True)
class MergePass:
    """Fold an adapter into its base.

    Attributes:
        merge_base: ``full`` is the base as it is; ``dequantized`` the weights that a qlora
            training saw (rounded to nf4 and back), for adapters trained on those.
    """

    name: ClassVar[str] = "merge"
    pool: ClassVar[str] = "build"
    timeout_s: ClassVar[float] = 1800.0
    # The device rounds to nf4 where a training ran on it.
    libraries: ClassVar[tuple[str, ...]] = (
        "torch",
        "transformers",
        "peft",
        "bitsandbytes",
        "training-device",
    )

    merge_base: MergeBase = "full"

    def key(self, inputs: Mapping[str, Artifact], versions: Mapping[str, str]) -> str:
        """Return what the result depends on."""
        return pass_key(self, inputs, versions)

    def run(self, inputs: Mapping[str, Path], workdir: Path) -> dict[str, Any]:
        """Write a Hugging Face folder to ``workdir``: weights, configuration, tokenizer, licence.

        Returns:
            Facts: ``dtype`` of the stored weights, ``merge_base``, ``logit_difference``
            between base + adapter and merged, root mean square as a share of the logits'
            spread (``float32``, and ``bfloat16`` or ``float16`` after rounding),
            ``probe_tokens``, ``seconds`` per part.

        Raises:
            MergeError: the merged weights disagree with base + adapter.
            DivergedError: base + adapter is no model any more.
        """
        watch = StopWatch()
        from . import compute, merging  # noqa: PLC0415 - imports torch

        watch.lap("import")
        compute.use_all_cores()
        merged = merging.merge_checked(
            inputs["model"], inputs["adapter"] / "adapter", merge_base=self.merge_base, watch=watch
        )
        merging.save_model(merged.model, workdir, source=inputs["model"])
        watch.lap("save")
        return {
            "dtype": merged.dtype_name,
            "merge_base": self.merge_base,
            "logit_difference": merged.logit_difference,
            "probe_tokens": merged.probe_tokens,
            "seconds": watch.seconds,
        }
