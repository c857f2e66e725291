from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autotune.constraint import parse_constraint
from autotune.measurement import Measurement
from autotune.search import CensusState, SearchSettings, SearchSpace, StagedPlanner
from autotune.steps import MeasureStep, OutcomeStatus, ScoreStep, TrainStep

from .world import (
    FACTS,
    FP32,
    INT4_B16,
    INT4_B32,
    INT4_B128,
    INT4_MIXED,
    INT8,
    RECIPES,
    Run,
    World,
    simulate,
)


def _run(*constraints: str, world: World | None = None, budget_s: float = 720.0) -> Run:
    settings = SearchSettings(
        recipes=RECIPES,
        constraints=tuple(map(parse_constraint, constraints)),
        budget_s=budget_s,
    )
    return simulate(world or World(), StagedPlanner(settings))


def _measured(run: Run, purpose: str) -> list[MeasureStep]:
    return [s for s in run.steps if isinstance(s, MeasureStep) and s.purpose == purpose]


def test_a_request_far_out_of_reach_ends_after_one_block_with_nothing_trained() -> None:
    run = _run("latency<=1ms")
    assert run.done.chosen is None
    assert "more than 10 times the bound" in run.done.reason
    assert run.done.nearest_miss is not None
    assert run.done.nearest_miss.recipe == INT4_B128
    assert [step.kind for step in run.steps] == ["score", "score", "score", "measure"]
    assert run.elapsed_s < 90


def test_without_a_bound_on_time_there_is_no_first_look() -> None:
    assert [step.rounds for step in _measured(_run("size<=300MB"), "census")] == [2]
    assert [step.rounds for step in _measured(_run("latency<=100ms"), "census")] == [1, 2]


def test_no_training_is_spent_on_a_request_that_no_recipe_meets() -> None:
    run = _run("latency<=30ms")
    assert not run.of(TrainStep)
    assert run.done.chosen is None
    assert run.done.nearest_miss is not None
    assert run.done.nearest_miss.recipe == INT4_B128
    assert all(e.state is CensusState.INFEASIBLE for e in run.planner.census().values())


def test_trained_candidates_are_built_with_feasible_recipes_only() -> None:
    run = _run("latency<=47ms", "size<=200MB")
    built = {
        step.candidate.recipe
        for step in run.steps
        if isinstance(step, ScoreStep) and step.candidate.adapter
    }
    assert built == {INT4_B128}
    assert run.done.chosen is not None
    assert run.done.chosen.recipe == INT4_B128


def test_a_recipe_too_large_on_disk_is_not_even_timed() -> None:
    timed = {c.recipe for step in _measured(_run("size<=300MB"), "census") for c in step.candidates}
    assert FP32 not in timed
    assert INT8 in timed


def test_a_borderline_recipe_is_measured_again_once_and_longer() -> None:
    rechecks = _measured(_run("latency<=50ms"), "recheck")
    assert [[c.recipe for c in step.candidates] for step in rechecks] == [[INT4_B32]]
    assert rechecks[0].rounds == 4


def test_an_uncertain_recipe_is_dropped_where_a_certain_one_has_a_better_base_loss() -> None:
    run = _run("latency<=50ms")
    assert run.planner.census()[INT4_B32.name].state is CensusState.UNCERTAIN
    assert run.done.chosen is not None
    assert run.done.chosen.recipe == INT8


def test_an_uncertain_recipe_with_the_best_base_loss_is_carried_to_the_confirmation() -> None:
    run = _run("latency<=81ms")
    assert run.planner.census()[FP32.name].state is CensusState.BORDERLINE
    assert run.done.chosen is not None
    assert run.done.chosen.recipe != FP32  # uncertain is not feasible


def test_recipes_with_more_loss_that_are_not_faster_are_not_carried_on() -> None:
    states = {name: entry.state for name, entry in _run().planner.census().items()}
    assert states == {
        INT4_B128.name: CensusState.KEPT,
        INT8.name: CensusState.KEPT,
        INT4_B32.name: CensusState.DOMINATED,
        INT4_MIXED.name: CensusState.DOMINATED,
        INT4_B16.name: CensusState.DOMINATED,
        FP32.name: CensusState.KEPT,
    }


def test_base_loss_says_nothing_across_recipes_of_different_depth() -> None:
    pruned = replace(INT8, layers=20)
    facts = dict(FACTS) | {pruned: replace(FACTS[INT8], base_nll=9.0)}
    settings = SearchSettings(
        recipes=(*RECIPES, pruned),
        budget_s=900.0,
        space=SearchSpace(layers=(None, 20)),
        model_layers=30,
        asks_depth=True,
    )
    run = simulate(World(facts=facts), StagedPlanner(settings))
    assert run.planner.census()[pruned.name].state is CensusState.KEPT


# Two providers

GPU = tuple(replace(recipe, provider="cuda") for recipe in (INT4_B128, INT8, INT4_B32))


def _on_two_providers(bound: str, *, factor: float, **world: Any) -> Run:
    """Run with recipes for cpu and cuda, on which everything takes ``factor`` times as long."""
    facts = dict(FACTS)
    for recipe in GPU:
        alike = FACTS[replace(recipe, provider="cpu")]
        facts[recipe] = replace(alike, latency_s=factor * alike.latency_s)
    settings = SearchSettings(
        recipes=(*RECIPES, *GPU), constraints=(parse_constraint(bound),), budget_s=720.0
    )
    return simulate(World(facts=facts, **world), StagedPlanner(settings))


def _tried(run: Run, provider: str) -> list[str]:
    """Return the kinds of steps with models for ``provider``."""
    return [
        step.kind
        for step in run.steps
        for candidate in (
            step.candidates
            if isinstance(step, MeasureStep)
            else (step.candidate,)
            if isinstance(step, ScoreStep)
            else ()
        )
        if candidate.recipe.provider == provider
    ]


def test_a_provider_far_out_of_reach_costs_one_block_and_no_score() -> None:
    run = _on_two_providers("latency<=100ms", factor=100)
    assert _tried(run, "cuda") == ["measure"]
    census = run.planner.census()
    assert {census[recipe.name].state for recipe in GPU} == {CensusState.INFEASIBLE}
    assert "first 1 recipes for cuda has latency.p50" in census[GPU[2].name].reason
    assert run.done.chosen is not None
    assert run.done.chosen.recipe.provider == "cpu"
    looked = next(s for s in _measured(run, "census") if s.candidates[0].recipe in GPU)
    assert run.steps.index(looked) < run.steps.index(run.of(TrainStep)[0])


def test_a_slow_first_look_does_not_count_for_the_cost_of_later_blocks() -> None:
    one, two = _run("latency<=100ms"), _on_two_providers("latency<=100ms", factor=100, block_s=3.0)
    assert len(two.of(TrainStep)) == len(one.of(TrainStep))


def test_the_request_is_hopeless_only_where_every_provider_is() -> None:
    run = _on_two_providers("latency<=2ms", factor=0.01)
    assert run.done.chosen is not None
    assert run.done.chosen.recipe.provider == "cuda"
    assert _tried(run, "cpu")[:4] == ["score", "score", "score", "measure"]
    run = _on_two_providers("latency<=2ms", factor=1)
    assert run.done.chosen is None
    assert not run.of(TrainStep)
    assert "for cpu has" in run.done.reason
    assert "for cuda has" in run.done.reason


def test_a_provider_whose_first_recipe_fails_is_looked_at_with_the_next() -> None:
    failures = {f"measure:{GPU[0].name}": OutcomeStatus.CRASHED}
    run = _on_two_providers("latency<=100ms", factor=100, failures=failures)
    assert _tried(run, "cuda") == ["measure", "measure"]
    census = run.planner.census()
    assert census[GPU[0].name].state is CensusState.FAILED
    assert census[GPU[1].name].state is CensusState.INFEASIBLE


def test_a_provider_within_reach_takes_part_like_the_first() -> None:
    run = _on_two_providers("latency<=100ms", factor=1.5)
    assert set(_tried(run, "cuda")) == {"measure", "score"}
    assert run.planner.census()[GPU[0].name].state is not CensusState.INFEASIBLE


@pytest.mark.parametrize(
    "status",
    [
        OutcomeStatus.UNSUPPORTED,
        OutcomeStatus.CRASHED,
        OutcomeStatus.OUT_OF_MEMORY,
        OutcomeStatus.TIMED_OUT,
        OutcomeStatus.INFEASIBLE,
    ],
)
def test_a_build_that_fails_drops_its_recipe_and_keeps_its_reason(status: OutcomeStatus) -> None:
    run = _run("latency<=100ms", world=World(failures={INT8.name: status}))
    entry = run.planner.census()[INT8.name]
    assert entry.state is CensusState.FAILED
    assert entry.reason == f"{status}: told to"
    assert run.done.chosen is not None
    assert run.done.chosen.recipe != INT8


def test_when_nothing_builds_the_search_ends_without_a_nearest_miss() -> None:
    failures = {recipe.name: OutcomeStatus.UNSUPPORTED for recipe in RECIPES}
    run = _run("latency<=100ms", world=World(failures=failures))
    assert run.done.chosen is None
    assert run.done.nearest_miss is None
    assert "unsupported" in run.done.reason
    assert not run.of(TrainStep)


def test_after_a_timing_fails_as_a_whole_the_culprit_is_found_alone() -> None:
    failures = {f"measure:{INT4_B16.name}": OutcomeStatus.TIMED_OUT}
    run = _run(world=World(failures=failures))
    steps = _measured(run, "census")
    assert [len(step.candidates) for step in steps] == [6, 1, 1, 1, 1, 1, 1]
    states = run.planner.census()
    assert states[INT4_B16.name].state is CensusState.FAILED
    assert states[INT8.name].state is CensusState.KEPT
    assert run.done.chosen is not None


def test_a_census_that_would_eat_the_budget_stops_at_its_share() -> None:
    run = _run(world=World(training_s=30.0), budget_s=300.0)
    states = [entry.state for entry in run.planner.census().values()]
    assert CensusState.NOT_TRIED in states
    assert run.of(TrainStep)
    assert run.elapsed_s <= 330


def test_a_bound_on_something_that_no_timing_brought_is_uncertain_and_never_feasible() -> None:
    run = _run("ttft<=50ms")
    assert run.done.chosen is None


def test_the_normalised_verdict_uses_the_interval_not_the_estimate() -> None:
    bound = parse_constraint("latency<=50ms")
    spanning = Measurement(metric="latency.p95", unit="s", value=0.0499, n=64, ci95=(0.048, 0.0502))
    assert str(bound.verdict(spanning)) == "uncertain"


def test_a_bound_on_size_alone_that_nothing_meets_names_the_smallest() -> None:
    run = _run("size<=1MB")
    assert run.done.chosen is None
    assert run.done.nearest_miss is not None
    assert run.done.nearest_miss.recipe == INT4_B128
    assert not any(isinstance(step, MeasureStep) for step in run.steps)


@pytest.mark.parametrize(("bound", "state"), [("74ms", "kept"), ("200ms", "dominated")])
def test_where_the_best_recipe_is_close_to_the_bound_a_faster_one_is_carried_on_too(
    bound: str, state: str
) -> None:
    """fp32 damages nothing and int4 is not measurably faster, but has more room."""
    facts = {
        FP32: replace(FACTS[FP32], latency_s=0.070),
        INT4_B32: replace(FACTS[INT4_B32], latency_s=0.068),
    }
    settings = SearchSettings(
        recipes=tuple(facts),
        constraints=(parse_constraint(f"latency<={bound}"),),
        budget_s=720.0,
        max_trials=4,
    )
    planner = StagedPlanner(settings)
    run = simulate(World(facts=facts), planner)
    entry = planner.census()[INT4_B32.name]
    assert entry.state == state
    scored = [step.candidate for step in run.of(ScoreStep) if isinstance(step, ScoreStep)]
    trained_for = {candidate.recipe for candidate in scored if candidate.adapter}
    assert (INT4_B32 in trained_for) == (state == "kept")
