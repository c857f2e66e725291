"""The grid of a sweep: read from flags, laid out as rows, and what is still open of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.candidate import AdapterConfig, Algorithm, Precision, Recipe
from autotune.errors import UsageError
from autotune.list_flags import read_space
from autotune.search import SearchSpace
from autotune.sweep_plan import Key, Place, Row, SweepPlan

FP32 = Recipe(provider="cpu", precision=Precision.FP32)
INT4 = Recipe(
    provider="cpu",
    precision=Precision.INT4,
    block_size=32,
    algorithm=Algorithm.DEFAULT,
    accuracy_level=4,
)
FLAGS = {
    "methods": "lora,qlora",
    "learning_rates": "3e-4, 1e-3",
    "ranks": "8,16",
    "merge_bases": "dequantized",
}


def space(**changes: str) -> SearchSpace:
    return read_space(**{**FLAGS, **changes}, epochs=2.0, seed=0)


PLAN = SweepPlan(instance="tiny tones", space=space(), recipes=(INT4, FP32))


def test_the_grid_is_every_combination_and_the_rest_is_fixed() -> None:
    found = {(a.method, a.learning_rate, a.rank) for a in space().grid()}
    assert found == {(m, r, k) for m in ("lora", "qlora") for r in (3e-4, 1e-3) for k in (8, 16)}
    assert {(a.epochs, a.alpha_ratio, a.merge_base) for a in space().grid()} == {
        (2.0, 2.0, "full"),
        (2.0, 2.0, "dequantized"),
    }


def test_a_single_learning_rate_is_no_range() -> None:
    assert [a.learning_rate for a in space(learning_rates="1e-3", ranks="8").grid()] == [1e-3] * 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rates": ""}, "--learning-rates is a list of values .* got ''"),
        ({"learning_rates": "1e-3,,2e-3"}, "--learning-rates is a list .* two commas"),
        ({"learning_rates": "0"}, "--learning-rates are finite .* greater than zero, got '0'"),
        ({"learning_rates": "-1e-3"}, "greater than zero, got '-1e-3'"),
        ({"learning_rates": "inf"}, "finite"),
        ({"learning_rates": "nan"}, "finite"),
        ({"learning_rates": "fast"}, "numbers greater than zero, got 'fast'"),
        ({"learning_rates": "1e-3,0.001"}, "--learning-rates has a value twice"),
        ({"ranks": "8,1.5"}, "--ranks are whole numbers of at least 1, got '8,1.5'"),
        ({"ranks": "0"}, "--ranks are whole numbers of at least 1"),
        ({"ranks": "8,8"}, "--ranks has a value twice"),
        ({"methods": "Lora"}, "--methods has no 'Lora' .* did you mean 'lora'"),
        ({"methods": "dora"}, r"--methods has no 'dora' \(known: lora, qlora, qat-lora\)"),
        ({"merge_bases": "nf4"}, "--merge-bases has no 'nf4'"),
        ({"methods": "qat-lora"}, "'qat-lora' needs quantisers"),
        ({"quantisers": "int4-b32"}, "no other method has any"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(changes: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        space(**changes)


@pytest.mark.parametrize("epochs", [0.0, -1.0, float("nan"), float("inf")])
def test_a_training_has_a_length(epochs: float) -> None:
    with pytest.raises(UsageError, match="--epochs must be finite and greater than zero"):
        read_space(**FLAGS, epochs=epochs, seed=0)


def row(plan: SweepPlan, place: Place, status: str = "measured") -> dict[Key, Row]:
    cells = {name: "" if c is None else str(c) for name, c in plan.cells(place).items()}
    found = {**cells, "status": status, "cost_train_s": "1.0", "cost_build_s": "2.0"}
    return {plan.key_of(found): found}


def filled(plan: SweepPlan, *, statuses: dict[Place, str] | None = None) -> list[Place]:
    """Fill the table place by place as a sweep does, and return the order."""
    rows: dict[Key, Row] = {}
    order = []
    while places := plan.open_places(rows):
        order.append(places[0])
        rows |= row(plan, places[0], (statuses or {}).get(places[0], "measured"))
        assert len(rows) == len(order)
    return order


def test_every_place_is_filled_once_untrained_first_then_rung_by_rung() -> None:
    order = filled(PLAN)
    assert len(order) == len(set(order)) == PLAN.size == 2 + 8 * (3 + 2)
    assert [place.recipe for place in order[:2]] == [INT4, FP32]
    first = order[2:7]
    assert {place.adapter for place in first} == {PLAN.adapters[0]}
    assert [(place.rung, place.recipe) for place in first] == [
        *((1 / 9, None), (1 / 3, None), (1.0, None), (1.0, INT4), (1.0, FP32))
    ]


def test_a_training_that_failed_is_left_alone_at_its_rung_and_the_others_go_on() -> None:
    lost = Place(adapter=PLAN.adapters[0], rung=1 / 3, recipe=None)
    order = filled(PLAN, statuses={lost: "diverged"})
    assert [p.rung for p in order if p.adapter == lost.adapter] == [1 / 9, 1 / 3]
    assert len(order) == PLAN.size - 3


def test_a_graph_that_failed_costs_its_own_row_only() -> None:
    place = Place(adapter=PLAN.adapters[0], rung=1.0, recipe=INT4)
    assert len(filled(PLAN, statuses={place: "crashed"})) == PLAN.size


def test_a_recipe_that_cannot_be_built_untrained_is_not_tried_with_trained_models() -> None:
    place = Place(adapter=None, rung=0.0, recipe=INT4)
    order = filled(PLAN, statuses={place: "unsupported"})
    assert [p for p in order if p.recipe == INT4] == [place]
    assert len(order) == PLAN.size - 8


@given(st.integers(0, PLAN.size))
def test_an_interrupted_table_is_gone_on_with_where_it_stopped(n_rows: int) -> None:
    order = filled(PLAN)
    rows: dict[Key, Row] = {}
    for place in order[:n_rows]:
        rows |= row(PLAN, place)
    assert PLAN.open_places(rows) == order[n_rows:]


def test_the_table_shows_further_settings_only_where_they_vary() -> None:
    assert PLAN.settings == ("method", "learning_rate", "rank")
    both = replace(PLAN, space=space(merge_bases="dequantized,full"))
    assert both.settings == (*PLAN.settings, "merge_base")
    assert len(both.adapters) == 4 + 2 * 4
    keys = {both.key(p) for adapter in (None, *both.adapters) for p in both.places(adapter)}
    assert len(keys) == both.size


def test_a_row_says_where_it_belongs() -> None:
    adapter = AdapterConfig(method="qlora", merge_base="dequantized", rank=16, learning_rate=3e-4)
    assert PLAN.cells(Place(adapter=adapter, rung=1.0, recipe=FP32)) == {
        "instance": "tiny tones",
        "x_method": "qlora",
        "x_learning_rate": 3e-4,
        "x_rank": 16,
        "recipe": "cpu-fp32",
        "rung": 1.0,
    }
    untrained = PLAN.cells(Place(adapter=None, rung=0.0, recipe=FP32))
    assert [untrained[f"x_{name}"] for name in PLAN.settings] == ["none", None, None]


def test_places_without_a_recipe_are_no_models() -> None:
    with pytest.raises(ValueError, match="nothing is built"):
        _ = Place(adapter=None, rung=0.0, recipe=None).candidate
