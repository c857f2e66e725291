"""The loop of a run: ask the planner, run the step, write the event, tell the planner.

The journal is the run. Resuming and replaying are the same thing: recorded
outcomes are observed again, and a step that the planner would not take now means
that the record does not belong to this run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from autotune.errors import ReplayError, RunError
from autotune.reports import EventLog
from autotune.search import Planner, PlannerState
from autotune.steps import Done, Event, MeasureStep, Outcome, Step, TestStep, Wait

__all__ = ["ExplainingPlanner", "Loop", "agrees", "before_confirmation"]


class ExplainingPlanner(Planner, Protocol):
    """A planner that says why it chose its last step."""

    def explain(self) -> str:
        """Return the reason for the last step in one line."""


@dataclass
class Loop:
    """Drives one planner over one journal.

    Attributes:
        planner: decides.
        run_step: carries a step out.
        log: where events are written.
        on_start: told about a step before it runs.
        on_event: told about every event, replayed ones included.
        clock: monotonic seconds.
    """

    planner: ExplainingPlanner
    run_step: Callable[[Step], Outcome]
    log: EventLog
    on_start: Callable[[Step, str], None]
    on_event: Callable[[Event], None]
    clock: Callable[[], float] = time.monotonic
    elapsed_s: float = 0.0
    number: int = 0

    def replay(self, events: Iterable[Event], *, is_new_journal: bool) -> None:
        """Observe recorded events; with a new journal they are written to it, marked.

        Raises:
            ReplayError: the planner would have taken another step.
        """
        for event in events:
            expected = self.planner.next(PlannerState(elapsed_s=event.started_s))
            if expected != event.step:
                raise ReplayError(
                    f"Event {event.number} of the record is {event.step}, the planner would now"
                    f" take {expected}; the record is of another version, start a new run."
                )
            if is_new_journal:
                event = replace(event, replayed=True)  # noqa: PLW2901 - the marked one replaces it
                self.log.append(event)
            self._take_in(event)

    def run(self, *, already_s: float = 0.0) -> Done:
        """Go on until the planner is done; ``already_s`` is time spent before the loop."""
        self.elapsed_s = max(self.elapsed_s, already_s)
        while True:
            decision = self.planner.next(PlannerState(elapsed_s=self.elapsed_s))
            if isinstance(decision, Done):
                return decision
            if isinstance(decision, Wait):
                raise RunError("The planner waits although nothing is running; please report this.")
            self._carry_out(decision)

    def _carry_out(self, step: Step) -> None:
        why = self.planner.explain()
        self.on_start(step, why)
        started = self.elapsed_s
        began = self.clock()
        outcome = self.run_step(step)
        event = Event(
            number=self.number,
            step=step,
            outcome=outcome,
            started_s=started,
            elapsed_s=started + self.clock() - began,
            at=datetime.now(tz=UTC).isoformat(timespec="seconds"),
            why=why,
        )
        self.log.append(event)
        self._take_in(event)

    def _take_in(self, event: Event) -> None:
        self.planner.observe(event.step, event.outcome)
        self.elapsed_s = event.elapsed_s
        self.number = event.number + 1
        self.on_event(event)


def agrees(planner: Planner, events: Iterable[Event]) -> bool:
    """Whether ``planner``, a fresh one, would take exactly the recorded steps."""
    for event in events:
        if planner.next(PlannerState(elapsed_s=event.started_s)) != event.step:
            return False
        planner.observe(event.step, event.outcome)
    return True


def before_confirmation(events: Iterable[Event]) -> list[Event]:
    """Return the events up to the confirmation: what an identical run need not do again."""
    kept: list[Event] = []
    for event in events:
        is_confirm = isinstance(event.step, MeasureStep) and event.step.purpose == "confirm"
        if is_confirm or isinstance(event.step, TestStep):
            break
        kept.append(event)
    return kept
