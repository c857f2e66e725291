"""Names and patterns of recipes: what is taken, what is refused and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotune.candidate import read_recipe
from autotune.errors import UsageError
from autotune.list_flags import read_names
from autotune.recipe_choice import RecipeOffer, choose_recipes
from autotune.targets import Architecture, Refusal

INT4, FP32, FP16 = (read_recipe(f"cpu-{name}") for name in ("int4-b32", "fp32", "fp16"))
OFFER = RecipeOffer(
    recipes=(INT4, FP32),
    refused=(Refusal(recipe=FP16, reason="it fails", source="tried"),),
    architecture=Architecture(
        name="LlamaForCausalLM",
        layers=30,
        hidden_size=576,
        vocab_size=49152,
        tied_embeddings=True,
        context_length=8192,
        parameters=134_515_008,
        input_widths=(576, 1536),
    ),
)


def test_recipes_are_chosen_by_name_in_the_order_named() -> None:
    assert choose_recipes(OFFER, ("cpu-fp32", "cpu-int4-b32")) == (FP32, INT4)
    assert choose_recipes(OFFER, ("cpu-*", "cpu-fp32")) == (INT4, FP32)
    assert choose_recipes(OFFER, ()) == (INT4, FP32)
    assert read_names("--recipes", " cpu-fp32 ,x") == ("cpu-fp32", "x")


def test_what_is_not_proposed_can_be_asked_for_by_name() -> None:
    name = "cpu-int4-b32-rtn-mixed-head8"
    assert choose_recipes(OFFER, (name, "cpu-fp32")) == (read_recipe(name), FP32)


def test_of_what_another_machine_measured_nothing_else_can_be_asked_for() -> None:
    closed = replace(OFFER, is_closed=True)
    assert choose_recipes(closed, ("cpu-int4-*",)) == (INT4,)
    with pytest.raises(UsageError, match="No recipe here has a name like 'cpu-int4-b128'"):
        choose_recipes(closed, ("cpu-int4-b128",))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cpu-int4-b23", "'cpu-int4-b23' is not built: block_size .* did you mean 'cpu-int4-b32'"),
        ("cpu-int4-32", "no recipe 'cpu-int4-32' .* did you mean 'cpu-int4-b32'"),
        ("zz", r"no recipe 'zz' here \(known: cpu-int4-b32, cpu-fp32\)"),
        ("cpu-fp16", "'cpu-fp16' is not built: it fails; leave it out"),
        ("cpu-int4-b64-k_quant", "is not built: k_quant packs two zero points .* are 9"),
        ("cuda-int4-b32", "is for 'cuda', here are targets for cpu; name one of these"),
        ("cpu-int8-*", "No recipe here has a name like 'cpu-int8-"),
        ("cpu-int4-b32-head8-asym", "is spelt 'cpu-int4-b32-asym-head8'"),
    ],
)
def test_an_unknown_recipe_is_refused_with_near_ones_and_a_refused_one_with_its_reason(
    name: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        choose_recipes(OFFER, ("cpu-fp32", name))
