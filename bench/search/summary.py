"""From traces to figures: expected cost to target, regret, waste, each with an interval.

The unit of time is one training of the problem's best candidate. Expected cost to target
(ERT) is what all seeds spent until the target or their end, divided by the seeds that
reached it. Figures of a method are means over problems; intervals are the 2.5th and 97.5th
percentiles of 2000 bootstrap draws, over seeds within each problem and over families of
problems (over problems where the table has no families; over seeds alone with one problem).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .trace import Goal, Trace

__all__ = ["REGRET_AT", "MethodRuns", "Summary", "ert", "summarise"]

REGRET_AT = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # trainings
_DRAWS = 2000
Runs = Mapping[Goal, Sequence[Trace]]
Interval = tuple[float, float]
_Array = NDArray[np.float64]
_Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class MethodRuns:
    """What one method did on every problem, by seed."""

    name: str
    goals: tuple[Goal, ...]
    traces: tuple[tuple[Trace, ...], ...]

    @cached_property
    def cost(self) -> _Array:
        """Trainings' worth until the target or the end, (problem, seed)."""
        return self._each(lambda goal, trace: _cost(goal, trace) / goal.training_s)

    @cached_property
    def solved(self) -> _Array:
        """1 where the target was reached, (problem, seed)."""
        return self._each(lambda goal, trace: trace.time_to(goal.target_loss) is not None)

    @cached_property
    def wasted(self) -> _Array:
        """Trainings paid for a recipe that breaks a limit, (problem, seed)."""
        return self._each(lambda _, trace: trace.wasted)

    def regret(self, trainings: float) -> _Array:
        """Share of the hyper-volume missing after so many trainings' worth, (problem, seed)."""
        return self._each(lambda goal, trace: goal.regret(trace, trainings * goal.training_s))

    def _each(self, value: Callable[[Goal, Trace], float]) -> _Array:
        return np.array(
            [
                [float(value(goal, trace)) for trace in traces]
                for goal, traces in zip(self.goals, self.traces, strict=True)
            ]
        )


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The figures of a method; ``seed_means`` are its mean costs over problems, by seed."""

    name: str
    solved: float
    ert: float
    ert_ci: Interval
    median: float
    p90: float
    seed_means: tuple[float, ...]
    wasted: float
    wasted_ci: Interval
    regret: Mapping[float, tuple[float, Interval]]
    overhead_s: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values; infinities become null."""
        return {
            "method": self.name,
            "solved": self.solved,
            "ert_trainings": _finite(self.ert),
            "ert_ci95": [_finite(value) for value in self.ert_ci],
            "time_to_target_median": _finite(self.median),
            "time_to_target_p90": _finite(self.p90),
            "mean_by_seed": list(self.seed_means),
            "wasted_trainings": self.wasted,
            "wasted_ci95": list(self.wasted_ci),
            "regret": [
                {"trainings": at, "value": value, "ci95": list(interval)}
                for at, (value, interval) in self.regret.items()
            ],
            "deciding_s_per_search": self.overhead_s,
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cost(goal: Goal, trace: Trace) -> float:
    reached = trace.time_to(goal.target_loss)
    return trace.spent_s if reached is None else reached


def ert(cost: _Array, solved: _Array) -> _Array:
    """Return cost per success along the last axis; inf without any."""
    successes = solved.sum(axis=-1)
    with np.errstate(divide="ignore"):
        return np.asarray(cost.sum(axis=-1) / successes)


def summarise(runs: MethodRuns, *, seed: int = 0) -> Summary:
    """Return the figures of ``runs``."""
    weights = _resampled(runs, seed)
    cost, solved = runs.cost, runs.solved
    reached = np.where(solved > 0, cost, np.inf)
    # The time of a problem is its median over seeds; methods without chance have one value.
    per_problem = np.median(reached, axis=1)
    regrets = {at: runs.regret(at) for at in REGRET_AT}
    return Summary(
        name=runs.name,
        solved=float(solved.mean()),
        ert=float(ert(cost, solved).mean()),
        ert_ci=_interval([float(ert(cost[p, s], solved[p, s]).mean()) for p, s in weights]),
        median=_quantile(per_problem, 0.5),
        p90=_quantile(per_problem, 0.9),
        seed_means=tuple(float(value) for value in cost.mean(axis=0)),
        wasted=float(runs.wasted.mean()),
        wasted_ci=_interval([float(runs.wasted[p, s].mean()) for p, s in weights]),
        regret={
            at: (
                float(values.mean()),
                _interval([float(values[p, s].mean()) for p, s in weights]),
            )
            for at, values in regrets.items()
        },
        overhead_s=float(np.mean([t.overhead_s for traces in runs.traces for t in traces])),
    )


def _quantile(values: _Array, share: float) -> float:
    """Return a quantile by linear interpolation; inf where an unsolved problem counts."""
    place = share * (len(values) - 1)
    ordered = np.sort(values)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    if math.isinf(high):
        return math.inf if place > math.floor(place) or math.isinf(low) else float(low)
    return float(low + (high - low) * (place - math.floor(place)))


def _resampled(runs: MethodRuns, seed: int) -> list[tuple[_Index, _Index]]:
    """Return index arrays (problem, seed) of bootstrap draws, the same for every method."""
    random = np.random.default_rng(seed)
    n_seeds = runs.cost.shape[1]
    groups: dict[str, list[int]] = {}
    for number, goal in enumerate(runs.goals):
        groups.setdefault(goal.problem.family or goal.problem.name, []).append(number)
    families = list(groups.values())
    draws = []
    for _ in range(_DRAWS):
        chosen = random.integers(len(families), size=len(families))
        problems = np.array([n for family in chosen for n in families[family]])
        seeds = random.integers(n_seeds, size=(len(problems), n_seeds))
        draws.append((problems[:, None], seeds))
    return draws


def _interval(values: Sequence[float]) -> Interval:
    ordered = np.array(values)
    return _quantile(ordered, 0.025), _quantile(ordered, 0.975)
