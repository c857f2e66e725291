"""What a search did, in simulated time, and what that was worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from autotune.candidate import Recipe
from autotune.constraint import Constraint

from .problem import Problem

__all__ = ["Find", "Goal", "Trace", "hypervolume"]


@dataclass(frozen=True, kw_only=True)
class Find:
    """A feasible trained candidate, scored when the search had spent ``spent_s``.

    Attributes:
        speed: what the second axis of the hyper-volume is, lower is better; None where
            the table has no latency.
    """

    spent_s: float
    loss: float
    speed: float | None = None


@dataclass(kw_only=True)
class Trace:
    """One search on one problem.

    Attributes:
        spent_s: seconds in all, census included.
        trainings: trainings begun.
        wasted: trainings paid for a candidate whose recipe breaks a limit.
        overhead_s: seconds of real time that deciding took.
    """

    spent_s: float = 0.0
    trainings: int = 0
    wasted: int = 0
    wasted_s: float = 0.0
    overhead_s: float = 0.0
    finds: list[Find] = field(default_factory=list)

    def time_to(self, loss: float) -> float | None:
        """Return the seconds until a feasible candidate was at most ``loss``."""
        return next((find.spent_s for find in self.finds if find.loss <= loss), None)


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is to be reached on a problem.

    Attributes:
        limits: upper bounds.
        gap: share by which a loss may exceed the best feasible one.
        best_loss: that of the whole table within the limits.
        training_s: seconds of one training of the best: the unit of time.
        n_good: candidates within the gap, of ``n_all`` in the table.
    """

    problem: Problem
    limits: tuple[Constraint, ...]
    gap: float
    best_loss: float
    training_s: float
    n_good: int
    n_all: int

    @classmethod
    def of(cls, problem: Problem, limits: tuple[Constraint, ...], gap: float) -> Goal | None:
        """Return the goal, or None where no candidate meets the limits."""
        best = problem.best(limits)
        if best is None:
            return None
        config, _, loss = best
        bound = loss * (1 + gap)
        good = [
            built
            for (_, recipe), built in problem.built.items()
            if built.loss is not None
            and built.loss <= bound
            and problem.is_feasible(recipe, limits)
        ]
        return cls(
            problem=problem,
            limits=limits,
            gap=gap,
            best_loss=loss,
            training_s=problem.train_cost_s(config),
            n_good=len(good),
            n_all=len(problem.built),
        )

    @property
    def target_loss(self) -> float:
        """The highest loss that counts as success."""
        return self.best_loss * (1 + self.gap)

    def regret(self, trace: Trace, spent_s: float) -> float:
        """Return the share of the attainable hyper-volume that is missing at ``spent_s``."""
        found = [find for find in trace.finds if find.spent_s <= spent_s]
        return 1 - self._volume(found) / self._volume(self._everything)

    @cached_property
    def _everything(self) -> list[Find]:
        return [
            Find(spent_s=0.0, loss=built.loss, speed=speed_of(self.problem, recipe))
            for (_, recipe), built in self.problem.built.items()
            if built.loss is not None and self.problem.is_feasible(recipe, self.limits)
        ]

    def _volume(self, finds: Sequence[Find]) -> float:
        worst_loss = max(find.loss for find in self._everything)
        speeds = [find.speed for find in self._everything if find.speed is not None]
        # A tenth beyond the worst, so that the corners of the front count as well.
        loss = worst_loss + 0.1 * (worst_loss - self.best_loss)
        speed = max(speeds, default=1.0) * 1.1
        return hypervolume(
            [(f.loss, 0.0 if f.speed is None else f.speed) for f in finds], loss, speed
        )


def speed_of(problem: Problem, recipe: Recipe) -> float | None:
    """Return the latency of a recipe, or None where the table has none."""
    metrics = problem.metrics[recipe]
    return metrics.get("latency.p95", metrics.get("latency.p50"))


def hypervolume(points: Sequence[tuple[float, float]], worst_x: float, worst_y: float) -> float:
    """Return the area that ``points`` (lower is better) dominate below the worst corner."""
    area, ceiling = 0.0, worst_y
    for x, y in sorted(points):
        if x < worst_x and y < ceiling:
            area += (worst_x - x) * (ceiling - y)
            ceiling = y
    return area
