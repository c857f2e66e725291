"""A graph's weights beside those that training computes with, by the name of the graph's node."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .dequantised import dequantised

__all__ = ["differing", "rounded_as_trained"]

# Modules behind the folder's front door.
qat = import_module("autotune.passes.qat")


def differing(built: Path, weights: dict[str, torch.Tensor]) -> dict[str, int]:
    """Return how many weights of each rounded matrix of the graph are not those of ``weights``.

    Args:
        built: folder of the graph.
        weights: (out, in), float32, by the name of their module.
    """
    found = {}
    for node, stored in dequantised(built).items():
        ours = _of_node(weights, node).numpy()
        assert stored.shape[0] == ours.shape[0], node
        found[node] = int(np.count_nonzero(stored[:, : ours.shape[1]] != ours))
    return found


def rounded_as_trained(model: Any, quantiser: str) -> dict[str, torch.Tensor]:
    """Return the weights that ``model`` has while it is trained with ``quantiser``."""
    with qat.rounding(model, qat.grids_of(model, quantiser)):
        return {
            name: module.weight.detach().clone()
            for name, module in model.named_modules()
            if isinstance(module, (torch.nn.Linear, torch.nn.Embedding))
        }


def _of_node(weights: dict[str, torch.Tensor], node: str) -> torch.Tensor:
    """The weight that the node has; the builder packs query, key and value."""
    if "embed_tokens" in node:
        return weights["model.embed_tokens"]
    path = node.partition("/MatMul")[0].strip("/").replace("/", ".")
    path = path.replace(".attn.", ".self_attn.")
    packed = ("q_proj", "k_proj", "v_proj") if path.endswith("qkv_proj") else ("",)
    return torch.cat([weights[path.removesuffix("qkv_proj") + part] for part in packed])
