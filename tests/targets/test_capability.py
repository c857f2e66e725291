"""What the capability tables offer and refuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module

import pytest

from autotune.candidate import Algorithm, Precision, Recipe
from autotune.targets import (
    Architecture,
    Family,
    Graphs,
    InVain,
    check_recipe,
    families,
    family_named,
    recipes_for,
    types_to_prove,
)

registry = import_module("autotune.targets.registry")

LLAMA = Architecture(
    name="LlamaForCausalLM",
    layers=30,
    hidden_size=576,
    vocab_size=49152,
    tied_embeddings=True,
    context_length=8192,
    parameters=134_515_008,
)
INT4 = Recipe(
    provider="cpu",
    precision=Precision.INT4,
    block_size=32,
    algorithm=Algorithm.DEFAULT,
    accuracy_level=4,
)
FP32 = Recipe(provider="cpu", precision=Precision.FP32)


def test_cpu_offers_the_recipes_worth_trying_fastest_first_and_slow_builds_last() -> None:
    offered, _ = recipes_for("cpu", LLAMA)
    assert [recipe.name for recipe in offered] == [
        "cpu-int4-b128",
        "cpu-int4-b32",
        "cpu-int4-b16",
        "cpu-int4-b32-rtn-mixed-asym-head8",
        "cpu-int8-b128",
        "cpu-int8-b32",
        "cpu-int4-b32-acc1",
        "cpu-fp32",
    ]
    assert all(recipe.prune_lm_head for recipe in offered)


def test_cpu_says_why_half_precision_is_left_out() -> None:
    _, refusals = recipes_for("cpu", LLAMA)
    reasons = {refusal.recipe.precision: refusal for refusal in refusals}
    assert set(reasons) == {Precision.FP16, Precision.BF16}
    assert "first run" in reasons[Precision.FP16].reason
    assert "does not load" in reasons[Precision.BF16].reason
    assert all(refusal.source.startswith("https://") for refusal in refusals)


@pytest.mark.parametrize("provider", ["cpu", "cuda", "dml", "webgpu", "NvTensorRtRtx"])
def test_what_is_offered_passes_the_check_and_what_is_refused_does_not(provider: str) -> None:
    offered, refusals = recipes_for(provider, LLAMA)
    assert offered
    assert all(check_recipe(recipe, LLAMA) is None for recipe in offered)
    assert all(check_recipe(refusal.recipe, LLAMA) == refusal for refusal in refusals)
    names = [recipe.name for recipe in offered]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        (replace(INT4, provider="openvino"), "no provider 'openvino'"),
        (replace(INT4, block_size=512), "block_size"),
        (replace(INT4, accuracy_level=5), "accuracy_level"),
        (replace(FP32, provider="dml"), "does not load"),
        (replace(FP32, provider="webgpu"), "runs int8, int4"),
        (replace(FP32, layers=20), "fewer are asked for with --layers"),
        (replace(INT4, activations=Precision.FP32), "no fp32 activations for int4 on cpu"),
        (
            replace(INT4, provider="webgpu", activations=Precision.BF16),
            "no bf16 activations for int4 on webgpu",
        ),
    ],
)
def test_a_recipe_that_cannot_run_is_refused_with_the_reason(recipe: Recipe, reason: str) -> None:
    refusal = check_recipe(recipe, LLAMA)
    assert refusal is not None
    assert reason in refusal.reason


def test_a_device_without_half_precision_gets_other_activations_or_no_recipe() -> None:
    words = {"fp16": "MatMul requires f16 but the device does not support it"}
    usual, _ = recipes_for("webgpu", LLAMA)
    offered, _ = recipes_for("webgpu", LLAMA, refused_types=words)
    assert {recipe.activations for recipe in usual} == {None}
    assert offered == [replace(recipe, activations=Precision.FP32) for recipe in usual]
    # No builder option puts fp32 activations into these.
    offered, refusals = recipes_for("dml", LLAMA, refused_types=words)
    assert offered == []
    assert any("does not compute in fp16: MatMul requires f16" in one.reason for one in refusals)
    offered, _ = recipes_for("cpu", LLAMA, refused_types=words)
    assert offered == recipes_for("cpu", LLAMA)[0]


def test_a_device_without_bfloat16_loses_the_recipes_in_it_and_no_others() -> None:
    usual, _ = recipes_for("cuda", LLAMA)
    offered, refusals = recipes_for("cuda", LLAMA, refused_types={"bf16": "no such units"})
    assert {recipe.precision for recipe in usual} - {one.precision for one in offered} == {
        Precision.BF16
    }
    assert [r for r in usual if r.precision is not Precision.BF16] == offered
    assert any("does not compute in bf16: no such units" in one.reason for one in refusals)


def test_every_type_that_a_recipe_computes_in_is_proven_where_devices_may_lack_it() -> None:
    assert types_to_prove("cpu") == ()
    for provider in ("cuda", "NvTensorRtRtx", "dml", "webgpu", "a provider to come"):
        asked = set(types_to_prove(provider))
        offered, _ = recipes_for(provider, LLAMA)
        halves = {one.precision for one in offered} & {Precision.FP16, Precision.BF16}
        assert halves | {"fp16"} == asked


def test_gemma_is_not_built_in_fp16() -> None:
    gemma = replace(LLAMA, name="Gemma2ForCausalLM")
    offered, refusals = recipes_for("cuda", gemma)
    assert Precision.FP16 not in {recipe.precision for recipe in offered}
    assert any("loses accuracy" in refusal.reason for refusal in refusals)


@pytest.fixture
def npu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Family]:
    """A family of another package, for a provider that no built-in one has."""
    graphs = Graphs(
        precisions=(Precision.INT4,),
        refused=(InVain(precision=Precision.INT8, reason="it hangs", source="its maker"),),
        accuracy_level=2,
    )
    family = replace(family_named("cpu"), name="npu", provider="NPU", graphs=graphs)
    monkeypatch.setattr(registry, "families", lambda: {**families(), "npu": family})
    registry.graphs_by_provider.cache_clear()
    yield family
    registry.graphs_by_provider.cache_clear()


def test_a_family_of_another_package_says_what_is_built_for_its_provider(npu: Family) -> None:
    kept, refused = recipes_for(npu.provider, LLAMA)
    assert {(one.precision, one.accuracy_level) for one in kept} == {(Precision.INT4, 2)}
    reasons = {(one.recipe.precision, one.reason) for one in refused}
    assert (Precision.INT8, "it hangs") in reasons
    assert (Precision.BF16, "NPU runs int4, not bf16") in reasons
    assert not any(one.cuda_graph for one in kept)
