"""A quantiser in the training loop: products with the weights that the built graph will have.

For worker processes: importing this module imports torch and peft. Base plus low-rank
update are rounded once per optimiser step, exactly as the builder rounds the merged model;
gradients pass straight through the rounding (Bengio et al. 2013, arXiv 1308.3432). What no
adapter trains (the head, layers without an adapter) is rounded once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from peft.tuners.lora import Linear as PeftLinear
from torch import nn

from .base_model import head_of
from .model_grids import ModelGrids

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from .grids import Grid

__all__ = ["RoundedLinear", "grids_of", "rounded_layers", "rounding"]


class _RoundedProduct(torch.autograd.Function):
    """``x Q + bias``, Q being the rounded W' + s A' B'; its gradient is taken as if not rounded."""

    @staticmethod
    def forward(  # noqa: PLR0917 - torch passes them by position
        ctx: Any,
        x: torch.Tensor,
        columns: torch.Tensor,
        bias: torch.Tensor | None,
        lora_a: torch.Tensor,
        lora_b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        ctx.save_for_backward(rows, columns, lora_a, lora_b)
        ctx.scaling = scaling
        out = rows @ columns if bias is None else torch.addmm(bias, rows, columns)
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        rows, columns, lora_a, lora_b = ctx.saved_tensors
        grad_rows = grad.reshape(-1, grad.shape[-1])
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad_rows @ columns.T).view(*grad.shape[:-1], -1)
        a, b = lora_a.to(rows.dtype), (lora_b * ctx.scaling).to(rows.dtype)
        grad_a = ((grad_rows @ b).T @ rows).float()
        grad_b = (grad_rows.T @ (rows @ a.T)).float().mul_(ctx.scaling)
        return grad_x, None, None, grad_a, grad_b, None


class RoundedLinear(PeftLinear):
    """peft's LoRA layer with one adapter, computed with the rounded sum of base and product.

    The base's weight keeps the data type that it is stored in: one that is 0.4 % off, as
    bfloat16 is, lies on another code every hundredth time.

    Attributes:
        grid: that weights are rounded to.
        columns: the rounded sum (in, out), in the data type of the products.
        is_stale: the adapter has changed since; whoever changes it says so, for the fused
            optimiser leaves no trace in torch's version counters.
    """

    grid: Grid
    columns: torch.Tensor
    is_stale: bool = True

    def start(self, grid: Grid, dtype: torch.dtype) -> None:
        """Round with ``grid`` from now on, and multiply in ``dtype``."""
        self.grid = grid
        stored = self._stored()
        columns = stored.new_empty(stored.shape, dtype=dtype)
        # A buffer, so that it moves with the model and is known to be no part of a batch.
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product; ``x`` is (batch, seq, in), the result (batch, seq, out)."""
        (name,) = self.active_adapters
        a = cast("torch.Tensor", self.lora_A[name].weight)
        b = cast("torch.Tensor", self.lora_B[name].weight)
        if self.is_stale:
            self._round(a.detach(), b.detach(), self.scaling[name])
            self.is_stale = False
        return _RoundedProduct.apply(  # type: ignore[no-untyped-call, no-any-return]  # torch leaves apply untyped
            x, self.columns, self.base_layer.bias, a, b, self.scaling[name]
        )

    def _stored(self) -> torch.Tensor:
        """Return the base's weight, (in, out)."""
        return cast("torch.Tensor", self.base_layer.weight).T

    def _round(self, a: torch.Tensor, b: torch.Tensor, scaling: float) -> None:
        """Set ``columns`` to what the graph will hold for W + s B A, added in float32."""
        stored = self._stored()
        exact = stored.new_empty(stored.shape, dtype=torch.float32).copy_(stored)
        exact.addmm_(a.T.float(), b.T.float(), alpha=scaling)
        self.grid.round_(exact)
        self.columns.copy_(exact)


def rounded_layers(model: nn.Module) -> list[RoundedLinear]:
    """Return the layers of ``model`` that round what they compute with, if any do."""
    return [module for module in model.modules() if isinstance(module, RoundedLinear)]


def grids_of(base: PreTrainedModel, quantiser: str) -> ModelGrids:
    """Return what the weights of ``base``, which has no adapter, are rounded to.

    Raises:
        UsageError: a quantiser whose rounding is not reproduced, or not for this model.
    """
    return ModelGrids.of(
        quantiser,
        names=[name for name, module in base.named_modules() if isinstance(module, nn.Linear)],
        layers=base.config.num_hidden_layers,
        tied=base.config.tie_word_embeddings,
    )


@contextmanager
def rounding(base: PreTrainedModel, grids: ModelGrids) -> Iterator[None]:
    """Have every product of ``base`` computed with rounded weights inside the block.

    Layers with an adapter are ``RoundedLinear``. Token vectors are read from the head's
    weights or from a table, rounded or not, as in the graph.
    """
    embedding, head = base.get_input_embeddings(), head_of(base)
    dtype = cast("torch.Tensor", embedding.weight).dtype
    named = dict(base.named_modules())
    adapted = {name: one for name, one in named.items() if isinstance(one, RoundedLinear)}
    within = {id(part) for layer in adapted.values() for part in layer.modules()}
    for name, layer in adapted.items():
        layer.start(grids.product(name), dtype)
    plain = {
        name: module
        for name, module in named.items()
        if isinstance(module, nn.Linear) and id(module) not in within
    }
    before: dict[nn.Module, Any] = {one: one.weight for one in (*plain.values(), embedding)}
    for name, linear in plain.items():
        grid = grids.head if linear is head else grids.product(name)
        linear.weight = _on_grid(linear.weight, grid, dtype)
    if grids.shares_head:
        embedding.weight = head.weight
    elif grids.table:
        # The head keeps the data type in which what the two share is stored.
        stored = before[head if grids.tied else embedding]
        embedding.weight = _on_grid(stored, grids.table, dtype)
    try:
        yield
    finally:
        for module, weight in before.items():
            module.weight = weight


def _on_grid(weight: torch.Tensor, grid: Grid | None, dtype: torch.dtype) -> nn.Parameter:
    found = weight.to(dtype) if grid is None else grid.rounded(weight, dtype)
    return nn.Parameter(found.detach(), requires_grad=False)
