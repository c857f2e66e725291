from __future__ import annotations

import time

import pytest

from autotune.candidate import AdapterConfig
from autotune.constraint import parse_constraint
from autotune.errors import UsageError
from autotune.search import (
    PlannerState,
    SamplerName,
    SearchSettings,
    SearchSpace,
    StagedPlanner,
    default_portfolio,
    default_rungs,
    minimum_budget_s,
)
from autotune.steps import MeasureStep, OutcomeStatus, ScoreStep, TestStep, TrainStep

from .world import INT4_B128, INT8, RECIPES, Run, World, simulate

FAST = (INT4_B128, INT8)


def _settings(**changes: object) -> SearchSettings:
    defaults: dict[str, object] = {"recipes": RECIPES, "budget_s": 720.0}
    return SearchSettings(**(defaults | changes))  # type: ignore[arg-type]  # a table of cases


def _run(world: World | None = None, **changes: object) -> Run:
    return simulate(world or World(), StagedPlanner(_settings(**changes)))


def _started(run: Run) -> list[AdapterConfig]:
    return list(dict.fromkeys(s.adapter for s in run.steps if isinstance(s, TrainStep)))


@pytest.mark.parametrize("bound", ["latency<=100ms", "latency<=50ms", "size<=150MB"])
def test_twelve_minutes_start_three_configs_and_finish_two(bound: str) -> None:
    run = _run(constraints=(parse_constraint(bound),))
    assert len(run.fractions()) >= 3
    assert sum(fraction == 1 for fraction in run.fractions().values()) >= 2
    assert run.elapsed_s <= 720
    assert run.done.chosen is not None


@pytest.mark.parametrize("budget_s", [330.0, 450.0, 600.0, 720.0, 1200.0, 3600.0])
@pytest.mark.parametrize("training_s", [30.0, 90.0, 150.0])
def test_the_budget_is_kept_with_confirmation_and_test_inside(
    budget_s: float, training_s: float
) -> None:
    run = _run(World(training_s=training_s), budget_s=budget_s)
    assert run.elapsed_s <= 1.1 * budget_s
    assert isinstance(run.steps[-1], TestStep)
    assert run.done.chosen is not None


def test_a_long_budget_is_used() -> None:
    run = _run(budget_s=3600.0, recipes=FAST, min_gain=0.0, patience=10**6)
    assert run.elapsed_s > 0.9 * 3600


def test_the_first_config_is_brought_to_the_end_before_others_are_tried() -> None:
    trainings = [s for s in _run().steps if isinstance(s, TrainStep)]
    assert trainings[0].adapter == trainings[1].adapter
    assert [step.fraction for step in trainings[:2]] == [1 / 3, 1.0]


def test_trainings_climb_every_rung_in_order() -> None:
    run = _run(rungs=(1 / 9, 1 / 3, 1.0), budget_s=2400.0)
    for adapter in _started(run):
        climbed = [
            s.fraction for s in run.steps if isinstance(s, TrainStep) and s.adapter == adapter
        ]
        assert climbed == [1 / 9, 1 / 3, 1.0][: len(climbed)]


def test_what_looks_bad_at_a_low_rung_is_not_trained_to_the_end() -> None:
    space = SearchSpace(learning_rate=(1e-6, 3e-3))
    portfolio = tuple(
        space.from_params({"learning_rate": rate, "rank": 16}) for rate in (1e-3, 3e-6, 8e-4)
    )
    run = _run(space=space, portfolio=portfolio, budget_s=720.0)
    fractions = run.fractions()
    assert fractions[portfolio[1].name] < 1
    assert fractions[portfolio[2].name] == 1


def test_configs_of_the_portfolio_come_first_and_in_their_order() -> None:
    portfolio = default_portfolio(SearchSpace())
    run = _run(budget_s=3600.0, recipes=FAST, min_gain=0.0)
    assert _started(run)[: len(portfolio)] == list(portfolio)
    assert len(_started(run)) > len(portfolio)


@pytest.mark.parametrize("sampler", [SamplerName.NSGAII, SamplerName.RANDOM, SamplerName.GRID])
def test_every_sampler_by_name_proposes_configs_of_the_space(sampler: SamplerName) -> None:
    run = _run(sampler=sampler, max_trials=8, budget_s=None, recipes=(INT8,), min_gain=0.0)
    assert len(_started(run)) > 4
    for adapter in _started(run):
        SearchSpace().check(adapter)


def test_another_seed_proposes_other_configs_and_the_same_seed_the_same() -> None:
    first, again, other = (
        _started(_run(seed=seed, max_trials=8, budget_s=None, recipes=(INT8,), min_gain=0.0))
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("max_trials", [1, 2, 3, 7])
def test_without_a_time_budget_the_number_of_trials_ends_the_search(max_trials: int) -> None:
    run = _run(budget_s=None, max_trials=max_trials)
    trained = [s for s in run.steps if isinstance(s, ScoreStep) and s.candidate.adapter]
    assert len(trained) == max_trials
    assert run.planner.progress().n_trials == max_trials


def test_a_finite_space_ends_when_every_config_was_tried() -> None:
    space = SearchSpace(learning_rates=(3e-4, 1e-3), ranks=(8, 16))
    run = _run(space=space, budget_s=36000.0, recipes=FAST, min_gain=0.0)
    assert len(_started(run)) == len(set(_started(run))) == 4


def test_the_search_stops_when_nothing_is_to_be_gained() -> None:
    run = _run(budget_s=360_000.0, recipes=FAST)
    assert run.elapsed_s < 360_000.0
    assert "no further improvement" in _confirm_reason(run)


def _confirm_reason(run: Run) -> str:
    planner = StagedPlanner(run.planner._settings)
    for step, outcome, before, _ in run.events:
        planner.next(PlannerState(elapsed_s=before))
        if isinstance(step, MeasureStep) and step.purpose == "confirm":
            return planner.explain()
        planner.observe(step, outcome)
    raise AssertionError("no confirmation")


def test_three_failed_trainings_in_a_row_end_the_training() -> None:
    run = _run(World(failures={"training": OutcomeStatus.OUT_OF_MEMORY}))
    assert len(run.of(TrainStep)) == 3
    assert run.done.chosen is not None
    assert run.done.chosen.adapter is None


def test_divergence_is_forgiven_twice_as_often_since_it_is_the_configs_own() -> None:
    run = _run(World(failures={"training": OutcomeStatus.DIVERGED}), budget_s=3600.0)
    assert len(run.of(TrainStep)) == 6
    # Four rates too high come first; what follows is tried and wins.
    rates = (8e-4, 9e-4, 7e-4, 6e-4)
    portfolio = tuple(SearchSpace().from_params({"learning_rate": r, "rank": 16}) for r in rates)
    failures = {adapter.name: OutcomeStatus.DIVERGED for adapter in portfolio}
    run = _run(World(failures=failures), portfolio=portfolio, budget_s=3600.0)
    assert run.done.chosen is not None
    assert run.done.chosen.adapter is not None


def test_every_second_config_after_the_portfolio_lies_near_the_best_one() -> None:
    settings = {"max_trials": 12, "budget_s": None, "recipes": (INT8,), "min_gain": 0.0}
    guided, plain = (
        _started(_run(World(), sampler=name, seed=3, **settings))
        for name in (SamplerName.TPE, SamplerName.RANDOM)
    )

    def near(adapters: list[AdapterConfig]) -> int:
        # The world's best rate is 1e-3, and the portfolio holds it.
        return sum(3e-4 < adapter.learning_rate < 3e-3 for adapter in adapters[4::2])

    assert near(guided) == len(guided[4::2])
    assert near(plain) < len(plain[4::2])


def test_deciding_takes_less_than_a_hundredth_of_a_run() -> None:
    began = time.process_time()
    run = _run(budget_s=1800.0, min_gain=0.0)
    assert time.process_time() - began < 0.01 * run.elapsed_s


@pytest.mark.parametrize("status", [OutcomeStatus.DIVERGED, OutcomeStatus.CRASHED])
def test_a_failed_training_is_replaced_by_another(status: OutcomeStatus) -> None:
    first = default_portfolio(SearchSpace())[0]
    run = _run(World(failures={first.name: status}))
    assert sum(fraction == 1 for fraction in run.fractions().values()) >= 2
    assert run.done.chosen is not None
    assert run.done.chosen.adapter not in (None, first)


def test_a_candidate_that_cannot_be_built_is_left_out_and_the_rest_go_on() -> None:
    first = default_portfolio(SearchSpace())[0]
    failures = {f"{first.name}/{INT8.name}": OutcomeStatus.TIMED_OUT}
    run = _run(World(failures=failures), recipes=FAST)
    assert run.done.chosen is not None
    assert run.done.chosen.name not in failures


def test_when_no_training_reaches_the_end_the_furthest_is_scored() -> None:
    # The training turns out eight times slower than thought.
    settings = {"prior_costs_s": {"finetune": 30.0}, "budget_s": 300.0, "recipes": FAST}
    run = _run(World(training_s=360.0), **settings)
    partial = [s for s in run.steps if isinstance(s, ScoreStep) and 0 < s.candidate.fraction < 1]
    assert partial
    assert run.elapsed_s <= 330
    assert run.done.chosen is not None
    assert 0 < run.done.chosen.fraction < 1


def test_costs_are_learned_so_a_slow_training_is_not_begun_twice() -> None:
    settings = {"prior_costs_s": {"finetune": 10.0}, "budget_s": 600.0, "recipes": FAST}
    run = _run(World(training_s=300.0), **settings)
    assert run.elapsed_s <= 660
    assert len(_started(run)) == 1


def test_the_minimum_budget_pays_for_one_training_to_the_end() -> None:
    # Told what the world costs, so that the estimate is the truth.
    prior = {"finetune": 90.0, "merge": 2.0, "build": 6.0, "score": 8.0, "measure": 3.0}
    minimum = minimum_budget_s(_settings(prior_costs_s=prior))
    run = _run(budget_s=minimum, prior_costs_s=prior, recipes=RECIPES[:3], census_share=1.0)
    assert 1 in run.fractions().values()
    assert run.elapsed_s <= 1.1 * minimum


def test_an_ask_after_300_trials_takes_less_than_150_ms() -> None:
    planner = StagedPlanner(
        _settings(budget_s=None, max_trials=300, recipes=(INT8,), min_gain=0.0, min_full=10**6)
    )
    world = World()
    began = time.process_time()
    run = simulate(world, planner)
    seconds = time.process_time() - began
    assert len(_started(run)) >= 300
    assert seconds / len(run.steps) < 0.15


def test_only_short_trainings_skip_the_first_rung() -> None:
    assert default_rungs(90.0) == (1 / 3, 1.0)
    assert default_rungs(3600.0) == (1 / 9, 1 / 3, 1.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"recipes": ()},
        {"recipes": (INT8, INT8)},
        {"budget_s": None},
        {"budget_s": 0.0},
        {"max_trials": 0},
        {"rungs": (0.5, 0.3, 1.0)},
        {"rungs": (0.3, 0.5)},
        {"rungs": ()},
        {"rungs": (0.04, 0.3, 1.0)},
        {"objectives": ()},
        {"objectives": ("beauty",)},
        {"census_rounds": 1},
        {"finalists": 0},
        {"portfolio": (AdapterConfig(rank=5),)},
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        _settings(**changes)
