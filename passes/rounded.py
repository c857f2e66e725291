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

__all__ = ["Rounded", "Rounding", "dequantize", "lay_rounded"]

# A rounding of a matrix is off by a sixth of its length at most, another matrix by more than
# its whole length.
_NEAR = 0.5
# With room for weights that were halved to fp16 first: a tenth of a step in eight bits.
_HALF_A_STEP = 0.6
_EIGHT_BITS = 8
# Nodes with rounded weights that are not read here: experts of a mixture, and float products
# behind a DequantizeLinear.
_NOT_READ = ("QMoE", "DequantizeLinear")


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """How the graph's weights differ from the model's.

    Attributes:
        error: largest relative error of a matrix, its root mean square over the weights'.
        astray: largest share of a matrix's weights that lie further from their own than half
            a step of their block, in [0, 1]: those that the ends of the scale cut off.
    """

    error: float
    astray: float


@dataclass(frozen=True, kw_only=True)
class Rounded:
    """Weights of the graph, in blocks along the row.

    Attributes:
        values: (rows, row).
        steps: between two values that a weight of the block can have, (rows, blocks).
        block_size: weights that share a step; the last block of a row may be shorter.
    """

    values: Tensor
    steps: Tensor
    block_size: int

    def rows(self, start: int, length: int) -> Rounded:
        """Return some of the rows."""
        kept = slice(start, start + length)
        return Rounded(values=self.values[kept], steps=self.steps[kept], block_size=self.block_size)

    def cut(self, width: int) -> Rounded:
        """Return rows of ``width``: without what fills their last block up."""
        return Rounded(values=self.values[:, :width], steps=self.steps, block_size=self.block_size)

    def compare(self, own: Tensor) -> Rounding:
        """Return how far these values are from the model's."""
        away = (self.values - own).abs_()
        error = float(away.norm()) / (float(own.norm()) or math.inf)
        missing = self.steps.shape[1] * self.block_size - away.shape[1]
        blocks = nn.functional.pad(away, (0, missing)) if missing else away
        blocks = blocks.reshape(len(away), -1, self.block_size)
        astray = blocks > (self.steps.abs() * _HALF_A_STEP)[:, :, None]
        return Rounding(error=error, astray=int(astray.sum()) / away.numel())


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
    moves: list[Rounding] = []
    with torch.inference_mode():
        for places in _laid_out(model, graph):
            for own, part in places:
                if own.shape != part.values.shape or (move := part.compare(own)).error > _NEAR:
                    return None
                moves.append(move)
                own.copy_(part.values)
            if not places:
                return None
    if not moves:
        return None
    return Rounding(
        error=max(move.error for move in moves), astray=max(move.astray for move in moves)
    )


def _laid_out(model: PreTrainedModel, graph: Any) -> Iterator[list[tuple[Tensor, Rounded]]]:
    """Yield for each matrix of the graph which rows of the model are which of its own."""
    head, table = _untied(model)
    shelves: dict[int, list[_Matrix]] = {}
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.weight is not head:
            shelves.setdefault(module.in_features, []).append(_Matrix(module.weight))
    for node, rounded in _rounded_weights(graph):
        if node.startswith("/lm_head/"):
            yield [(head, rounded)]
        elif node.startswith("/model/embed_tokens/"):
            yield [(table, rounded)]
        else:
            yield _places(shelves.get(rounded.values.shape[1], []), rounded)


@dataclass
class _Matrix:
    """A matrix of the model, and how many of its rows the graph's have replaced."""

    weight: Tensor
    laid: int = 0

    @property
    def left(self) -> Tensor:
        return self.weight[self.laid :]


def _places(shelf: list[_Matrix], rounded: Rounded) -> list[tuple[Tensor, Rounded]]:
    """Return which rows of the model are nearest to the rows of a matrix; none where too few."""
    found, start = [], 0
    while start < len(rounded.values):
        open_ = [matrix for matrix in shelf if len(matrix.left)]
        if not open_:
            return []
        firsts = torch.stack([matrix.left[0] for matrix in open_])
        matrix = open_[int((firsts - rounded.values[start]).norm(dim=1).argmin())]
        own = matrix.left[: len(rounded.values) - start]
        found.append((own, rounded.rows(start, len(own))))
        matrix.laid += len(own)
        start += len(own)
    return found


def _untied(model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Return the weights of head and token table, of which a graph can round each apart."""
    ends: tuple[Any, Any] = (model.get_output_embeddings(), model.get_input_embeddings())  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    head, table = ends
    if head.weight is table.weight:
        head.weight = nn.Parameter(table.weight.detach().clone(), requires_grad=False)
    return head.weight, table.weight


def _rounded_weights(graph: Any) -> Iterator[tuple[str, Rounded]]:
    """Yield the name of each node with rounded weights, and these."""
    for node in graph:
        if node.op_type == "MatMulNBits":
            stored, scales, zeros = (_stored(node, place) for place in (1, 2, 3))
            width = node.attributes["K"].value
        elif node.op_type == "GatherBlockQuantized":
            stored, scales, zeros = (_stored(node, place) for place in (0, 2, 3))
            width = _width(graph)
        else:
            continue
        rounded = dequantize(
            stored,
            scales,
            zeros,
            bits=node.attributes["bits"].value if "bits" in node.attributes else 4,
            block_size=node.attributes["block_size"].value,
        )
        yield node.name or "", rounded.cut(width)


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
    stored: NDArray[Any] | None,
    scales: NDArray[Any] | None,
    zeros: NDArray[Any] | None,
    *,
    bits: int,
    block_size: int,
) -> Rounded:
    """Return the values of weights that are stored in blocks, as long as their blocks are.

    As MatMulNBits and GatherBlockQuantized read them
    (https://github.com/microsoft/onnxruntime/blob/v1.32.0/docs/ContribOperators.md): four bits
    are two to a byte, the lower first, or typed; without zero points zero is in the middle
    of unsigned numbers.

    Args:
        stored: rows of blocks.
        scales: one a block.
        zeros: one a block, packed as the weights are, each row to whole bytes; or floats.
        bits: 4 or 8.
        block_size: weights per scale.

    Raises:
        ValueError: no weights or no scales.
    """
    if stored is None or scales is None:
        raise ValueError("Rounded weights are stored as numbers with scales, one is missing.")
    rows = len(stored)
    steps = torch.from_numpy(np.array(scales, dtype=np.float32)).reshape(rows, -1)
    blocks = steps.shape[1]
    values = _unpacked(stored, bits).reshape(rows, -1)
    values = nn.functional.pad(values, (0, blocks * block_size - values.shape[1]))
    values = values.reshape(rows, blocks, block_size)
    if zeros is not None:
        values -= _unpacked(zeros, bits).reshape(rows, -1)[:, :blocks, None]
    elif stored.dtype.name not in ("int4", "uint4"):
        values -= float(1 << (bits - 1))
    values *= steps[:, :, None]
    return Rounded(values=values.reshape(rows, -1), steps=steps, block_size=block_size)


def _unpacked(stored: NDArray[Any], bits: int) -> Tensor:
    if stored.dtype != np.uint8:  # typed four bits, or floats
        return torch.from_numpy(stored.astype(np.float32))
    packed = torch.from_numpy(np.array(stored))  # a copy: files are mapped for reading only
    if bits == _EIGHT_BITS:
        return packed.float()
    return torch.stack([packed & 15, packed >> 4], dim=-1).float().flatten(-2)
