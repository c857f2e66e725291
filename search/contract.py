"""The protocol between a planner and whoever runs its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from autotune.steps import Done, Outcome, Step, Wait

__all__ = ["Planner", "PlannerState"]


@dataclass(frozen=True, kw_only=True)
class PlannerState:
    """What a decision may depend on besides the outcomes observed.

    Attributes:
        elapsed_s: recorded seconds since the run began (``Event.elapsed_s``); a
            planner never reads a clock.
        running: steps handed out whose outcome has not come in.
        free: workers without a step, at least 0.
    """

    elapsed_s: float
    running: Sequence[Step] = ()
    free: int = 1


class Planner(Protocol):
    """Decides what to do next; sees candidates, costs and outcomes, never models."""

    def next(self, state: PlannerState) -> Step | Wait | Done:
        """Return the next step; the same record and seed give the same answer."""

    def observe(self, step: Step, outcome: Outcome) -> None:
        """Take in what a step brought."""
