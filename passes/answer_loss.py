"""Negative log-likelihood of answers: the head runs on answer positions only.

For worker processes: importing this module imports torch. Rows are padded on the
right and attention is causal, so no answer ever sees padding and no mask is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .base_model import head_of, set_training
from .examples import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["answer_losses", "losses_at", "on_device", "row_losses"]

_BATCH = 32


def answer_losses(model: PreTrainedModel, batch: Sequence[Example]) -> torch.Tensor:
    """Return the loss of every answer token, row after row: (tokens,), float32, nats."""
    width = max(len(example.ids) for example in batch)
    padded = [[*example.ids, *[0] * (width - len(example.ids))] for example in batch]
    places = [
        (row, position)
        for row, example in enumerate(batch)
        for position in range(example.answer_start, len(example.ids))
    ]
    ids = on_device(model.device, torch.tensor(padded))
    rows, positions = on_device(model.device, torch.tensor(places).T.contiguous())
    return losses_at(model, ids, rows, positions)


def losses_at(
    model: PreTrainedModel, ids: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor
) -> torch.Tensor:
    """Return the loss of the tokens of ``ids`` (batch, seq) at these places: (n,), float32."""
    with _head_on(model, rows, positions - 1):
        logits = model(input_ids=ids, use_cache=False).logits
    return nn.functional.cross_entropy(logits.float(), ids[rows, positions], reduction="none")


def on_device(device: torch.device, tensor: torch.Tensor) -> torch.Tensor:
    """Return ``tensor`` there; a GPU fetches it by itself while the next kernels are queued."""
    if device.type != "cuda":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def row_losses(model: PreTrainedModel, examples: Sequence[Example]) -> list[float]:
    """Return each row's loss: the sum over its answer tokens, nats; dropout is off."""
    set_training(model, is_training=False)
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].ids))
    losses = [math.nan] * len(examples)
    with torch.no_grad():
        for start in range(0, len(order), _BATCH):
            indices = order[start : start + _BATCH]
            batch = [examples[i] for i in indices]
            sizes = [len(example.ids) - example.answer_start for example in batch]
            parts = torch.split(answer_losses(model, batch), sizes)
            sums: list[float] = torch.stack([part.sum() for part in parts]).tolist()
            for i, value in zip(indices, sums, strict=True):
                losses[i] = value
    return losses


@contextmanager
def _head_on(model: PreTrainedModel, rows: torch.Tensor, positions: torch.Tensor) -> Iterator[None]:
    """Give the head (n, hidden) states of these places instead of (batch, seq, hidden).

    The model's own code around the head (scaling, soft caps) stays in force.
    """

    def pick(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[torch.Tensor]:
        return (inputs[0][rows, positions],)

    handle = head_of(model).register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()
