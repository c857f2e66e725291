"""Draws a cut model's states to those of the whole model, by an adapter.

For worker processes: importing this module imports torch and peft. What a cut breaks can be
told without any answer: the states that each kept layer hands on are compared with those of
the same layer of the whole model, on all tokens of the training rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .answer_loss import on_device
from .base_model import decoder_of
from .examples import Example
from .layer_choice import layers_of
from .training import Training

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Healing"]


@dataclass(kw_only=True)
class Healing(Training):
    """A training whose loss is how far the states of the cut model are from the whole one's.

    The loss of a token is the squared distance of its states over the squared length of the
    whole model's, the mean over the kept layers; the first token, whose states many models
    use as a sink a thousand times as long as others, is left out.

    Attributes:
        whole: the model before the cut, frozen, on the same device.
        kept: numbers in it of the layers that the cut model has.
    """

    whole: PreTrainedModel
    kept: Sequence[int]

    def _why_not_replayed(self) -> str:
        return "two models are run side by side"

    def _add_gradients(self, batch: Sequence[Example]) -> torch.Tensor:
        """Add the gradients of ``batch`` up, part by part; return its mean loss."""
        total = sum(len(example.ids) - 1 for example in batch)
        losses = []
        for start in range(0, len(batch), self.fit.rows):
            loss = self._distances(batch[start : start + self.fit.rows]).sum() / total
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _distances(self, batch: Sequence[Example]) -> torch.Tensor:
        """Return each token's loss, rows after one another: (tokens,), float32."""
        width = max(len(example.ids) for example in batch)
        ids = torch.tensor([[*one.ids, *[0] * (width - len(one.ids))] for one in batch])
        counts = torch.tensor([[0 < n < len(one.ids) for n in range(width)] for one in batch])
        ids, counts = on_device(self.base.device, ids), on_device(self.base.device, counts)
        whole = layers_of(self.whole)
        with torch.no_grad(), _states([whole[number] for number in self.kept]) as wanted:
            decoder_of(self.whole)(input_ids=ids, use_cache=False)
        with _states(list(layers_of(self.base))) as own:
            decoder_of(self.base)(input_ids=ids, use_cache=False)
        found = [
            (mine[counts].float() - theirs[counts].float()).square().sum(-1)
            / theirs[counts].float().square().sum(-1)
            for mine, theirs in zip(own, wanted, strict=True)
        ]
        return torch.stack(found).mean(0)


@contextmanager
def _states(layers: Sequence[nn.Module]) -> Iterator[list[torch.Tensor]]:
    """Yield a list that gets what each of ``layers`` hands on, (batch, seq, hidden)."""
    found: list[torch.Tensor] = []

    def note(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)

    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
