"""Recipes, adapter configs and candidates: what is refused, and names that identify a value."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.candidate import (
    UNTRAINED,
    AdapterConfig,
    Algorithm,
    Candidate,
    Embedding,
    Head,
    Precision,
    Recipe,
    read_recipe,
)
from autotune.errors import UsageError
from autotune.plain import digest, from_plain, to_plain
from autotune.targets import Architecture, recipes_for

LLAMA = Architecture(
    name="LlamaForCausalLM",
    layers=2,
    hidden_size=64,
    vocab_size=300,
    tied_embeddings=True,
    context_length=512,
    parameters=100_000,
)

floats = st.floats(min_value=1e-6, max_value=1e3)
adapters = st.builds(
    AdapterConfig,
    method=st.just("lora"),
    rank=st.integers(1, 256),
    alpha_ratio=floats,
    learning_rate=floats,
    epochs=floats,
    batch_size=st.integers(1, 64),
    warmup=st.floats(0, 0.99),
    dropout=st.floats(0, 0.99),
    target_modules=st.sampled_from(["all-linear", "attention", "mlp", "q_proj+v_proj"]),
    seed=st.integers(0, 2**31),
    rslora=st.booleans(),
    schedule=st.sampled_from(["cosine", "linear", "constant"]),
    steps=st.none() | st.integers(1, 10_000),
    clip_norm=st.none() | floats,
    layers=st.none() | st.integers(1, 40),
)
int4_recipes = st.builds(
    Recipe,
    provider=st.sampled_from(["cpu", "cuda", "dml"]),
    precision=st.just(Precision.INT4),
    block_size=st.sampled_from([16, 32, 64, 128, 256]),
    algorithm=st.sampled_from(list(Algorithm)),
    accuracy_level=st.integers(0, 4),
    prune_lm_head=st.booleans(),
    layers=st.none() | st.integers(1, 40),
    activations=st.none() | st.sampled_from([Precision.FP32, Precision.BF16]),
    cuda_graph=st.booleans(),
    symmetric=st.booleans(),
    mixed=st.booleans(),
    head=st.none() | st.sampled_from(list(Head)),
    embedding=st.none() | st.sampled_from(list(Embedding)),
)


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        (Recipe(provider="cpu", precision=Precision.FP32), "cpu-fp32"),
        (
            Recipe(provider="cpu", precision=Precision.INT8, block_size=32, accuracy_level=4),
            "cpu-int8-b32",
        ),
        (
            Recipe(
                provider="cpu",
                precision=Precision.INT4,
                block_size=32,
                algorithm=Algorithm.K_QUANT_MIXED,
                accuracy_level=1,
                prune_lm_head=False,
                layers=20,
            ),
            "cpu-int4-b32-k_quant_mixed-acc1-fullhead-l20",
        ),
        (
            Recipe(
                provider="webgpu",
                precision=Precision.INT8,
                block_size=32,
                accuracy_level=4,
                activations=Precision.FP32,
            ),
            "webgpu-int8-b32-fp32act",
        ),
    ],
)
def test_a_recipe_is_named_by_what_differs_from_the_default(recipe: Recipe, name: str) -> None:
    assert recipe.name == name


@given(int4_recipes, int4_recipes)
def test_two_int4_recipes_share_a_name_only_if_they_are_equal(one: Recipe, other: Recipe) -> None:
    assert (one.name == other.name) == (one == other)


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"block_size": None}, "int4 needs block_size, got None"),
        ({"algorithm": None}, "int4 needs algorithm, got None"),
        ({"accuracy_level": None}, "int4 needs accuracy_level, got None"),
        (
            {"precision": Precision.INT8},
            "int8 names no default algorithm; leave it out",
        ),
        ({"precision": Precision.FP16}, "fp16 has no block_size, got 32; its options are: none"),
    ],
)
def test_a_recipe_has_every_option_of_its_precision_and_no_other(
    changed: dict[str, object], rule: str
) -> None:
    # Names leave defaults out: int4 without an algorithm would be called like the default one.
    int4 = Recipe(
        provider="cpu",
        precision=Precision.INT4,
        block_size=32,
        algorithm=Algorithm.DEFAULT,
        accuracy_level=4,
    )
    with pytest.raises(UsageError, match=rule):
        dataclasses.replace(int4, **changed)  # type: ignore[arg-type] # wrong on purpose


@pytest.mark.parametrize("provider", ["cpu", "cuda", "dml", "webgpu", "NvTensorRtRtx"])
def test_proposed_recipes_have_names_of_their_own(provider: str) -> None:
    kept, refused = recipes_for(provider, LLAMA)
    names = [recipe.name for recipe in [*kept, *(refusal.recipe for refusal in refused)]]
    assert kept
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"rank": 0}, "rank must be finite and greater than zero, got 0"),
        ({"alpha_ratio": -1.0}, "alpha_ratio must be finite and greater than zero, got -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be finite .* got nan"),
        ({"epochs": float("inf")}, "epochs must be finite .* got inf"),
        ({"batch_size": 0}, "batch_size must be finite and greater than zero, got 0"),
        ({"warmup": 1.0}, r"warmup must be in \[0, 1\), got 1.0"),
        ({"dropout": -0.1}, r"dropout must be in \[0, 1\), got -0.1"),
        ({"dropout": float("nan")}, r"dropout must be in \[0, 1\), got nan"),
        ({"merge_base": "dequantized"}, "is for method 'qlora' only; use 'full'"),
        ({"method": "qat-lora"}, "'qat-lora' needs a quantiser .* with quantiser None"),
        ({"method": "qat-lora", "quantiser": ""}, "'qat-lora' needs a quantiser"),
        ({"quantiser": "int4-b32"}, "no other method has one, got method 'lora' with .*int4-b32"),
        ({"layers": 0}, "layers must be finite and greater than zero, got 0"),
    ],
)
def test_an_adapter_config_out_of_range_is_refused(fields: dict[str, object], rule: str) -> None:
    with pytest.raises(UsageError, match=rule):
        dataclasses.replace(AdapterConfig(), **fields)  # type: ignore[arg-type] # wrong on purpose


def test_a_dequantized_base_goes_with_qlora() -> None:
    assert AdapterConfig(method="qlora", merge_base="dequantized").merge_base == "dequantized"


@given(adapters, adapters)
def test_two_adapter_configs_share_a_name_only_if_they_are_equal(
    one: AdapterConfig, other: AdapterConfig
) -> None:
    assert (one.name == other.name) == (one == other)


def test_equal_adapter_configs_have_one_name_however_their_numbers_are_written() -> None:
    whole = AdapterConfig(epochs=3, alpha_ratio=2, warmup=0)
    decimal = AdapterConfig(epochs=3.0, alpha_ratio=2.0, warmup=0.0)
    assert whole == decimal
    assert whole.name == decimal.name


RECIPE = Recipe(provider="cpu", precision=Precision.FP32)


@pytest.mark.parametrize(
    ("adapter", "fraction", "rule"),
    [
        (None, 0.5, "0 for the untrained model"),
        (AdapterConfig(), 0.0, "0 for the untrained model and above 0 for an adapter"),
        (AdapterConfig(), 1.5, r"in \[0, 1\], got 1.5"),
        (AdapterConfig(), -0.5, r"in \[0, 1\], got -0.5"),
        (AdapterConfig(), float("nan"), r"in \[0, 1\], got nan"),
    ],
)
def test_a_candidate_has_an_adapter_or_no_training(
    adapter: AdapterConfig | None, fraction: float, rule: str
) -> None:
    with pytest.raises(UsageError, match=rule):
        Candidate(adapter=adapter, fraction=fraction, recipe=RECIPE)


def test_a_candidate_is_named_by_training_and_recipe() -> None:
    adapter = AdapterConfig(rank=8)
    base = Candidate(adapter=None, fraction=0, recipe=RECIPE)
    third = Candidate(adapter=adapter, fraction=1 / 3, recipe=RECIPE)
    full = Candidate(adapter=adapter, fraction=1, recipe=RECIPE)
    assert base.name == f"{UNTRAINED}/cpu-fp32"
    assert third.name == f"{adapter.name}@0.33/cpu-fp32"
    assert full.name == f"{adapter.name}/cpu-fp32"
    assert adapter.name.startswith("lora-r8-a2-lr0.001-")


INT4 = Recipe(
    provider="cpu",
    precision=Precision.INT4,
    block_size=32,
    algorithm=Algorithm.DEFAULT,
    accuracy_level=4,
)


@pytest.mark.parametrize(
    ("changed", "quantiser"),
    [
        ({}, "int4-b32"),
        ({"block_size": 128, "algorithm": Algorithm.K_QUANT}, "int4-b128-k_quant"),
        ({"precision": Precision.INT8, "algorithm": None}, "int8-b32"),
        # None of these moves a rounded weight.
        ({"provider": "cuda", "cuda_graph": True, "activations": Precision.BF16}, "int4-b32"),
        ({"accuracy_level": 1, "prune_lm_head": False, "layers": 20}, "int4-b32"),
    ],
)
def test_recipes_of_one_rounding_share_a_quantiser(changed: dict[str, Any], quantiser: str) -> None:
    assert dataclasses.replace(INT4, **changed).quantiser == quantiser
    assert RECIPE.quantiser is None


def test_an_adapter_serves_recipes_of_its_depth_whatever_their_quantiser() -> None:
    full, cut = AdapterConfig(), AdapterConfig(layers=20)
    cut_recipe = dataclasses.replace(RECIPE, layers=20)
    assert full.serves(RECIPE)
    assert full.serves(INT4)
    assert not full.serves(cut_recipe)
    assert cut.serves(cut_recipe)
    assert not cut.serves(RECIPE)
    assert AdapterConfig(method="qat-lora", quantiser="int4-b32").serves(RECIPE)
    with pytest.raises(UsageError, match=r"that it was trained at, got layers 20 .*cpu-fp32"):
        Candidate(adapter=cut, fraction=1, recipe=RECIPE)
    assert Candidate(adapter=cut, fraction=1, recipe=cut_recipe).recipe == cut_recipe


def test_a_name_shows_the_quantiser_in_training_and_the_depth() -> None:
    aware = AdapterConfig(method="qat-lora", quantiser="int4-b32-k_quant", layers=20)
    assert aware.name.startswith("qat-lora-int4-b32-k_quant-l20-r16-a2-lr0.001-")
    assert AdapterConfig(layers=20).name.startswith("lora-l20-r16-")


def test_a_recipe_keeps_at_least_one_layer() -> None:
    with pytest.raises(UsageError, match="layers must be at least 1, got 0"):
        dataclasses.replace(RECIPE, layers=0)


def test_a_config_has_the_name_that_it_had_before_there_were_more_options() -> None:
    assert AdapterConfig().name == "lora-r16-a2-lr0.001-c6f7a7"
    changed = (
        *(AdapterConfig(rslora=True), AdapterConfig(schedule="linear")),
        *(AdapterConfig(steps=9), AdapterConfig(clip_norm=None)),
    )
    assert len({config.name for config in (AdapterConfig(), *changed)}) == 5
    plain = AdapterConfig(method="qlora")
    assert dataclasses.replace(plain, double_quant=False).name != plain.name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps must be finite and greater than zero, got 0"),
        ({"clip_norm": 0.0}, "clip_norm must be finite and greater than zero"),
        ({"double_quant": False}, "for method 'qlora' only"),
        ({"target_modules": ""}, "distinct names joined by"),
        ({"target_modules": "q_proj+"}, "distinct names joined by"),
        ({"target_modules": "q_proj+q_proj"}, "distinct names joined by"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        AdapterConfig(**options)


@given(recipe=int4_recipes)
def test_a_recipe_is_read_back_from_its_name(recipe: Recipe) -> None:
    assert read_recipe(recipe.name) == recipe
    assert from_plain(Recipe, to_plain(recipe)) == recipe


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cpu", "has a precision"),
        ("cpu-int4", "needs block_size"),
        ("cpu-int4-b32-b64", "has two for block_size"),
        ("cpu-int4-b32-big", "has 'big'; known are"),
        ("cpu-int4-b032", "is spelt 'cpu-int4-b32'"),
        ("cpu-int4-b32-acc4", "is spelt 'cpu-int4-b32'"),
        ("cpu-fp32-b32", "has no block_size"),
        ("cpu-int4-b32-l0", "layers must be at least 1"),
    ],
)
def test_a_name_that_is_no_recipes_is_refused(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_recipe(name)


def test_int8_names_an_algorithm_only_where_it_is_not_the_default() -> None:
    assert read_recipe("cpu-int8-b32-k_quant").algorithm is Algorithm.K_QUANT
    with pytest.raises(UsageError, match="names no default algorithm"):
        dataclasses.replace(read_recipe("cpu-int8-b32"), algorithm=Algorithm.DEFAULT)


def test_a_recipe_without_the_later_options_has_the_plain_form_that_it_had() -> None:
    # Keys of stores and digests of runs are made of it; the digest is of version 0.1.
    plain = to_plain(INT4)
    assert not {"symmetric", "mixed", "head", "embedding"} & plain.keys()
    assert digest(plain) == "72f69f10c307f9d442486db7dba2f5e4e1c52192f6d140630dd8b9ac901ed933"
    assert to_plain(dataclasses.replace(INT4, head=Head.INT8))["head"] == "int8"
