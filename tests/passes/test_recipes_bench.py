"""The comparison of recipes: what it pairs, and the group-wise adapter that it stands beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="extra 'train' is not installed")
pytest.importorskip("peft", reason="extra 'train' is not installed")

import torch

from bench import recipes, seed_statistics
from bench.recipe_arms import ARMS

from .training_runs import compute, examples


def part(**scores: float) -> dict[str, Any]:
    return {
        "scores": {
            quantiser.replace("_", "-"): {"accuracy": accuracy, "nll": 0.1, "rows": 100}
            for quantiser, accuracy in scores.items()
        }
    }


def test_every_arm_is_first_in_its_turn() -> None:
    found = recipes.parts(arms=("lora", "qat-b32"), rounds=2, seeds=1)
    assert found == [
        *(("speed", 0, "lora"), ("speed", 0, "qat-b32")),
        *(("speed", 1, "qat-b32"), ("speed", 1, "lora")),
        *(("quality", 0, "lora"), ("quality", 0, "qat-b32")),
    ]


def test_figures_are_paired_by_seed_and_leave_out_what_has_no_partner() -> None:
    found = {
        "quality/0/lora": part(fp32=0.98, int4_b32=0.90),
        "quality/0/qat-b32": part(fp32=0.97, int4_b32=0.96),
        "quality/1/lora": part(fp32=0.96, int4_b32=0.86),
        "quality/1/qat-b32": part(fp32=0.96, int4_b32=0.95),
        "quality/2/lora": part(fp32=0.10, int4_b32=0.10),
    }
    for n, ratio in enumerate((1.1, 1.2, 1.2, 1.3, 1.2, 1.2)):
        found[f"speed/{n}/lora"] = {"tokens": 100.0, "seconds": 1.0 + n}
        found[f"speed/{n}/qat-b32"] = {"tokens": 100.0, "seconds": (1.0 + n) * ratio}
    result = recipes.summary(found)
    assert result["seeds"] == 2
    plain, ours = result["models"]["lora int4-b32"], result["models"]["qat-b32 int4-b32"]
    assert plain["accuracy"] == pytest.approx(0.88)
    assert plain["to_fp32"] == pytest.approx(-0.09)
    assert "regained" not in plain
    assert ours["to_fp32"] == pytest.approx(-0.015)
    assert ours["regained"] == pytest.approx((0.06 + 0.09) / (0.08 + 0.10))
    assert result["time_ratio"]["qat-b32"]["ratio"] == pytest.approx(1.2)
    lines = recipes.table(result).splitlines()
    assert any(line.startswith("qat-b32 int4-b32") and " 0.83 " in line for line in lines)
    assert recipes.summary({}) == {}


def test_an_interval_of_few_seeds_is_student_s() -> None:
    assert seed_statistics.mean_interval([0.5]) == (0.5, None)
    with pytest.raises(ValueError, match="2 to 10 seeds, got 11"):
        seed_statistics.mean_interval([0.5] * 11)
    share, ends = seed_statistics.share_interval([1.0, 2.0], [0.0, 0.0])
    assert (share, ends) == (None, None)


def test_a_group_wise_update_is_constant_in_every_block_and_leaves_the_base_alone(
    inputs: dict[str, Path],
) -> None:
    rows, _ = examples.read_examples(inputs["data"] / "train.json")
    problem = recipes.Problem(
        model_dir=inputs["model"], rows=rows, test=None, used=compute.training_compute()
    )
    arm = ARMS["qa-lora"]
    adapter = arm.adapter(seed=0, epochs=1)
    with recipes.started(problem, arm, adapter) as one:
        base = one.base
        layer = base.model.layers[0].self_attn.q_proj
        rounded = layer.base_layer.weight.clone()
        one.advance(2)
        weight = layer.lora_A["default"].weight.detach()
        groups = weight.unflatten(1, (-1, 32))
        assert torch.equal(groups, groups[..., :1].expand_as(groups))
        assert len(groups[..., 0].unique()) == groups[..., 0].numel()
        assert layer.lora_B["default"].weight.abs().max() > 0
    found = base.model.layers[0].self_attn.q_proj.weight
    assert not torch.equal(found, rounded)
    with recipes.rounded_weights(base, "int4-b32"):
        assert torch.equal(base.model.layers[0].self_attn.q_proj.weight, rounded)
