"""Root mean square norms of training, in fewer passes over memory.

For worker processes: importing this module imports torch. A model has two norms per
layer, each a dozen small operations forwards and backwards in transformers' form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["replace_norms"]

_ROWS = 8
# Of float32 sums taken in another order; what is rounded to bfloat16 after differs by one unit.
_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2**-7}


class _RootMeanSquareNorm(torch.autograd.Function):
    """``w x / rms(x)`` with w frozen, computed in float32 as Llama does (arXiv 1910.07467)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1]).float()
        mean = torch.linalg.vecdot(rows, rows).div_(rows.shape[-1])
        scale = mean.add_(epsilon).rsqrt_().unsqueeze_(-1)
        normed = rows * scale
        ctx.save_for_backward(normed, scale, weight)
        found: torch.Tensor = (normed.to(x.dtype) * weight).view(x.shape)
        return found

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        normed, scale, weight = ctx.saved_tensors
        inner = (grad.reshape(normed.shape) * weight).float()
        along = torch.linalg.vecdot(inner, normed).div_(normed.shape[-1]).unsqueeze_(-1)
        found = inner.addcmul_(normed, along, value=-1).mul_(scale)
        return found.to(grad.dtype).view(grad.shape), None, None


def replace_norms(model: PreTrainedModel) -> int:
    """Have the norms of a frozen ``model`` computed so; return how many.

    Those that give something else on a random input (other formulas, another order of
    rounding) stay as they are.
    """
    generator = torch.Generator().manual_seed(0)
    replaced = 0
    for module in model.modules():
        weight, epsilon = getattr(module, "weight", None), _epsilon_of(module)
        if epsilon is None or not isinstance(weight, nn.Parameter) or weight.dim() != 1:
            continue
        x = torch.randn(_ROWS, len(weight), generator=generator).to(weight)
        with torch.no_grad():
            expected, found = module(x), _Forward(weight, epsilon)(x)
        tolerance = _TOLERANCE.get(weight.dtype)
        if tolerance and torch.allclose(found, expected, rtol=tolerance, atol=tolerance):
            module.forward = _Forward(weight, epsilon)
            replaced += 1
    return replaced


def _epsilon_of(module: nn.Module) -> float | None:
    if not type(module).__name__.endswith("RMSNorm"):
        return None
    return getattr(module, "variance_epsilon", getattr(module, "eps", None))


class _Forward:
    """What a norm's ``forward`` becomes."""

    def __init__(self, weight: nn.Parameter, epsilon: float) -> None:
        self.weight, self.epsilon = weight, epsilon

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = _RootMeanSquareNorm.apply(x, self.weight, self.epsilon)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
        return found
