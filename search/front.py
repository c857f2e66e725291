"""The Pareto front over accuracy, latency, size and more: what no other candidate beats.

A pure function of a set of points, quadratic on purpose: a run has hundreds of
candidates at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autotune.candidate import Candidate

__all__ = ["Point", "dominates", "pareto_front"]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A candidate with what it is compared by.

    Attributes:
        values: lower is better; the same metrics in the same order for all points.
        feasible: every bound is met.
    """

    candidate: Candidate
    values: tuple[float, ...]
    feasible: bool = True


def dominates(first: Point, second: Point) -> bool:
    """Whether ``first`` is nowhere worse than ``second`` and somewhere better."""
    one, two = first.values, second.values
    return one != two and all(a <= b for a, b in zip(one, two, strict=True))


def _undominated(points: Sequence[Point]) -> list[Point]:
    return [p for p in points if not any(dominates(other, p) for other in points)]


def pareto_front(points: Iterable[Point]) -> tuple[Point, ...]:
    """Return the front, feasible members first, by their first value within each.

    Feasible points compete among themselves only, since an infeasible one cannot be
    had; infeasible ones stay if nothing at all beats them, to show what a looser
    bound would buy. The order of ``points`` does not matter.
    """
    everything = list(points)
    feasible = _undominated([p for p in everything if p.feasible])
    beyond = [p for p in _undominated(everything) if not p.feasible]
    return tuple(
        sorted(feasible + beyond, key=lambda p: (not p.feasible, *p.values, p.candidate.name))
    )
