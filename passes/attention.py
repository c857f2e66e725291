"""Causal attention of training: without a mask, and quick where rows are short.

For worker processes: importing this module imports torch and transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["leave_masks_out"]

_NAME = "sdpa-without-mask"
# Tokens of a row up to which plain products beat torch's fused kernel on a processor, whose
# gradient is slow for short rows. Measured with 9 and 32 heads, forwards and backwards: at
# 31 tokens 4 to 8 times faster in bfloat16 and 1.5 times in float32, at 128 1.3 to 1.6 and
# 0.9 to 1.1 times, at 256 slower.
_SHORT = 128


def leave_masks_out(model: PreTrainedModel) -> None:
    """Have ``model`` compute causal attention without building a mask, where it needs none.

    transformers otherwise looks at each batch for several sequences in a row, which on a GPU
    waits for the device at every step, and takes a mask and other kernels inside a recording.
    Batches here are padded on the right and have no mask (``answer_loss``).
    """
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    is_sdpa = config._attn_implementation == "sdpa"  # noqa: SLF001 - transformers has no other name for it
    if is_sdpa and kinds == {"full_attention"} and not getattr(config, "sliding_window", None):
        # A name that no mask function is registered for gets none (masking_utils).
        AttentionInterface.register(_NAME, _attention)
        config._attn_implementation = _NAME  # noqa: SLF001 - same


def _attention(  # noqa: PLR0917 - transformers passes them by position
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Return attention in transformers' form: (batch, seq, heads, head width) and no weights."""
    is_short = query.device.type == "cpu" and query.shape[2] <= _SHORT
    if is_short and attention_mask is None and not dropout and query.shape[2] == key.shape[2]:
        return _by_products(query, key, value, scaling), None
    found = sdpa_attention_forward(
        module,
        query,
        key,
        value,
        attention_mask,
        dropout=dropout,
        scaling=scaling,
        **options,
    )
    return found[0], None


def _by_products(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Return causal attention; heads that share a key are one product.

    Args:
        query: (batch, heads, seq, width).
        key: (batch, key heads, seq, width).
        value: as ``key``, of any width.
        scaling: of the scores; None is one over the root of the width.
    """
    batch, heads, length, width = query.shape
    shared = key.shape[1]
    scaled = query * (width**-0.5 if scaling is None else scaling)
    scores = scaled.reshape(batch, shared, -1, width) @ key.transpose(-1, -2)
    scores = scores.view(batch, shared, -1, length, length).float()
    ahead = torch.full((length, length), -torch.inf, device=query.device).triu_(1)
    weights = (scores + ahead).softmax(-1).to(query.dtype)
    mixed = weights.view(batch, shared, -1, length) @ value
    return mixed.view(batch, heads, length, -1).transpose(1, 2).contiguous()
