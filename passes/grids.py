"""The values that a quantiser of the builder leaves a matrix to choose from, reproduced in torch.

A grid is decided by the weights themselves, block by block along the input. Which matrix of
a model has which grid stands in ``model_grids``; that they are the graph's own is proven in
``tests/passes/test_grids.py``. Importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

__all__ = ["Grid"]

# Weights rounded at once where a whole matrix is: bounds what that takes beside it.
_AT_ONCE = 1 << 24

Rule = Literal["mlas", "rtn", "table"]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """How a matrix is rounded: one scale per block of inputs of an output.

    Attributes:
        bits: of a code, 4 or 8.
        block_size: inputs that share a scale; the last block of a row may be shorter.
        rule: ``mlas`` is the builder's default for products, ``table`` its default for a
            table of token vectors; with both the weight of the largest magnitude lies on
            the lowest code, whatever its sign. ``rtn`` puts it between two codes, 7.5 of
            four bits' from zero.
        zero_points: each block has its own zero instead, and the codes reach from the lowest
            weight to the highest.
    """

    bits: int
    block_size: int
    rule: Rule
    zero_points: bool = False

    def round_(self, columns: torch.Tensor) -> None:
        """Round ``columns`` (in, out), float32, in place; outputs are the fast dimension."""
        from torch.nn import functional  # noqa: PLC0415 - who asks for names needs none

        round_blocks = _RULES[self.rule, self.zero_points]
        size, outputs = self.block_size, columns.shape[1]
        whole = columns.shape[0] // size * size
        if whole:
            round_blocks(columns[:whole].view(-1, size, outputs), self.bits)
        rest = columns[whole:]
        if rest.numel():  # filled up with zeros, which rtn counts among the block's weights
            block = functional.pad(rest, (0, 0, 0, size - rest.shape[0]))
            round_blocks(block[None], self.bits)
            rest.copy_(block[: rest.shape[0]])

    def rounded(self, weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return ``weight`` (out, in) rounded, in ``dtype``."""
        import torch  # noqa: PLC0415 - who asks for names needs none

        result = torch.empty_like(weight, dtype=dtype, requires_grad=False)
        rows = max(1, _AT_ONCE // weight.shape[1])
        for start in range(0, weight.shape[0], rows):
            part = weight.detach()[start : start + rows]
            columns = part.new_empty(part.T.shape, dtype=torch.float32).copy_(part.T)
            self.round_(columns)
            result[start : start + rows] = columns.T
        return result


def _round_mlas(blocks: torch.Tensor, bits: int) -> None:
    """Round as onnxruntime's MLAS (core/mlas/lib/q4_dq.cpp, symmetric); (blocks, block, out)."""
    half = 1 << (bits - 1)
    scale = _signed_scale(blocks, half)
    inverse = scale.reciprocal().masked_fill_(scale == 0, 0.0)
    # Halves go up, since codes count from zero there.
    blocks.mul_(inverse).add_(half + 0.5).floor_().clamp_max_(2 * half - 1)
    blocks.sub_(half).mul_(scale)


def _round_mlas_zeros(blocks: torch.Tensor, bits: int) -> None:
    """Round as MLAS with zero points, in float32 as there; (blocks, block, out)."""
    most = (1 << bits) - 1
    scale, lowest = _unsigned_scale(blocks, most)
    zero = lowest.neg().div_(scale).add_(0.5).floor_().clamp_(0, most)
    inverse = scale.reciprocal()
    blocks.mul_(inverse).add_(zero + 0.5).floor_().clamp_(0, most)
    blocks.sub_(zero).mul_(scale)


def _round_table(blocks: torch.Tensor, bits: int) -> None:
    """Round as ``quant_slice_symmetric`` of onnxruntime's quantiser: halves go to even codes."""
    half = 1 << (bits - 1)
    scale = _signed_scale(blocks, half)
    scale.masked_fill_(scale == 0, 1.0)
    blocks.div_(scale).round_().clamp_(-half, half - 1).mul_(scale)


def _round_table_zeros(blocks: torch.Tensor, bits: int) -> None:
    """Round as ``quant_slice_asymmetric`` of onnxruntime's quantiser."""
    most = (1 << bits) - 1
    scale, lowest = _unsigned_scale(blocks, most)
    zero = lowest.neg().div_(scale).round_().clamp_(0, most)
    blocks.div_(scale).add_(zero).round_().clamp_(0, most).sub_(zero).mul_(scale)


def _signed_scale(blocks: torch.Tensor, half: int) -> torch.Tensor:
    """Return the step that puts a block's weight of the largest magnitude on the lowest code."""
    low, high = blocks.amin(1, keepdim=True), blocks.amax(1, keepdim=True)
    return high.where(high.abs() > low.abs(), low).div_(-half)


def _unsigned_scale(blocks: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the step from a block's lowest weight to its highest and the lowest; zero is within.

    Steps of blocks of zeros are 1, so that they can be divided by.
    """
    low = blocks.amin(1, keepdim=True).clamp_max_(0)
    scale = blocks.amax(1, keepdim=True).clamp_min_(0).sub_(low).div_(most)
    return scale.masked_fill_(scale == 0, 1.0), low


def _round_rtn(blocks: torch.Tensor, bits: int) -> None:
    """Round as onnxruntime's ``rtn_quantize``, symmetric; (blocks, block, out).

    In float64, as there: the largest weight of every block lies halfway between two codes,
    and the last bit decides.
    """
    half = 1 << (bits - 1)
    most = blocks.abs().amax(1, keepdim=True)
    scale = (most * 2).double().div_(2 * half - 1).masked_fill_(most == 0, 1.0)
    codes = blocks.double().div_(scale).add_(half).round_().clamp_(0, 2 * half - 1)
    blocks.copy_(codes.sub_(half)).mul_(scale.float())


def _round_rtn_zeros(blocks: torch.Tensor, bits: int) -> None:
    """Round as ``rtn_quantize`` with zero points, in float64 as there; (blocks, block, out).

    Zero need not lie within the block's range; its code is the nearest one then.
    """
    most = (1 << bits) - 1
    low = blocks.amin(1, keepdim=True)
    reach = blocks.amax(1, keepdim=True).sub_(low)
    scale = reach.double().div_(most).masked_fill_(reach == 0, 1.0)
    zero = low.double().neg_().div_(scale).round_().clamp_(0, most)
    codes = blocks.double().div_(scale).add_(zero).round_().clamp_(0, most)
    blocks.copy_(codes.sub_(zero)).mul_(scale.float())


_RULES: Mapping[tuple[Rule, bool], Callable[[torch.Tensor, int], None]] = {
    ("mlas", False): _round_mlas,
    ("mlas", True): _round_mlas_zeros,
    ("table", False): _round_table,
    ("table", True): _round_table_zeros,
    ("rtn", False): _round_rtn,
    ("rtn", True): _round_rtn_zeros,
}
