"""How much each layer does to the states of tokens, and which layers a cut keeps by that.

For worker processes: importing this module imports torch. It looks at the untrained model
and at training rows; nothing is tuned.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from autotune.errors import ModelSourceError

from . import compute
from .answer_loss import on_device
from .base_model import decoder_of, load_model
from .examples import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["influences_of", "layers_of", "least_influential_cut", "read_influences"]

_ROWS_AT_ONCE = 8
# Of longer rows the beginning is looked at: a mean over tokens is settled long before.
_TOKENS = 256


def least_influential_cut(influences: Sequence[float], layers: int) -> tuple[int, ...]:
    """Return the layers kept where those with the least influence go; first and last stay.

    >>> least_influential_cut([0.0, 0.3, 0.1, 0.2, 0.0], 4)
    (0, 1, 3, 4)
    """
    inner = range(1, len(influences) - 1)
    gone = sorted(inner, key=influences.__getitem__)[: len(influences) - layers]
    return tuple(number for number in range(len(influences)) if number not in gone)


def read_influences(model_dir: Path, rows: Sequence[Example]) -> list[float]:
    """Return the influence of every layer of the model in ``model_dir`` on ``rows``.

    Raises:
        ModelSourceError: its decoder has no list of layers.
    """
    compute.use_all_cores()
    used = compute.training_compute()
    model = load_model(model_dir, used.dtype)
    nn.Module.to(model, used.device)
    return influences_of(model, rows)


@torch.no_grad()
def influences_of(model: PreTrainedModel, rows: Sequence[Example]) -> list[float]:
    """Return 1 - cosine similarity of a token's state before and after each layer.

    The mean over the tokens of ``rows``: the *block influence* of Men et al., arXiv
    2403.03853, section 3.2. From 0, where a layer turns nothing, to 2.
    """
    layers = layers_of(model)
    sums, tokens = [0.0] * len(layers), 0
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        texts = [row.ids[:_TOKENS] for row in rows[start : start + _ROWS_AT_ONCE]]
        width = max(map(len, texts))
        ids = torch.tensor([[*text, *[0] * (width - len(text))] for text in texts])
        is_token = torch.tensor([[place < len(text) for place in range(width)] for text in texts])
        found = _turns(model, on_device(model.device, ids), on_device(model.device, is_token))
        sums = [total + part for total, part in zip(sums, found, strict=True)]
        tokens += int(is_token.sum())
    return [round(total / tokens, 5) for total in sums]


def _turns(model: PreTrainedModel, ids: torch.Tensor, is_token: torch.Tensor) -> list[float]:
    """Return the sum of 1 - cosine over the tokens of ``ids`` (batch, seq), layer by layer."""
    layers = layers_of(model)
    states: list[torch.Tensor] = []  # the last one alone, so that a deep model fits
    found: list[float] = []

    def turn(state: torch.Tensor) -> None:
        state = state[is_token].float()
        if states:
            cosine = nn.functional.cosine_similarity(states.pop(), state, dim=-1)
            found.append(float((1 - cosine).sum()))
        states.append(state)

    def before(_module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        turn(args[0] if args else named["hidden_states"])

    def after(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        turn(output[0] if isinstance(output, tuple) else output)

    hooks = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in layers]
    hooks.append(layers[-1].register_forward_hook(after))
    try:
        decoder_of(model)(input_ids=ids, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """Return the decoder's layers.

    Raises:
        ModelSourceError: they are no list in it.
    """
    layers = getattr(decoder_of(model), "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise ModelSourceError(
            "Layers to cut are looked for in the decoder's list of layers,"
            f" {type(model).__name__} has none; leave the depth as it is."
        )
    return layers
