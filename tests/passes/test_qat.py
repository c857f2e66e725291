"""Training with the quantiser in the loop: the graph's weights, true gradients, exact resuming."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="extra 'train' is not installed")
pytest.importorskip("peft", reason="extra 'train' is not installed")

import torch
from torch import nn

from autotune.candidate import AdapterConfig
from autotune.errors import UsageError
from autotune.passes import MergePass

from .training_runs import ADAPTER, base_model, compute, examples, lora, started, train

# Modules behind the folder's front door.
answer_loss, qat = (import_module(f"autotune.passes.{name}") for name in ("answer_loss", "qat"))

QAT = replace(ADAPTER, method="qat-lora", quantiser="int4-b32")


def rounded_plainly(model: Any, grid: Any, *, embedding: bool) -> None:
    """Round every linear weight, block after block and weight after weight, and the embedding."""
    head = model.lm_head
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight = nn.Parameter(plain_rounding(module.weight.detach(), grid))
    if embedding:
        model.model.embed_tokens.weight = head.weight


def plain_rounding(weight: torch.Tensor, grid: Any) -> torch.Tensor:
    """The slow and obvious way."""
    half = 2 ** (grid.bits - 1)
    rows = []
    for row in weight.double():
        blocks = []
        for block in row.split(grid.block_size):
            scale = block[block.abs().argmax()] / -half
            codes = torch.floor(block / scale + 0.5).clamp(-half, half - 1)
            blocks.append(codes * scale)
        rows.append(torch.cat(blocks))
    return torch.stack(rows).float()


def merged_weights(one: Any) -> dict[str, torch.Tensor]:
    """Base plus update of every adapted layer, by name."""
    found = {}
    for name, layer in one.peft_model.named_modules():
        if isinstance(layer, qat.RoundedLinear):
            a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            update = layer.scaling["default"] * (b.double() @ a.double())
            found[name] = (layer.base_layer.weight.double() + update).detach()
    return found


@pytest.mark.parametrize("quantiser", ["int4-b32", "int4-b128", "int8-b32"])
def test_what_is_trained_is_the_merged_model_after_rounding(
    inputs: dict[str, Path], tmp_path: Path, device: str, quantiser: str
) -> None:
    trained = train(tmp_path / "out", inputs, replace(QAT, quantiser=quantiser))
    merged = tmp_path / "merged"
    merged.mkdir()
    facts = MergePass().run({"model": inputs["model"], "adapter": tmp_path / "out"}, merged)
    assert facts["dtype"] == "float32"
    assert facts["logit_difference"]["float32"] < 1e-3
    model = base_model.load_model(merged, torch.float32)
    _, probe = examples.read_examples(inputs["data"] / "train.json")
    unrounded = answer_loss.row_losses(model, probe)
    grid = qat.grids_of(model, quantiser).body
    rounded_plainly(model, grid, embedding=quantiser.startswith("int4"))
    losses = answer_loss.row_losses(model, probe)
    tolerance = 1e-4 if device == "cpu" else 0.05
    assert trained["probe_nll"] == pytest.approx(sum(losses) / len(losses), rel=tolerance)
    if quantiser == "int4-b128":
        assert trained["probe_nll"] != pytest.approx(sum(unrounded) / len(unrounded), rel=1e-2)


def test_gradients_are_those_of_the_update_as_if_nothing_were_rounded(
    inputs: dict[str, Path], device: str
) -> None:
    with started(inputs, QAT) as one:
        one.advance(2)
        one._gradients(2, one.examples[:8])
        found = {name: weight.grad.clone() for name, weight in one.weights.items()}
        layers = dict(one.peft_model.named_modules())
        # Straight through: W rounded plus an update that is subtracted where it has no gradient.
        for name, exact in merged_weights(one).items():
            layer = layers[name]
            rounded = plain_rounding(exact.float().cpu(), layer.grid)
            layer.forward = plain_product(layer, rounded.to(exact.device))
        one._gradients(2, one.examples[:8])
        expected = {name: weight.grad for name, weight in one.weights.items()}
        for name in merged_weights(one):
            del layers[name].forward
    for name, gradient in found.items():
        tolerance = 1e-5 if device == "cpu" else 0.05
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=tolerance)
    assert any(gradient.abs().max() > 1e-3 for gradient in found.values())


def plain_product(layer: Any, rounded: torch.Tensor) -> Any:
    def forward(x: torch.Tensor) -> torch.Tensor:
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        update = layer.scaling["default"] * (b @ a)
        weight = rounded + (update - update.detach())
        return nn.functional.linear(x, weight.to(x.dtype))

    return forward


def test_a_training_in_two_parts_equals_one_in_a_single_run_bit_by_bit(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    whole = train(tmp_path / "whole", inputs, QAT)
    train(tmp_path / "first", inputs, QAT, 0.4)
    last = train(tmp_path / "last", inputs | {"checkpoint": tmp_path / "first"}, QAT)
    assert last["losses"] == whole["losses"]
    assert last["probe_nll"] == whole["probe_nll"]
    name = "adapter/adapter_model.safetensors"
    first, second = (
        hashlib.sha256((tmp_path / one / name).read_bytes()).hexdigest()
        for one in ("whole", "last")
    )
    assert first == second


@pytest.mark.usefixtures("device")
def test_layers_without_an_adapter_are_rounded_once_and_given_back(
    inputs: dict[str, Path],
) -> None:
    used = compute.training_compute()
    base = base_model.training_base(inputs["model"], "qat-lora", used)
    before = {name: p.detach().clone() for name, p in base.named_parameters()}
    grid = qat.grids_of(base, "int4-b32").body
    with lora.adapted(base, replace(QAT, target_modules="attention")):
        layer = base.model.layers[0]
        mlp, head = layer.mlp.up_proj.weight, base.lm_head.weight
        plain = plain_rounding(before["model.layers.0.mlp.up_proj.weight"].float().cpu(), grid)
        torch.testing.assert_close(mlp.float().cpu(), plain, rtol=4e-3, atol=1e-6)
        assert base.model.embed_tokens.weight is head
        assert len(head.unique()) < len(before["model.embed_tokens.weight"].unique()) / 2
    after = dict(base.named_parameters())
    assert after.keys() >= before.keys()
    for name, weight in before.items():
        assert torch.equal(after[name], weight), name
    with lora.adapted(base, replace(QAT, quantiser="int8-b32")):
        assert base.model.embed_tokens.weight is not base.lm_head.weight


def test_weights_are_rounded_once_per_step_however_often_they_are_used(
    inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[None] = []
    with started(inputs, QAT) as one:
        one.fit = replace(one.fit, rows=3)
        monkeypatch.setattr(qat.RoundedLinear, "_round", counted(qat.RoundedLinear._round, rounds))
        one.advance(4)
        answer_loss.row_losses(one.base, one.examples[:4])
    # The first step's weights were rounded when memory was planned for.
    assert len(rounds) == 4 * 14


def counted(rounding: Any, calls: list[None]) -> Any:
    def call(layer: Any, *arguments: Any) -> None:
        calls.append(None)
        rounding(layer, *arguments)

    return call


def test_base_and_adapter_are_one_weight_without_dropout() -> None:
    with pytest.raises(UsageError, match=r"use dropout 0, got 0\.1"):
        AdapterConfig(method="qat-lora", quantiser="int4-b32", dropout=0.1)
