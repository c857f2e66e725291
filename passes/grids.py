"""The values that a quantiser of the builder leaves a weight to choose from, reproduced in torch.

A grid is decided by the weights themselves, block by block along the input. Which ones are
reproduced, and that they are the graph's own, is proven in ``tests/passes/test_grids.py``.
Importing this module imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from autotune.errors import UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["Grid", "has_grid"]

# int8 has no algorithm but the default one; k_quant and k_quant_mixed are not here.
_QUANTISER = re.compile(r"(?:int(?P<bits>[48])-b(?P<block>\d+)|int4-b(?P<rtn_block>\d+)-rtn)")
_BLOCK_SIZES = (16, 32, 64, 128, 256)
# Weights rounded at once where a whole matrix is: bounds what that takes beside it.
_AT_ONCE = 1 << 24

Rule = Literal["signed", "rtn"]


def has_grid(quantiser: str) -> bool:
    """Whether ``Grid.of`` knows ``quantiser``.

    >>> has_grid("int4-b32"), has_grid("int8-b32"), has_grid("int4-b32-k_quant_mixed")
    (True, True, False)
    """
    found = _QUANTISER.fullmatch(quantiser)
    return found is not None and _block_size(found) in _BLOCK_SIZES


def _block_size(found: re.Match[str]) -> int:
    return int(found["block"] or found["rtn_block"])


@dataclass(frozen=True, kw_only=True)
class Grid:
    """How weights are rounded: symmetric, one scale per block of inputs of an output.

    Attributes:
        bits: of a code, 4 or 8.
        block_size: inputs that share a scale; the last block of a row may be shorter.
        rule: ``signed`` is the builder's default (MLAS): the weight of the largest magnitude
            lies on the lowest code, whatever its sign; ``rtn`` puts it between two codes,
            7.5 of them from zero.
    """

    bits: int
    block_size: int
    rule: Rule

    @classmethod
    def of(cls, quantiser: str) -> Grid:
        """Return the grid of a ``Recipe.quantiser``.

        Raises:
            UsageError: one whose grid is not reproduced here.
        """
        found = _QUANTISER.fullmatch(quantiser)
        if found is None or not has_grid(quantiser):
            raise UsageError(
                "Weights are rounded while training with int4 of algorithm default or rtn, or"
                f" int8, in blocks of {', '.join(map(str, _BLOCK_SIZES))}, got quantiser"
                f" {quantiser!r}; k_quant searches each block's scale in twenty tries, which is"
                " too slow for every step. Train with 'int4-b32', or with method 'lora'."
            )
        return cls(
            bits=int(found["bits"] or 4),
            block_size=_block_size(found),
            rule="signed" if found["bits"] else "rtn",
        )

    def round_(self, columns: torch.Tensor) -> None:
        """Round ``columns`` (in, out), float32, in place; outputs are the fast dimension."""
        size = self.block_size
        whole = columns.shape[0] // size * size
        for part, length in ((columns[:whole], size), (columns[whole:], columns.shape[0] - whole)):
            if part.numel():
                _RULES[self.rule](part.view(-1, length, part.shape[1]), self.bits)

    def rounded(self, weight: torch.Tensor) -> torch.Tensor:
        """Return ``weight`` (out, in) rounded, in its own data type."""
        import torch  # noqa: PLC0415 - who asks for names needs none

        result = weight.detach().clone()
        rows = max(1, _AT_ONCE // weight.shape[1])
        for start in range(0, weight.shape[0], rows):
            part = weight.detach()[start : start + rows]
            columns = part.new_empty(part.T.shape, dtype=torch.float32).copy_(part.T)
            self.round_(columns)
            result[start : start + rows] = columns.T
        return result


def _round_signed(blocks: torch.Tensor, bits: int) -> None:
    """Round as onnxruntime's MLAS (core/mlas/lib/q4_dq.cpp, symmetric); (blocks, block, out)."""
    half = 1 << (bits - 1)
    low, high = blocks.amin(1, keepdim=True), blocks.amax(1, keepdim=True)
    scale = high.where(high.abs() > low.abs(), low).div_(-half)
    inverse = scale.reciprocal().masked_fill_(scale == 0, 0.0)
    # Halves go up, since codes count from zero there.
    blocks.mul_(inverse).add_(half + 0.5).floor_().clamp_max_(2 * half - 1)
    blocks.sub_(half).mul_(scale)


def _round_rtn(blocks: torch.Tensor, bits: int) -> None:
    """Round as onnxruntime's ``rtn_quantize``, symmetric; (blocks, block, out).

    In float64, as there: the largest weight of every block lies halfway between two codes,
    and the last bit decides.
    """
    half = 1 << (bits - 1)
    most = blocks.abs().amax(1, keepdim=True)
    scale = (most * 2).double().div_(2 * half - 1).masked_fill_(most == 0, 1.0)
    codes = blocks.double().div_(scale).add_(half).round_().clamp_(0, 2 * half - 1)
    blocks.copy_(codes.sub_(half).float().mul_(scale.float()))


_RULES: dict[Rule, Callable[[torch.Tensor, int], None]] = {
    "signed": _round_signed,
    "rtn": _round_rtn,
}
