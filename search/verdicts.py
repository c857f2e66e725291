"""Judging measurements against all bounds at once.

Bounds on cost (time, memory, size) are judged by interval, as a recipe decides
them and they can be measured again. Bounds on quality are judged by the
validation estimate here; the report judges them finally, on the test split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune.constraint import Constraint, Verdict
from autotune.measurement import Measurement

__all__ = [
    "Metrics",
    "cost_constraints",
    "cost_verdict",
    "meets_quality",
    "quality_constraints",
    "to_minimise",
    "total_violation",
    "violations",
]

Metrics = Mapping[str, Measurement]
_SHARES = ("accuracy", "macro_f1")
_QUALITY = (*_SHARES, "perplexity")


def quality_constraints(constraints: Sequence[Constraint]) -> tuple[Constraint, ...]:
    """Return the bounds that training changes."""
    return tuple(c for c in constraints if c.metric in _QUALITY)


def cost_constraints(constraints: Sequence[Constraint]) -> tuple[Constraint, ...]:
    """Return the bounds that the recipe alone decides."""
    return tuple(c for c in constraints if c.metric not in _QUALITY)


def cost_verdict(constraints: Sequence[Constraint], metrics: Metrics) -> Verdict:
    """Return fail if one bound on cost fails, uncertain if one is or was not measured."""
    judged = [c.judge(metrics) for c in cost_constraints(constraints)]
    verdicts = {verdict or Verdict.UNCERTAIN for verdict in judged}
    for verdict in (Verdict.FAIL, Verdict.UNCERTAIN):
        if verdict in verdicts:
            return verdict
    return Verdict.PASS


def meets_quality(constraints: Sequence[Constraint], metrics: Metrics) -> bool:
    """Whether the estimates meet every bound on quality; what is missing does not."""
    return all(
        c.metric in metrics and c.normalized(metrics[c.metric].value) <= 0
        for c in quality_constraints(constraints)
    )


def to_minimise(metric: str, value: float) -> float:
    """Return ``value`` so that lower is better: an accuracy as its error."""
    return 1 - value if metric in _SHARES else value


def violations(constraints: Sequence[Constraint], metrics: Metrics) -> dict[str, float]:
    """Return the normalised value of each bound that was measured, by its text."""
    return {
        str(c): c.normalized(metrics[c.metric].value) for c in constraints if c.metric in metrics
    }


def total_violation(constraints: Sequence[Constraint], metrics: Metrics) -> float:
    """Return the sum of violations, 0 where every measured bound is met."""
    return sum(max(0.0, value) for value in violations(constraints, metrics).values())
