"""Depth and a quantiser in the loop: tried where they are needed, cheaply, and not elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autotune.candidate import AdapterConfig, Recipe
from autotune.constraint import parse_constraint
from autotune.errors import UsageError
from autotune.search import (
    CensusState,
    PlannerState,
    SearchSettings,
    SearchSpace,
    StagedPlanner,
)
from autotune.steps import MeasureStep, ScoreStep, TestStep, TrainStep

from .world import FP32, INT4_B32, INT4_B128, INT8, Run, World, simulate

DEPTHS = (25, 20, 15)
WHOLE = (INT4_B128, INT8, INT4_B32, FP32)


def _cuts(recipes: tuple[Recipe, ...], depths: tuple[int, ...] = DEPTHS) -> tuple[Recipe, ...]:
    return tuple(replace(recipe, layers=depth) for depth in depths for recipe in recipes)


def _settings(*bounds: str, recipes: tuple[Recipe, ...] = WHOLE, **changed: Any) -> SearchSettings:
    """Return settings with both levers, for a model of 30 layers."""
    quantisers = dict.fromkeys(recipe.quantiser for recipe in recipes)
    given: dict[str, Any] = {
        "recipes": (*recipes, *_cuts(recipes)),
        "constraints": tuple(map(parse_constraint, bounds)),
        "budget_s": 2000.0,
        "model_layers": 30,
        "space": SearchSpace(
            methods=("lora", "qat-lora"),
            quantisers=tuple(filter(None, quantisers)),
            layers=(None, *DEPTHS),
        ),
    }
    return SearchSettings(**given | changed)


def _run(*bounds: str, world: World | None = None, **changed: Any) -> Run:
    return simulate(world or World(), StagedPlanner(_settings(*bounds, **changed)))


def _trained(run: Run) -> list[AdapterConfig]:
    steps = [step for step in run.steps if isinstance(step, TrainStep)]
    return list(dict.fromkeys(step.adapter for step in steps))


def _built(run: Run) -> set[Recipe]:
    return {step.candidate.recipe for step in run.steps if isinstance(step, ScoreStep)}


# Depth


def test_no_depth_is_tried_where_the_whole_model_has_room_to_spare() -> None:
    run = _run("latency<=100ms")
    assert {recipe.layers for recipe in _built(run)} == {None}
    assert {adapter.layers for adapter in _trained(run)} == {None}
    entry = run.planner.census()[replace(INT8, layers=20).name]
    assert entry.state is CensusState.NOT_TRIED
    assert entry.reason.startswith("the whole model meets every bound with room to spare")


def test_no_depth_is_tried_without_a_bound_that_it_helps_with() -> None:
    run = _run("accuracy>=0.5")
    assert {recipe.layers for recipe in _built(run)} == {None}
    reason = run.planner.census()[replace(INT8, layers=20).name].reason
    assert "no bound on time, memory or size" in reason


def test_a_cut_model_is_found_where_no_whole_one_meets_bound_and_accuracy() -> None:
    # Whole models take 42 ms at best; at 20 of 30 layers int8 takes 34 ms.
    run = _run("latency<=38ms", "accuracy>=0.95")
    chosen = run.done.chosen
    assert chosen is not None
    assert chosen.recipe == replace(INT8, layers=20)
    assert chosen.adapter is not None
    assert chosen.adapter.layers == 20


def test_finding_it_costs_few_builds_and_no_training_of_the_whole_model() -> None:
    run = _run("latency<=38ms", "accuracy>=0.95")
    assert all(adapter.layers is not None for adapter in _trained(run))
    cuts = {recipe for recipe in _built(run) if recipe.layers is not None}
    # Depths that must miss the bound are left out unbuilt: 25 layers for int8 and fp32.
    assert replace(INT8, layers=25) not in cuts
    assert replace(FP32, layers=25) not in cuts
    # One depth down from where a recipe meets the bound nothing is built, but for the one
    # that damages least: int8 has no room to spare at 20 layers.
    assert replace(INT4_B128, layers=20) not in cuts
    assert replace(INT8, layers=15) in cuts
    assert len(cuts) <= 5
    first = next(n for n, step in enumerate(run.steps) if isinstance(step, TrainStep))
    assert run.events[first][2] < 0.25 * 2000


def test_a_bound_that_a_cut_meets_by_a_hair_has_the_next_depth_trained_as_well() -> None:
    # At 20 of 30 layers int8 takes 34 ms: confirmed or not by the noise of the hour.
    run = _run("latency<=35.5ms", recipes=(INT8, FP32), world=World(noise=0.001))
    census = run.planner.census()
    assert census[replace(INT8, layers=20).name].state is CensusState.KEPT
    full = [name for name, fraction in run.fractions().items() if fraction == 1]
    assert {a.layers for a in _trained(run) if a.name in full} == {20, 15}
    roomy = _run("latency<=42ms", recipes=(INT8, FP32), world=World(noise=0.001))
    assert replace(INT8, layers=15) not in _built(roomy)


def test_the_depths_that_a_user_asks_for_are_trained_once_each_whatever_the_bounds() -> None:
    run = _run("latency<=100ms", asks_depth=True)
    full = [name for name, fraction in run.fractions().items() if fraction == 1]
    depths = {a.layers for a in _trained(run) if a.name in full}
    assert depths == {None, *DEPTHS}
    assert {candidate.recipe.layers for candidate in run.done.front} > {None}


def test_a_whole_model_close_to_its_bound_gets_a_cut_one_beside_it() -> None:
    run = _run("latency<=46ms", recipes=(INT8, FP32), world=World(noise=0.001))
    assert run.planner.census()[INT8.name].state is CensusState.INFEASIBLE
    narrow = _run("latency<=52ms", recipes=(INT8, FP32), world=World(noise=0.001))
    assert narrow.planner.census()[INT8.name].state is CensusState.KEPT
    full = [name for name, fraction in narrow.fractions().items() if fraction == 1]
    depths = {a.layers for a in _trained(narrow) if a.name in full}
    assert depths >= {None, 25}


def test_the_baseline_of_a_cut_model_is_the_whole_one() -> None:
    run = _run("latency<=38ms", recipes=(INT8, FP32))
    (test,) = [step for step in run.steps if isinstance(step, TestStep)]
    assert test.baseline.recipe == INT8
    (confirmed,) = [s for s in run.steps if isinstance(s, MeasureStep) and s.purpose == "confirm"]
    assert confirmed.candidates[0].recipe.layers is not None
    assert confirmed.candidates[-1] == test.baseline


# A quantiser in the loop

INT4_ONLY = (INT4_B128, INT4_B32)


def test_a_quantiser_in_the_loop_is_tried_where_rounding_costs_what_is_needed() -> None:
    bounds = ("latency<=60ms", "size<=100MB", "accuracy>=0.965")
    run = _run(*bounds, recipes=(INT4_B128, INT4_B32, INT8))
    chosen = run.done.chosen
    assert chosen is not None
    assert chosen.adapter is not None
    assert chosen.adapter.method == "qat-lora"
    assert chosen.adapter.quantiser == chosen.recipe.quantiser
    without = _run(
        *bounds,
        recipes=(INT4_B128, INT4_B32, INT8),
        space=SearchSpace(layers=(None, *DEPTHS)),
    )
    assert without.done.chosen is None


def test_no_quantiser_is_trained_with_where_the_best_build_loses_nothing() -> None:
    run = _run("latency<=100ms", recipes=(INT8, FP32))
    assert {adapter.method for adapter in _trained(run)} == {"lora"}


def test_a_method_that_a_user_asks_for_is_trained_once_whatever_rounding_costs() -> None:
    run = _run("latency<=100ms", recipes=(INT8, FP32), asks_quantiser=True)
    full = {name for name, fraction in run.fractions().items() if fraction == 1}
    assert any(a.quantiser == "int8-b32" for a in _trained(run) if a.name in full)


def test_a_quantiser_that_a_user_asks_for_is_not_dropped_for_its_damage() -> None:
    space = SearchSpace(methods=("lora", "qat-lora"), quantisers=("int4-b32",))
    given: dict[str, Any] = {"recipes": (INT4_B32, INT8), "space": space}
    assert _run("latency<=100ms", **given).planner.census()[INT4_B32.name].state is (
        CensusState.DOMINATED
    )
    asked = _run("latency<=100ms", asks_quantiser=True, **given)
    entry = asked.planner.census()[INT4_B32.name]
    assert (entry.state, entry.reason) == (
        *(CensusState.KEPT, "int4-b32 in the training loop was asked for"),
    )
    assert any(adapter.quantiser for adapter in _trained(asked))


def test_the_first_config_of_a_lever_is_the_best_so_far() -> None:
    run = _run("latency<=60ms", "size<=100MB", recipes=(INT4_B128, INT4_B32, INT8))
    trained = _trained(run)
    aware = next(adapter for adapter in trained if adapter.quantiser)
    before = trained[: trained.index(aware)]
    assert replace(aware, method="lora", quantiser=None) in before


def test_only_qat_lora_can_be_asked_for() -> None:
    space = SearchSpace(methods=("qat-lora",), quantisers=("int4-b32", "int4-b128"))
    run = _run("latency<=100ms", recipes=INT4_ONLY, space=space)
    assert run.done.chosen is not None
    assert {adapter.method for adapter in _trained(run)} == {"qat-lora"}


def test_what_a_quantiser_in_the_loop_is_no_use_for_is_built_once() -> None:
    run = _run("latency<=60ms", "size<=100MB", recipes=(INT4_B128, INT4_B32, INT8))
    scored = [step.candidate for step in run.steps if isinstance(step, ScoreStep)]
    aware = [one for one in scored if one.adapter and one.adapter.quantiser == "int4-b32"]
    assert sum(one.recipe == INT4_B32 for one in aware) > 1
    assert sum(one.recipe == INT4_B128 for one in aware) == 1


# Both, and the laws of a planner

CASES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "both": (("latency<=33ms", "size<=80MB", "accuracy>=0.9"), {"recipes": INT4_ONLY}),
    "depth": (("latency<=38ms", "accuracy>=0.95"), {}),
    "asked": (("latency<=100ms",), {"asks_depth": True, "asks_quantiser": True}),
}


@pytest.fixture(scope="module", params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> tuple[SearchSettings, Run]:
    bounds, changed = CASES[request.param]
    settings = _settings(*bounds, **changed)
    return settings, simulate(World(), StagedPlanner(settings))


def test_a_record_fed_to_a_new_planner_gives_the_same_steps(
    case: tuple[SearchSettings, Run],
) -> None:
    settings, run = case
    planner = StagedPlanner(settings)
    for step, outcome, before, _ in run.events:
        assert planner.next(PlannerState(elapsed_s=before)) == step
        planner.observe(step, outcome)
    assert planner.next(PlannerState(elapsed_s=run.elapsed_s)) == run.done


def test_a_planner_resumed_anywhere_goes_on_the_same_way(
    case: tuple[SearchSettings, Run],
) -> None:
    settings, run = case
    for prefix in range(1, len(run.events), 3):
        planner = StagedPlanner(settings)
        for step, outcome, *_ in run.events[:prefix]:
            planner.observe(step, outcome)
        assert planner.next(PlannerState(elapsed_s=run.events[prefix][2])) == run.steps[prefix]


def test_a_budget_is_kept_with_both_levers(case: tuple[SearchSettings, Run]) -> None:
    settings, run = case
    assert settings.budget_s is not None
    assert run.elapsed_s <= 1.1 * settings.budget_s


def test_a_cut_model_with_its_quantiser_in_the_loop_is_found_where_it_takes_both() -> None:
    bounds, changed = CASES["both"]
    chosen = _run(*bounds, **changed).done.chosen
    assert chosen is not None
    assert chosen.recipe.layers is not None


def test_the_end_says_what_each_lever_bought() -> None:
    run = _run("latency<=38ms", "accuracy>=0.95", asks_quantiser=True)
    depth, quantiser = run.done.levers
    assert (depth.lever, quantiser.lever) == ("depth", "quantiser")
    assert depth.best_with is not None
    assert depth.best_with.recipe.layers is not None
    assert depth.best_without is None
    assert depth.reason == ""
    assert quantiser.best_with is not None
    assert quantiser.best_with.adapter is not None
    assert quantiser.best_with.adapter.quantiser == "int4-b128"
    assert quantiser.best_without is not None
    assert quantiser.best_without.recipe == replace(INT8, layers=20)


def test_the_end_says_why_a_lever_was_left_alone() -> None:
    depth, quantiser = _run("latency<=100ms", recipes=(INT8, FP32)).done.levers
    assert depth.best_with is quantiser.best_with is None
    assert depth.best_without is not None
    assert depth.best_without == quantiser.best_without
    assert depth.reason.startswith("the whole model meets every bound with room to spare")
    assert "no build lost enough by rounding" in quantiser.reason
    plain = simulate(World(), StagedPlanner(SearchSettings(recipes=WHOLE, budget_s=600.0)))
    assert plain.done.levers == ()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model_layers": None}, "got 25 of None; set model_layers"),
        ({"model_layers": 25}, "fewer layers than the model has, got 25 of 25"),
        ({"space": SearchSpace(layers=(12,))}, "let them share one"),
        (
            {"space": SearchSpace(methods=("qat-lora",), quantisers=("int3-b32",))},
            "got .'int3-b32'.; choose from int4-b128, int4-b32, int8-b32",
        ),
    ],
)
def test_levers_that_fit_no_recipe_are_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        _settings(**changed)
