"""Bounds on metrics: how they are written, normalised and judged.

A constraint value is ``value / bound - 1`` for maxima and ``1 - value / bound``
for minima, so that at most zero means feasible and values of different metrics
can be added (Optuna's TPE sums them unnormalised).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from autotune.errors import UnitError, UsageError
from autotune.measurement import METRIC_UNITS, Measurement, metric_unit
from autotune.units import (
    format_quantity,
    parse_duration,
    parse_energy,
    parse_fraction,
    parse_size,
)

__all__ = ["Constraint", "Verdict", "parse_constraint"]

# Statistic that a bare metric name stands for; --max-latency is the p95 by definition.
_DEFAULT_STATISTIC = {"latency": "p95", "ttft": "p95", "tpot": "p95"}
_STATISTICS = ("p50", "p90", "p95")
_BOUNDABLE = (
    *("latency", "ttft", "tpot", "memory", "device_memory", "size"),
    *("energy", "energy_per_token", "accuracy", "macro_f1", "perplexity"),
)
_FORM = re.compile(r"\s*([a-z_0-9]+)(?:\.([a-z0-9]+))?\s*(<=|>=)\s*(.+?)\s*")


class Verdict(StrEnum):
    """Whether a bound is met. Uncertain (the interval spans it) is not feasible."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """``metric op bound``, the bound in the metric's base unit and greater than zero."""

    metric: str
    op: Literal["<=", ">="]
    bound: float

    @property
    def unit(self) -> str:
        """Base unit of metric and bound."""
        return metric_unit(self.metric)

    def normalized(self, value: float) -> float:
        """Return the dimensionless violation of ``value``: at most 0 is feasible."""
        ratio = value / self.bound
        return ratio - 1 if self.op == "<=" else 1 - ratio

    def verdict(self, measurement: Measurement) -> Verdict:
        """Judge a measurement by its interval (by its value where it has none)."""
        low, high = measurement.ci95 or (measurement.value, measurement.value)
        worst, best = (high, low) if self.op == "<=" else (low, high)
        if self.normalized(worst) <= 0:
            return Verdict.PASS
        return Verdict.FAIL if self.normalized(best) > 0 else Verdict.UNCERTAIN

    def judge(self, metrics: Mapping[str, Measurement]) -> Verdict | None:
        """Judge by what was measured; None where that allows no verdict.

        A percentile that too few requests stand behind is at least the median: one whose
        median breaks a maximum breaks it too. Nothing else follows from a median.
        """
        if self.metric in metrics:
            return self.verdict(metrics[self.metric])
        name, _, statistic = self.metric.partition(".")
        median = metrics.get(f"{name}.p50")
        if not statistic or median is None or self.op != "<=":
            return None
        return Verdict.FAIL if self.verdict(median) is Verdict.FAIL else None

    def __str__(self) -> str:
        return f"{self.metric} {self.op} {format_quantity(self.bound, self.unit)}"


def _parse_bound(text: str, unit: str, what: str) -> float:
    if what.endswith("perplexity"):
        return _parse_perplexity(text, what)
    if unit == "s":
        return parse_duration(text, what=what)
    if unit == "B":
        return parse_size(text, what=what)
    if unit == "J":
        return parse_energy(text, what=what)
    return parse_fraction(text, what=what)


def _parse_perplexity(text: str, what: str) -> float:
    """Return a perplexity: choices that a model wavers between, 1 for none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1 <= value < math.inf:
        raise UnitError(f"{what} is a number of 1 or more without unit, got {text!r}.")
    return value


def parse_constraint(text: str) -> Constraint:
    """Return the constraint written as ``tpot.p95<=50ms``, ``energy<=0.5J``, ``accuracy>=0.9``.

    Raises:
        UsageError: not of that form, or a metric that nothing measures.
        UnitError: a bound without unit, or not greater than zero.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise UsageError(
            f"A constraint is METRIC<=BOUND or METRIC>=BOUND, got {text!r};"
            " write for example 'tpot.p95<=50ms'."
        )
    name, statistic, op, bound = match.groups()
    if name not in _BOUNDABLE or name not in METRIC_UNITS:
        raise UsageError(
            f"Nothing measures {name!r} (in {text!r}); choose from {', '.join(_BOUNDABLE)}."
        )
    if name in _DEFAULT_STATISTIC:
        statistic = statistic or _DEFAULT_STATISTIC[name]
        if statistic not in _STATISTICS:
            raise UsageError(
                f"{name} has the statistics {', '.join(_STATISTICS)},"
                f" got {statistic!r} in {text!r}."
            )
    elif statistic:
        raise UsageError(f"{name} has no statistics, got {statistic!r} in {text!r}; leave it out.")
    metric = f"{name}.{statistic}" if statistic else name
    value = _parse_bound(bound, metric_unit(metric), f"The bound on {metric}")
    return Constraint(metric=metric, op="<=" if op == "<=" else ">=", bound=value)
