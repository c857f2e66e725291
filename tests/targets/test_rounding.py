"""What the builder makes of weights: one graph has one name, and every refusal has a reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from autotune.candidate import Recipe, read_recipe
from autotune.targets import (
    Architecture,
    check_recipe,
    embedding_of,
    has_zero_points,
    head_of,
)
from bench.matrix import pairs, product

TIED = Architecture(
    name="LlamaForCausalLM",
    layers=2,
    hidden_size=128,
    vocab_size=300,
    tied_embeddings=True,
    context_length=512,
    parameters=200_000,
    input_widths=(128, 256),
)
MODELS = (TIED, replace(TIED, tied_embeddings=False))


@pytest.mark.parametrize("model", MODELS, ids=["tied", "untied"])
def test_every_combination_is_refused_with_a_source_or_has_a_graph_of_its_own(
    model: Architecture,
) -> None:
    graphs: Counter[object] = Counter()
    for recipe in product("cpu"):
        refusal = check_recipe(recipe, model)
        if refusal is not None:
            assert refusal.reason
            assert refusal.source.startswith("https://")
        else:
            ends = (head_of(recipe), embedding_of(recipe, tied=model.tied_embeddings))
            rounding = (recipe.precision, recipe.block_size, recipe.algorithm, recipe.mixed)
            graphs[(*rounding, has_zero_points(recipe), recipe.accuracy_level, *ends)] += 1
    assert set(graphs.values()) == {1}
    assert len(graphs) > 1000


def test_pairs_are_few_and_miss_no_two_values() -> None:
    kept = [recipe for recipe in product("cpu") if check_recipe(recipe, TIED) is None]
    chosen = pairs(kept)
    assert len(chosen) < len(kept) / 20
    for one, other in (("symmetric", "head"), ("block_size", "embedding"), ("mixed", "algorithm")):
        seen = {(getattr(recipe, one), getattr(recipe, other)) for recipe in chosen}
        assert seen == {(getattr(recipe, one), getattr(recipe, other)) for recipe in kept}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cpu-int4-b32-asym", "does not load: the default algorithm with asym"),
        ("cpu-int4-b32-head8", "does not load: the default algorithm with head8"),
        ("cpu-int4-b32-mixed-asym-head8", "add emb4 or embfloat, or use rtn"),
        ("cpu-int4-b128-rtn-asym", "128 weights in blocks of 128 are 1"),
        ("cpu-int4-b256-k_quant", "odd number of blocks"),
        ("cpu-int4-b32-k_quant-asym", "k_quant stores zero points whatever is asked"),
        ("cpu-int4-b32-k_quant_mixed-head8", "has mixed and head8 already"),
        ("cpu-int4-b32-k_quant-mixed-head8", "is spelt k_quant_mixed"),
        ("cpu-int4-b32-rtn-emb4", "in int4 with the default algorithm only"),
        ("cpu-int4-b32-headfloat-emb4", "in int4 anyway"),
        ("cpu-int4-b32-rtn-headfloat-embfloat", "in float anyway"),
        ("cpu-int8-b32-head8", "every product of int8 has eight bits"),
        ("cpu-int8-b32-embfloat", "in float anyway"),
        ("cpu-fp32-asym", "fp32 rounds no product"),
        ("cpu-fp32-headless", "no output 'logits'"),
    ],
)
def test_what_does_not_work_or_changes_nothing_is_refused_with_the_reason(
    name: str, reason: str
) -> None:
    refusal = check_recipe(read_recipe(name), TIED)
    assert refusal is not None
    assert reason in refusal.reason


def test_what_fails_for_tied_weights_alone_is_built_for_others() -> None:
    untied = MODELS[1]
    for name in ("cpu-int4-b32-asym", "cpu-int4-b32-head8", "cpu-int4-b32-emb4"):
        assert check_recipe(read_recipe(name), untied) is None
    assert check_recipe(read_recipe("cpu-int4-b32-embfloat"), untied) is not None


@pytest.mark.parametrize(
    ("name", "tied", "head", "embedding", "zeros"),
    [
        ("cpu-fp32", True, "float", "shared", False),
        ("cpu-fp32", False, "float", "float", False),
        ("cpu-int8-b32", True, "int8", "float", False),
        ("cpu-int8-b32-headfloat", True, "float", "shared", False),
        ("cpu-int4-b32", True, "int4", "shared", False),
        ("cpu-int4-b32", False, "int4", "float", False),
        ("cpu-int4-b32-k_quant_mixed", True, "int8", "shared", True),
        ("cpu-int4-b32-headfloat", True, "float", "int4", False),
        ("cpu-int4-b32-rtn-headfloat", True, "float", "float", False),
        ("cpu-int4-b32-asym-head8-emb4", True, "int8", "int4", True),
    ],
)
def test_the_builder_makes_of_a_recipe(
    name: str, *, tied: bool, head: str, embedding: str, zeros: bool
) -> None:
    recipe: Recipe = read_recipe(name)
    assert (head_of(recipe), embedding_of(recipe, tied=tied)) == (head, embedding)
    assert has_zero_points(recipe) is zeros
