"""Which layers to cut: what each does to the hidden states, or what going without it costs.

For worker processes: importing this module imports torch. All of it looks at the
untrained model and at training rows; nothing is tuned.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from autotune.errors import ModelSourceError

from . import compute
from .answer_loss import on_device, row_losses
from .base_model import load_model
from .examples import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from .depth import CutRule

__all__ = ["Choice", "Turns", "choose", "read_turns"]

_ROWS_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Layers to keep, and why these.

    Attributes:
        kept: numbers in the whole model, rising.
        reason: for people.
        influences: of every layer of the whole model, None where no rows were looked at.
        rows: looked at.
    """

    kept: tuple[int, ...]
    reason: str
    influences: list[float] | None = None
    rows: int = 0


@dataclass(frozen=True, kw_only=True)
class Turns:
    """How far the states of tokens turn between layers.

    Attributes:
        cosines: (layers + 1, layers + 1), mean cosine similarity of a token's state before
            layer i and before layer j; the last is after all layers.
        angles: same places, mean angle as a share of half a turn, in [0, 1].
    """

    cosines: torch.Tensor
    angles: torch.Tensor

    @property
    def influences(self) -> list[float]:
        """1 - cosine of before and after each layer (arXiv 2403.03853, section 3.2)."""
        return [round(1 - float(value), 5) for value in self.cosines.diagonal(offset=1)]


def choose(model_dir: Path, rows: Sequence[Example], *, layers: int, rule: CutRule) -> Choice:
    """Return which ``layers`` of the model in ``model_dir`` to keep by ``rule``, seen on ``rows``.

    Raises:
        ModelSourceError: its decoder has no list of layers.
    """
    compute.use_all_cores()
    used = compute.training_compute()
    model = load_model(model_dir, used.dtype)
    nn.Module.to(model, used.device)
    turns = read_turns(model, rows)
    total = len(turns.influences)
    if rule == "loss":
        kept, losses = _by_loss(model, rows, layers=layers)
        reason = (
            f"layers whose absence costs least on {len(rows)} rows, one after the other: from"
            f" {losses[0]:.2f} to {losses[-1]:.2f} nats a token"
        )
    elif rule == "influence":
        inner = sorted(range(1, total - 1), key=turns.influences.__getitem__)
        gone = inner[: total - layers]
        kept = tuple(i for i in range(total) if i not in gone)
        worst = max(turns.influences[i] for i in gone)
        reason = f"each layer cut turns the states by at most {worst:.3f} (1 - cosine)"
    else:
        first = _flattest(turns.angles, total - layers)
        end = first + total - layers
        kept = (*range(first), *range(end, total))
        reason = (
            f"layers {first} to {end - 1} together turn the states least:"
            f" {float(turns.angles[first, end]):.3f} of half a turn"
        )
    return Choice(kept=kept, reason=reason, influences=turns.influences, rows=len(rows))


def _flattest(angles: torch.Tensor, length: int) -> int:
    """Return the first layer of the piece with the smallest angle; ends are not cut."""
    starts = range(1, len(angles) - 1 - length)
    return min(starts, key=lambda first: float(angles[first, first + length]))


@torch.no_grad()
def read_turns(model: PreTrainedModel, rows: Sequence[Example]) -> Turns:
    """Return how the states of the tokens of ``rows`` turn, from one pass over them."""
    size = len(decoder_layers(model)) + 1
    cosines, angles, tokens = torch.zeros(size, size), torch.zeros(size, size), 0
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        batch = rows[start : start + _ROWS_AT_ONCE]
        width = max(len(row.ids) for row in batch)
        ids = torch.tensor([[*row.ids, *[0] * (width - len(row.ids))] for row in batch])
        is_token = torch.tensor([[i < len(row.ids) for i in range(width)] for row in batch])
        states = _states(model, ids, is_token)
        for first, before in enumerate(states):
            for second in range(first, size):
                cosine = nn.functional.cosine_similarity(before, states[second], dim=-1)
                cosines[first, second] += float(cosine.sum())
                angles[first, second] += float(cosine.clamp(-1, 1).arccos().sum()) / math.pi
        tokens += int(is_token.sum())
    return Turns(cosines=cosines / tokens, angles=angles / tokens)


def _states(
    model: PreTrainedModel, ids: torch.Tensor, is_token: torch.Tensor
) -> list[torch.Tensor]:
    """Return the states before each layer and after the last: (tokens, hidden), float32."""
    layers = decoder_layers(model)
    places = on_device(model.device, is_token)
    found: list[torch.Tensor] = []

    def before(_module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        found.append((args[0] if args else named["hidden_states"])[places].float())

    def after(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        state = output[0] if isinstance(output, tuple) else output
        found.append(state[places].float())

    hooks = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in layers]
    hooks.append(layers[-1].register_forward_hook(after))
    try:
        model(input_ids=on_device(model.device, ids), use_cache=False, logits_to_keep=1)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _by_loss(
    model: PreTrainedModel, rows: Sequence[Example], *, layers: int
) -> tuple[tuple[int, ...], list[float]]:
    """Return the layers left, and the loss per answer token after each removal, nats."""
    tokens = sum(len(row.ids) - row.answer_start for row in rows)
    kept, losses = list(range(len(decoder_layers(model)))), list[float]()
    while len(kept) > layers:
        without = {}
        for number in kept[1:-1]:
            with only(model, [other for other in kept if other != number]):
                without[number] = sum(row_losses(model, rows)) / tokens
        cheapest = min(without, key=without.__getitem__)
        kept.remove(cheapest)
        losses.append(without[cheapest])
    return tuple(kept), losses


@contextmanager
def only(model: PreTrainedModel, kept: Sequence[int]) -> Iterator[None]:
    """Have ``model`` run the layers ``kept`` alone, without a cache: it is kept by numbers."""
    decoder = model.get_decoder()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    whole, config = decoder.layers, decoder.config
    decoder.layers = nn.ModuleList([whole[number] for number in kept])
    decoder.config = deepcopy(config)
    decoder.config.num_hidden_layers = len(kept)
    if getattr(config, "layer_types", None) is not None:
        decoder.config.layer_types = [config.layer_types[number] for number in kept]
    try:
        yield
    finally:
        decoder.layers, decoder.config = whole, config


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """Return the layers of the model's decoder.

    Raises:
        ModelSourceError: it has none by that name.
    """
    decoder = model.get_decoder()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    layers = getattr(decoder, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise ModelSourceError(
            f"Layers to cut are looked for in the decoder's list of layers,"
            f" {type(model).__name__} has none; use the rule 'before-last-two'."
        )
    return layers
