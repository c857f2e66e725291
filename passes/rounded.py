"""The model whose weights are those that a quantised graph really stores.

For worker processes: importing this module imports torch and onnx_ir. What the graph
computes can be compared with that model almost exactly, however coarse the rounding is;
and each rounded weight with the model's own says whether it is an honest rounding of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Rounding", "dequantize", "lay_rounded"]

# Which weights of the model a row of the graph is a rounding of is found by the nearest; an
# honest one is off by a fifth of its length, another row by more than its whole length.
_NEAR = 0.5
_EIGHT_BITS = 8
# Nodes with rounded weights that are not read here: experts of a mixture, and float products
# behind a DequantizeLinear.
_NOT_READ = ("QMoE", "DequantizeLinear")


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """How the graph's weights differ from the model's.

    Attributes:
        error: largest relative error of a matrix, its root mean square over the weights'.
        scale: largest departure from 1 of the factor that brings a rounded matrix nearest
            to its own; honest rounding hardly changes lengths, a wrong scale does.
    """

    error: float
    scale: float


def lay_rounded(model: PreTrainedModel, built: Path) -> Rounding | None:
    """Put the rounded weights of the graph in ``built`` into ``model``, in place.

    Matrices of layers are found by what they contain, so that names, and query, key and
    value in one matrix or three, do not matter. Head and table of token vectors are found
    by the names of their nodes, which the builder gives alike to every architecture; they
    may be rounded apart where the model ties them.

    Returns:
        How far the weights were moved; None where some could not be found, which leaves
        ``model`` half changed: an architecture whose weights the builder rearranges, a graph
        with other weights, or one with kinds of rounded weights that are not read here.
    """
    graph = onnx_ir.load(built / "model.onnx").graph
    if any(node.op_type in _NOT_READ for node in graph.all_nodes()):
        return None
    head, table = _untied(model)
    shelves: dict[int, list[_Matrix]] = {}
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, nn.Linear) and weight is not head:
            shelves.setdefault(weight.shape[1], []).append(_Matrix(weight))
    moves: list[_Move] = []
    with torch.inference_mode():
        for name, rounded in _rounded_matrices(graph):
            if name.startswith("/lm_head/"):
                places = _one_place(head, rounded)
            elif name.startswith("/model/embed_tokens/"):
                places = _one_place(table, rounded)
            else:
                places = _places(shelves.get(rounded.shape[1], []), rounded)
            if not places:
                return None
            moves += [_lay(own, part) for own, part in places]
    if not moves:
        return None
    return Rounding(
        error=max(error for error, _ in moves), scale=max(abs(scale - 1) for _, scale in moves)
    )


_Move = tuple[float, float]
_Place = tuple[Tensor, Tensor]


def _one_place(own: Tensor, rounded: Tensor) -> list[_Place]:
    return [(own, rounded)] if own.shape == rounded.shape else []


def _places(shelf: list[_Matrix], rounded: Tensor) -> list[_Place]:
    """Return which rows of the model the rows of a matrix are roundings of; none if unknown."""
    found, start = [], 0
    while start < len(rounded):
        matrix = _nearest(rounded[start], shelf)
        if matrix is None:
            return []
        own = matrix.left[: len(rounded) - start]
        found.append((own, rounded[start : start + len(own)]))
        matrix.laid += len(own)
        start += len(own)
    return found


@dataclass
class _Matrix:
    """A matrix of the model, and how many of its rows the graph's have replaced."""

    weight: Tensor
    laid: int = 0

    @property
    def left(self) -> Tensor:
        return self.weight[self.laid :]


def _untied(model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Return the weights of head and token table, of which a graph can round each apart."""
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    if head.weight is table.weight:
        head.weight = nn.Parameter(table.weight.detach().clone(), requires_grad=False)
    return head.weight, table.weight


def _nearest(row: Tensor, shelf: list[_Matrix]) -> _Matrix | None:
    open_ = [matrix for matrix in shelf if len(matrix.left)]
    if not open_:
        return None
    firsts = torch.stack([matrix.left[0] for matrix in open_])
    far = (firsts - row).norm(dim=1) / firsts.norm(dim=1)
    best = int(far.argmin())
    return open_[best] if far[best] < _NEAR else None


def _lay(own: Tensor, rounded: Tensor) -> _Move:
    """Replace ``own``; return the relative error, and the factor that undoes it best."""
    length, along = float(rounded.pow(2).sum()), float((rounded * own).sum())
    error = float((rounded - own).pow(2).sum()) / float(own.pow(2).sum())
    own.copy_(rounded)
    return math.sqrt(error), along / length if length else 0.0


def _rounded_matrices(graph: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the name of each node with rounded weights and their values, (rows, row)."""
    for node in graph:
        if node.op_type == "MatMulNBits":
            sizes = {key: node.attributes[key].value for key in ("bits", "block_size", "K")}
            stored, scales, zeros = (_stored(node, place) for place in (1, 2, 3))
            values = dequantize(
                stored, scales, zeros, bits=sizes["bits"], block_size=sizes["block_size"]
            )
            yield node.name or "", values[:, : sizes["K"]]
        elif node.op_type == "GatherBlockQuantized":
            bits = node.attributes["bits"].value if "bits" in node.attributes else 4
            block = node.attributes["block_size"].value
            stored, scales, zeros = (_stored(node, place) for place in (0, 2, 3))
            values = dequantize(stored, scales, zeros, bits=bits, block_size=block)
            yield node.name or "", values[:, : _width(graph)]


def _width(graph: Any) -> int:
    """Return the width of token vectors: that of the first normalisation's weights."""
    norms = ("SimplifiedLayerNormalization", "LayerNormalization", "RMSNormalization")
    norm = next(node for node in graph if node.op_type in norms)
    return int(norm.inputs[1].shape[0])


def _stored(node: Any, place: int) -> NDArray[Any] | None:
    """Return an input's initializer, reshapes between them undone; None where it has none."""
    value = node.inputs[place] if len(node.inputs) > place else None
    while value is not None and value.producer() is not None:
        value = value.producer().inputs[0]
    return None if value is None else value.const_value.numpy()


def dequantize(
    stored: NDArray[Any],
    scales: NDArray[Any],
    zeros: NDArray[Any] | None,
    *,
    bits: int,
    block_size: int,
) -> Tensor:
    """Return the values of weights that are stored in blocks, (rows, blocks * block_size).

    As MatMulNBits and GatherBlockQuantized read them
    (https://github.com/microsoft/onnxruntime/blob/v1.32.0/docs/ContribOperators.md): four bits
    are two to a byte, the lower first, or typed; without zero points zero is in the middle
    of unsigned numbers.

    Args:
        stored: rows of whole blocks, padding at the end of a row included.
        scales: one a block.
        zeros: one a block, packed as the weights are, each row to whole bytes; or floats.
        bits: 4 or 8.
        block_size: weights per scale.
    """
    is_typed = stored.dtype.name in ("int4", "uint4")
    rows = len(stored)
    steps = torch.from_numpy(np.array(scales, dtype=np.float32)).reshape(rows, -1)
    blocks = steps.shape[1]
    values = _unpacked(stored, bits).reshape(rows, -1)
    missing = blocks * block_size - values.shape[1]
    if missing > 0:
        values = torch.nn.functional.pad(values, (0, missing))
    values = values.reshape(rows, blocks, block_size)
    if zeros is not None:
        middle = _unpacked(zeros, bits).reshape(rows, -1)[:, :blocks, None]
    else:
        middle = torch.tensor(0.0 if is_typed else float(1 << (bits - 1)))
    return ((values - middle) * steps[:, :, None]).reshape(rows, -1)


def _unpacked(stored: NDArray[Any], bits: int) -> Tensor:
    if stored.dtype != np.uint8:  # typed four bits, or floats
        return torch.from_numpy(stored.astype(np.float32))
    packed = torch.from_numpy(np.array(stored))  # a copy: files are mapped for reading only
    if bits == _EIGHT_BITS:
        return packed.float()
    return torch.stack([packed & 15, packed >> 4], dim=-1).float().flatten(-2)
