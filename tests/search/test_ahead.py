"""What is believed to be asked for next: never what goes on from the step, and mostly right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotune.search import SearchSettings, StagedPlanner, likely_trainings
from autotune.steps import Event, Step, TrainStep

from .world import RECIPES, Run, World, simulate

SETTINGS = SearchSettings(recipes=RECIPES, budget_s=1500.0, n_validation_rows=190, n_test_rows=190)


def record(run: Run) -> list[Event]:
    return [
        Event(number=n, step=step, outcome=outcome, started_s=start, elapsed_s=end, at="")
        for n, (step, outcome, start, end) in enumerate(run.events)
    ]


def asked_for(run: Run, after: int) -> list[TrainStep]:
    return [step for step in run.steps[after + 1 :] if isinstance(step, TrainStep)]


def likely(events: list[Event], at: int, most: int = 3) -> tuple[TrainStep, ...]:
    started = events[at].started_s
    return likely_trainings(SETTINGS, events[:at], events[at].step, elapsed_s=started, most=most)


@pytest.mark.parametrize("rate", [3e-4, 1e-3, 3e-3])
def test_what_is_likely_is_mostly_asked_for_later(rate: float) -> None:
    run = simulate(World(best_rate=rate), StagedPlanner(SETTINGS))
    events, n_right, n_told = record(run), 0, 0
    for at, event in enumerate(events):
        if not isinstance(event.step, TrainStep):
            continue
        told = likely(events, at)
        assert len(told) <= 3
        names = [one.adapter.name for one in told]
        assert len(set(names)) == len(names)
        assert event.step.adapter.name not in names
        later = asked_for(run, at)
        n_told, n_right = n_told + len(told), n_right + sum(one in later for one in told)
    assert n_told > 5
    assert n_right / n_told > 0.4


def test_the_first_training_is_followed_by_the_other_ones_of_the_portfolio() -> None:
    run = simulate(World(), StagedPlanner(SETTINGS))
    events = record(run)
    first = next(at for at, event in enumerate(events) if isinstance(event.step, TrainStep))
    (told, *_), (asked, *_) = likely(events, first), _of_others(run.steps, first)
    assert told == asked


def _of_others(steps: list[Step], first: int) -> list[TrainStep]:
    begun = steps[first]
    assert isinstance(begun, TrainStep)
    trainings = [step for step in steps[first + 1 :] if isinstance(step, TrainStep)]
    return [step for step in trainings if step.adapter != begun.adapter]


def test_the_same_is_told_again_and_the_run_is_not_touched() -> None:
    run = simulate(World(), StagedPlanner(SETTINGS))
    events = record(run)
    at = max(n for n, event in enumerate(events) if isinstance(event.step, TrainStep))
    assert likely(events, at) == likely(events, at)
    assert simulate(World(), StagedPlanner(SETTINGS)).steps == run.steps


def test_what_is_known_is_passed_over() -> None:
    run = simulate(World(), StagedPlanner(SETTINGS))
    events = record(run)
    at = next(at for at, event in enumerate(events) if isinstance(event.step, TrainStep))
    first, *others = likely(events, at)
    step, started = events[at].step, events[at].started_s
    further = likely_trainings(
        SETTINGS, events[:at], step, elapsed_s=started, most=3, known={first}
    )
    assert first not in further
    assert set(others) <= set(further)


def test_no_more_is_told_than_a_limit_on_trainings_allows() -> None:
    settings = replace(SETTINGS, max_trials=1)
    run = simulate(World(), StagedPlanner(settings))
    events = record(run)
    first = next(at for at, event in enumerate(events) if isinstance(event.step, TrainStep))
    begun = events[first]
    told = likely_trainings(settings, events[:first], begun.step, elapsed_s=begun.started_s, most=3)
    assert told == ()
