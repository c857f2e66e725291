"""One number against another from a session apart, with the interval that both intervals give.

Such sessions cannot be paired round by round. The interval of a difference comes from
the two intervals (Zou and Donner 2008, "Construction of confidence intervals about effect
measures", Statistics in Medicine 27(10), the MOVER method), of a ratio on log scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from autotune.measurement import Measurement

__all__ = ["COUNTS", "Delta", "delta_of"]

# A number of things, which has no good direction.
COUNTS = ("answer_tokens",)
# Differences of these are told in their own unit: a share of a share would mislead.
_ABSOLUTE = ("1", "nat")


@dataclass(frozen=True, kw_only=True)
class Delta:
    """A number against another.

    Attributes:
        relative: value is a share of the first number, else a difference in its unit.
        value: 0.1 is 10 % more, or 0.1 more; null for a ratio with a number that is not
            above zero.
        ci95: interval of ``value``; null where one of the numbers has none.
    """

    relative: bool
    value: float | None
    ci95: tuple[float, float] | None


def _bounds(number: Measurement) -> tuple[float, float] | None:
    """Return the interval; bytes without one are readings and count as exact."""
    if number.ci95 is None and number.unit == "B":
        return number.value, number.value
    return number.ci95


def delta_of(first: Measurement, second: Measurement) -> Delta:
    """Return ``second`` against ``first`` with the interval that both intervals give.

    Costs are compared by ratio, shares and likelihoods by difference. Swapping both
    turns a difference's sign, and a ratio into its inverse.
    """
    relative = first.unit not in _ABSOLUTE or first.metric in COUNTS
    if relative and min(first.value, second.value) <= 0:
        return Delta(relative=True, value=None, ci95=None)
    scale = math.log if relative else float
    centre = scale(second.value) - scale(first.value)
    interval = _mover(first, second, is_log=relative)
    back = math.expm1 if relative else float
    return Delta(
        relative=relative,
        value=back(centre),
        ci95=(back(interval[0]), back(interval[1])) if interval else None,
    )


def _mover(first: Measurement, second: Measurement, *, is_log: bool) -> tuple[float, float] | None:
    """Return the interval of the difference (of the logarithms) of two independent numbers."""
    before, after = _bounds(first), _bounds(second)
    if before is None or after is None or (is_log and min(*before, *after) <= 0):
        return None
    scale = math.log if is_log else float
    at_first, at_second = scale(first.value), scale(second.value)
    # A percentile's interval may end before its estimate; an arm below zero is none.
    less_1, more_1 = max(0.0, at_first - scale(before[0])), max(0.0, scale(before[1]) - at_first)
    less_2, more_2 = max(0.0, at_second - scale(after[0])), max(0.0, scale(after[1]) - at_second)
    centre = at_second - at_first
    return centre - math.hypot(less_2, more_1), centre + math.hypot(more_2, less_1)
