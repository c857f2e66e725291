"""Fold LoRA products into weights, and prove by logits that nothing was lost.

For worker processes: importing this module imports torch and peft.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from autotune.candidate import MergeBase
from autotune.errors import DivergedError, MergeError, UsageError

from .architectures import copy_without_weights
from .base_model import head_of, load_model
from .compute import give_back_memory
from .lora import quiet_peft
from .stopwatch import StopWatch

__all__ = ["Merged", "fold", "merge_checked", "probe_ids", "save_model"]

# Shares of the logits' spread (their standard deviation). What may differ before rounding, as
# root mean square and at most: sums in another order made 4e-5 and 1e-3 of a tuned model of
# 20 layers (nothing in float64), one product of 140 that is wrong by a percent 3e-4 and 2e-3.
_EXACT = 2e-4
_EXACT_LARGEST = 1e-2
# The root mean square that storing in 16 bits may cost; where it is exceeded, weights are
# stored in float32. A rank-16 adapter on SmolLM2-135M in bfloat16 costs 0.02.
_ROUNDED = 0.05

_PROBE_SHAPE = (4, 24)


@dataclass(frozen=True, kw_only=True)
class Merged:
    """A merged model and how close its logits are to base + adapter.

    Attributes:
        model: the merged model, in the type it is to be stored in.
        logit_difference: root mean square as a share of the logits' spread, by type: in
            float32 and after rounding to 16 bits.
        probe_tokens: tokens compared.
    """

    model: PreTrainedModel
    logit_difference: dict[str, float]
    probe_tokens: int

    @property
    def dtype_name(self) -> str:
        """``float32``, ``bfloat16``, ``float16``."""
        return _name(self.model.dtype)


def fold(model: PeftModel) -> PreTrainedModel:
    """Add every adapter product to its weight, in the model's type; return the bare model."""
    merged: PreTrainedModel = model.merge_and_unload(safe_merge=True)
    return merged


def merge_checked(
    model_dir: Path,
    adapter_dir: Path,
    *,
    merge_base: MergeBase,
    watch: StopWatch,
    fold_with: Callable[[PeftModel], PreTrainedModel] = fold,
) -> Merged:
    """Return base and adapter as one model, in the source's type where that is close enough.

    An adapter that was trained with a quantiser in the loop is folded without it: the builder
    rounds. Its model is stored in float32, since 16 bits move weights to other codes than
    those that it was trained on.

    Args:
        model_dir: Hugging Face folder of the base.
        adapter_dir: peft's folder in an artifact of the finetune pass.
        merge_base: weights that the adapter is added to.
        watch: books ``load``, ``merge`` and ``gate``.
        fold_with: does the addition; its result is not trusted.

    Raises:
        MergeError: logits differ by more than sums in another order make.
        DivergedError: those of base + adapter are not finite, or all the same.
    """
    merged, wanted, ids = _merge_exactly(model_dir, adapter_dir, merge_base, fold_with, watch)
    difference = {"float32": _checked(wanted, _logits(merged, ids))}
    stored = torch.float32 if _is_rounded(adapter_dir) else _stored_dtype(model_dir)
    if stored is not torch.float32:
        _round(merged, stored)
        # Computed in float32 from rounded weights, as the builder does.
        rounded = _rms_difference(wanted, _logits(merged, ids))
        difference[_name(stored)] = rounded
        if rounded <= _ROUNDED:
            nn.Module.to(merged, stored)
        else:
            merged, _, _ = _merge_exactly(model_dir, adapter_dir, merge_base, fold_with, watch)
    watch.lap("gate")
    return Merged(model=merged, logit_difference=difference, probe_tokens=ids.numel())


def _merge_exactly(
    model_dir: Path,
    adapter_dir: Path,
    merge_base: MergeBase,
    fold_with: Callable[[PeftModel], PreTrainedModel],
    watch: StopWatch,
) -> tuple[PreTrainedModel, torch.Tensor, torch.Tensor]:
    """Return the merged model in float32, the logits of base + adapter, and their token ids."""
    base = load_model(model_dir, torch.float32)
    if merge_base == "dequantized":
        state = _training_state(adapter_dir)
        _round_to_nf4(
            base,
            getattr(torch, state["dtype"]),
            device=state["device"],
            double_quant=state["adapter"]["double_quant"],
        )
    with quiet_peft():
        adapted = PeftModel.from_pretrained(base, adapter_dir)
    watch.lap("load")
    ids = probe_ids(base.config.vocab_size, first=base.config.bos_token_id)
    wanted = _logits(base, ids)
    if not (wanted.isfinite().all() and wanted.std() > 0):
        raise DivergedError(
            "A trained model must tell tokens apart, the logits of this one are not finite or all"
            " the same; use a lower learning rate."
        )
    watch.lap("gate")
    merged = fold_with(adapted)
    watch.lap("merge")
    return merged, wanted, ids


def _training_state(adapter_dir: Path) -> dict[str, Any]:
    """Return what the finetune pass left beside the adapter."""
    path = adapter_dir.parent / "state.json"
    state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return state


def _is_rounded(adapter_dir: Path) -> bool:
    method: str = _training_state(adapter_dir)["adapter"]["method"]
    return method == "qat-lora"


def _checked(wanted: torch.Tensor, got: torch.Tensor) -> float:
    difference = _rms_difference(wanted, got)
    largest = ((wanted - got).abs().max() / wanted.std()).item()
    if not (difference <= _EXACT and largest <= _EXACT_LARGEST):  # NaN too
        raise MergeError(
            "Merged weights must give the logits of base + adapter to within"
            f" {_EXACT:g} of their spread (root mean square; {_EXACT_LARGEST:g} at most), they"
            f" differ by {difference:.3g} ({largest:.3g} at most); report this with the model's"
            " name, and use another model meanwhile."
        )
    return difference


def _rms_difference(wanted: torch.Tensor, got: torch.Tensor) -> float:
    return ((wanted - got).square().mean().sqrt() / wanted.std()).item()


def probe_ids(vocab_size: int, *, first: int | None) -> torch.Tensor:
    """Return token ids that exercise a model, (4, 24): random but always the same."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocab_size, _PROBE_SHAPE, generator=generator)
    if first is not None:
        ids[:, 0] = first
    return ids


def _logits(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits
    return logits.float()


def _stored_dtype(model_dir: Path) -> torch.dtype:
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    name = config.get("dtype", config.get("torch_dtype"))
    return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(name, torch.float32)


def _round(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Round weights to ``dtype`` in place; they stay float32 tensors."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.to(dtype))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _round_to_nf4(
    model: PreTrainedModel, dtype: torch.dtype, *, device: str, double_quant: bool
) -> None:
    """Replace linear weights by what a qlora training in ``dtype`` on ``device`` computes with.

    Means and scales are sums, in another order on a GPU, so it is done where the training
    was. Without that GPU the processor does it: weights may then be one level apart.
    """
    try:
        from bitsandbytes import functional as quantizer  # noqa: PLC0415 - optional
    except ImportError as error:
        raise UsageError(
            "merge_base 'dequantized' needs bitsandbytes, which is not installed;"
            " run: pip install 'autotune-slm[train]'."
        ) from error
    if device == "cuda" and not torch.cuda.is_available():
        device = "cpu"
    head = head_of(model)
    for module in model.modules():
        if isinstance(module, nn.Linear) and module is not head:
            weight = module.weight.data.to(device=device, dtype=dtype)
            packed, state = quantizer.quantize_4bit(
                weight, compress_statistics=double_quant, quant_type="nf4"
            )
            module.weight.data = quantizer.dequantize_4bit(packed, state).float().cpu()
    give_back_memory()


def save_model(model: PreTrainedModel, folder: Path, *, source: Path) -> None:
    """Write ``model`` to ``folder`` with every file of ``source`` that holds no weights.

    The store's own manifest of ``source`` stays behind; the merged model gets another.
    """
    model.save_pretrained(folder)
    copy_without_weights(source, folder)
