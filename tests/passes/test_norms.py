"""Norms of training give what the model's own give, and stay where they would not."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="extra 'train' is not installed")
pytest.importorskip("transformers", reason="extra 'train' is not installed")

import torch
from torch import nn

base_model, norms = (import_module(f"autotune.passes.{n}") for n in ("base_model", "norms"))
IDS = torch.arange(3 * 17).reshape(3, 17) % 290


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_norm_of_a_llama_is_replaced_and_gives_the_same(
    tiny_model_dir: Path, dtype: torch.dtype
) -> None:
    usual, fast = (base_model.load_model(tiny_model_dir, dtype) for _ in range(2))
    assert norms.replace_norms(fast) == 2 * usual.config.num_hidden_layers + 1
    embedded = usual.get_input_embeddings()(IDS)
    logits, gradients = [], []
    for model in (usual, fast):
        inputs = embedded.detach().clone().requires_grad_()
        found = model(inputs_embeds=inputs, use_cache=False).logits
        found.float().square().mean().backward()
        logits.append(found.detach())
        gradients.append(inputs.grad.float())
    assert torch.equal(*logits)
    largest = float(gradients[0].abs().max())
    assert largest > 0
    share = float((gradients[0] - gradients[1]).abs().max()) / largest
    assert share < (1e-5 if dtype == torch.float32 else 2e-2)


class OtherRMSNorm(nn.Module):
    """Gemma's: the weight is what is added to one."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-0.5, 0.5, 64), requires_grad=False)
        self.eps = 1e-6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * (1 + self.weight)


def test_a_norm_with_another_formula_stays() -> None:
    model = nn.Sequential(OtherRMSNorm(), nn.LayerNorm(64))
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(1))
    before = model(x)
    assert norms.replace_norms(model) == 0
    assert torch.equal(model(x), before)
