"""How much of a batch is computed at once: what the memory of the training device holds.

For worker processes: importing this module imports torch. What a row needs is counted
on the model itself and not guessed from its configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from autotune.units import format_size

from .answer_loss import answer_losses
from .base_model import set_training
from .compute import free_bytes
from .examples import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Fit", "plan_fit"]

# Gradients under way, the heads' logits in float32 and gaps between blocks, over what the
# forward pass keeps.
_OVER_KEPT = 1.6
# Weight in float32, its gradient and AdamW's two moments.
_BYTES_PER_TRAINED = 16
# Of the free memory: other processes need some, and what they need changes.
_SHARE_OF_FREE = 0.8


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a batch is computed. Sums aside, neither choice changes what is learnt.

    Attributes:
        rows: computed at once, at least 1; the gradients of a batch's parts are added up.
        checkpointing: a layer's inner values are computed again when its gradient is due,
            instead of kept: a third more work.
        reason: for people.
    """

    rows: int
    checkpointing: bool
    reason: str

    def halved(self, *, step: int) -> Fit:
        """Return what to try after memory ran out at ``step``."""
        reason = f"memory ran out at step {step} with {self.rows} rows at once"
        return replace(self, rows=(self.rows + 1) // 2, reason=reason)


@dataclass(frozen=True, kw_only=True)
class _Need:
    """Bytes that the forward pass keeps: in any case, and per token of a batch."""

    fixed: float
    per_token: float
    checkpointed_per_token: float

    def of(self, tokens: int, *, checkpointing: bool) -> float:
        per_token = self.checkpointed_per_token if checkpointing else self.per_token
        return self.fixed + _OVER_KEPT * per_token * tokens


def plan_fit(model: PreTrainedModel, examples: Sequence[Example], *, batch_size: int) -> Fit:
    """Return how to compute batches of ``batch_size`` of ``examples`` within the free memory.

    A whole batch wherever it fits easily, so that the memory's ups and downs decide only
    where it is really short; then a half of it, a quarter, and so on down to a row.
    Checkpointing comes in where even one row would not fit.

    Attention kernels that keep a table of all pairs need more for long rows than is
    counted here; a training that runs out of memory halves ``rows`` once.
    """
    free = free_bytes(model.device)
    if free is None:
        return Fit(rows=batch_size, checkpointing=False, reason="the free memory is unknown")
    need = _need(model, examples)
    width = max(len(example.ids) for example in examples)
    room = _SHARE_OF_FREE * free
    can_checkpoint = bool(getattr(model, "supports_gradient_checkpointing", False))
    for checkpointing in (False, True)[: 1 + can_checkpoint]:
        rows = batch_size
        while rows > 1 and need.of(rows * width, checkpointing=checkpointing) > room:
            rows = (rows + 1) // 2
        wanted = need.of(rows * width, checkpointing=checkpointing)
        reason = (
            f"{rows} rows of up to {width} tokens need about {format_size(wanted)},"
            f" {format_size(free)} are free"
        )
        if wanted <= room:
            break
    return Fit(rows=rows, checkpointing=checkpointing, reason=reason)


def _need(model: PreTrainedModel, examples: Sequence[Example]) -> _Need:
    """Count on one and on two of the shortest row: what they differ by is a row's."""
    shortest = min(examples, key=lambda example: len(example.ids))
    set_training(model, is_training=True)
    one, two = (_kept_bytes(model, [shortest] * n) for n in (1, 2))
    per_token = (two - one) / len(shortest.ids)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    layers = max(1, int(model.config.num_hidden_layers))
    # Between checkpoints only what enters a layer is kept, and one layer is whole at a time.
    entering = layers * int(model.config.hidden_size) * model.dtype.itemsize
    return _Need(
        fixed=max(0, 2 * one - two) + _BYTES_PER_TRAINED * trained,
        per_token=per_token,
        checkpointed_per_token=entering + 2 * per_token / layers,
    )


def _kept_bytes(model: PreTrainedModel, batch: Sequence[Example]) -> int:
    """Return the bytes that a forward pass over ``batch`` keeps for the gradients."""
    held = (*model.parameters(), *model.buffers())
    weights = {tensor.untyped_storage().data_ptr() for tensor in held}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        # A result that its own operation keeps would never let go of graph and model.
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(note, _same):
        loss = answer_losses(model, batch)
    del loss  # until here it held what was counted, so that no address came twice
    return sum(kept.values())


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor
