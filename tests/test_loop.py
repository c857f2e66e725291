"""The loop with a planner of a few lines: the journal is the run, and replaying is resuming."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from autotune.candidate import AdapterConfig, Candidate, Precision, Recipe
from autotune.errors import ReplayError, RunError
from autotune.loop import Loop, before_confirmation
from autotune.reports import EventLog
from autotune.search import PlannerState
from autotune.steps import (
    Done,
    Event,
    MeasureStep,
    Outcome,
    OutcomeStatus,
    ScoreStep,
    Step,
    TestStep,
    TrainStep,
    Wait,
)

BASE = Candidate(adapter=None, fraction=0, recipe=Recipe(provider="cpu", precision=Precision.FP32))
ADAPTER = AdapterConfig(rank=8)
TUNED = replace(BASE, adapter=ADAPTER, fraction=1)
PLAN: tuple[Step, ...] = (
    ScoreStep(candidate=BASE),
    MeasureStep(candidates=(BASE,), rounds=2),
    TrainStep(adapter=ADAPTER, fraction=1),
    ScoreStep(candidate=TUNED),
    MeasureStep(candidates=(TUNED, BASE), rounds=3, purpose="confirm"),
    TestStep(chosen=TUNED, baseline=BASE),
)
STEP_S = 10.0


@dataclass
class ListPlanner:
    """Takes the steps of a list, in order; remembers what it was told."""

    plan: Sequence[Step | Wait] = PLAN
    seen: list[tuple[Step, Outcome]] = field(default_factory=list)
    asked_at: list[float] = field(default_factory=list)

    def next(self, state: PlannerState) -> Step | Wait | Done:
        self.asked_at.append(state.elapsed_s)
        if len(self.seen) == len(self.plan):
            return Done(chosen=TUNED, reason="the list is over")
        return self.plan[len(self.seen)]

    def observe(self, step: Step, outcome: Outcome) -> None:
        self.seen.append((step, outcome))

    def explain(self) -> str:
        return f"step {len(self.seen)} of the list"


class Clock:
    """A clock that only work moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Run:
    """A loop over the journal ``path``, with everything that it was heard to say."""

    path: Path
    planner: ListPlanner = field(default_factory=ListPlanner)
    worked: list[Step] = field(default_factory=list)
    started: list[tuple[Step, str]] = field(default_factory=list)
    told: list[Event] = field(default_factory=list)
    interrupt_at: int | None = None

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.log = EventLog(self.path)
        self.loop = Loop(
            planner=self.planner,
            run_step=self._work,
            log=self.log,
            on_start=lambda step, why: self.started.append((step, why)),
            on_event=self.told.append,
            clock=self.clock,
        )

    def _work(self, step: Step) -> Outcome:
        if len(self.worked) == self.interrupt_at:
            raise KeyboardInterrupt
        self.worked.append(step)
        self.clock.now_s += STEP_S
        return Outcome(status=OutcomeStatus.MEASURED, cost_s=STEP_S)


def finished(path: Path) -> list[Event]:
    """Return the events of a run that went through."""
    run = Run(path)
    run.loop.run()
    return run.log.read()


def timeless(events: Sequence[Event]) -> list[Event]:
    """Return ``events`` without the wall clock's reading."""
    return [replace(event, at="") for event in events]


def test_steps_are_done_in_order_and_told_to_the_planner(tmp_path: Path) -> None:
    run = Run(tmp_path / "events.jsonl")
    done = run.loop.run()
    assert done.chosen == TUNED
    assert tuple(run.worked) == PLAN
    assert tuple(step for step, _ in run.planner.seen) == PLAN
    assert run.started == [(step, f"step {n} of the list") for n, step in enumerate(PLAN)]


def test_the_journal_holds_every_event_with_its_times_and_reason(tmp_path: Path) -> None:
    run = Run(tmp_path / "events.jsonl")
    run.loop.run(already_s=5.0)
    events = run.log.read()
    assert events == run.told
    assert [event.number for event in events] == list(range(len(PLAN)))
    assert [event.started_s for event in events] == [5.0 + n * STEP_S for n in range(len(PLAN))]
    assert all(event.elapsed_s == event.started_s + STEP_S for event in events)
    assert events[2].why == "step 2 of the list"
    assert events[0].at.endswith("+00:00")
    assert not any(event.replayed for event in events)


def test_the_planner_is_asked_at_recorded_time_only(tmp_path: Path) -> None:
    run = Run(tmp_path / "events.jsonl")
    run.loop.run(already_s=5.0)
    recorded = [5.0, *(event.elapsed_s for event in run.log.read())]
    assert run.planner.asked_at == recorded


@pytest.mark.parametrize("cut", range(len(PLAN) + 1))
def test_a_run_resumed_anywhere_ends_like_one_that_was_not_interrupted(
    cut: int, tmp_path: Path
) -> None:
    whole = finished(tmp_path / "whole.jsonl")
    path = tmp_path / "events.jsonl"
    for event in whole[:cut]:
        EventLog(path).append(event)
    run = Run(path)
    run.loop.replay(run.log.read(), is_new_journal=False)
    run.loop.run()
    assert tuple(run.worked) == PLAN[cut:]
    assert timeless(run.log.read()) == timeless(whole)
    assert timeless(run.told) == timeless(whole)
    assert run.planner.asked_at[cut:] == [n * STEP_S for n in range(cut, len(PLAN) + 1)]


def test_a_replayed_planner_is_asked_at_the_times_of_the_record(tmp_path: Path) -> None:
    # Time spent before the first step counts, and no event's end says so.
    first = Run(tmp_path / "events.jsonl")
    first.loop.run(already_s=5.0)
    again = Run(tmp_path / "events.jsonl")
    again.loop.replay(again.log.read(), is_new_journal=False)
    again.loop.run()
    assert again.planner.asked_at == first.planner.asked_at


def test_an_interrupted_step_leaves_no_trace_and_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    first = Run(path, interrupt_at=2)
    with pytest.raises(KeyboardInterrupt):
        first.loop.run()
    assert [event.step for event in first.log.read()] == list(PLAN[:2])
    second = Run(path)
    second.loop.replay(second.log.read(), is_new_journal=False)
    second.loop.run()
    assert tuple(second.worked) == PLAN[2:]
    assert [event.step for event in second.log.read()] == list(PLAN)


def test_events_of_another_run_are_written_to_the_new_journal_and_marked(tmp_path: Path) -> None:
    record = finished(tmp_path / "old.jsonl")
    run = Run(tmp_path / "new.jsonl")
    run.loop.replay(before_confirmation(record), is_new_journal=True)
    run.loop.run(already_s=7.0)
    assert tuple(run.worked) == PLAN[4:]
    events = run.log.read()
    assert [event.replayed for event in events] == [True] * 4 + [False] * 2
    assert [event.number for event in events] == list(range(len(PLAN)))
    # The recorded time counts, so the planner decides as it did then.
    assert events[4].started_s == record[3].elapsed_s


@pytest.mark.parametrize(
    "change",
    [
        lambda event: replace(event, step=TrainStep(adapter=ADAPTER, fraction=0.5)),
        lambda event: replace(event, step=ScoreStep(candidate=TUNED)),
    ],
)
@pytest.mark.parametrize("is_new_journal", [True, False])
def test_a_record_with_a_step_that_the_planner_would_not_take_is_refused(
    change: Callable[[Event], Event], is_new_journal: bool, tmp_path: Path
) -> None:
    record = finished(tmp_path / "old.jsonl")
    record[2] = change(record[2])
    run = Run(tmp_path / "new.jsonl")
    with pytest.raises(ReplayError, match=r"Event 2 of the record .*start a new run"):
        run.loop.replay(record, is_new_journal=is_new_journal)
    assert run.worked == []
    assert len(run.planner.seen) == 2


def test_a_record_that_goes_on_after_the_planner_is_done_is_refused(tmp_path: Path) -> None:
    record = finished(tmp_path / "old.jsonl")
    run = Run(tmp_path / "new.jsonl", planner=ListPlanner(plan=PLAN[:3]))
    with pytest.raises(ReplayError, match="Event 3 of the record"):
        run.loop.replay(record, is_new_journal=False)


def test_a_planner_that_waits_for_nothing_is_an_error_and_no_endless_loop(tmp_path: Path) -> None:
    run = Run(tmp_path / "events.jsonl", planner=ListPlanner(plan=[PLAN[0], Wait()]))
    with pytest.raises(RunError, match="waits although nothing is running"):
        run.loop.run()
    assert len(run.log.read()) == 1


@pytest.mark.parametrize(("length", "kept"), [(0, 0), (3, 3), (4, 4), (5, 4), (6, 4)])
def test_an_identical_run_repeats_only_confirmation_and_test(
    length: int, kept: int, tmp_path: Path
) -> None:
    record = finished(tmp_path / "old.jsonl")[:length]
    assert before_confirmation(record) == record[:kept]


def test_a_test_without_confirmation_is_repeated_as_well(tmp_path: Path) -> None:
    record = finished(tmp_path / "old.jsonl")
    without = [*record[:4], record[5]]
    assert before_confirmation(without) == record[:4]
