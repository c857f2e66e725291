"""Means and shares over a few seeds, with 95 % intervals: five seeds are too few to resample."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

__all__ = ["mean_interval", "share_interval"]

# Student's t at 97.5 % for 1 to 9 degrees of freedom (any table of it).
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def _t(n: int) -> float:
    """Return the factor of the standard error for ``n`` values, from 2 to 10."""
    if not 2 <= n <= len(_T) + 1:
        raise ValueError(f"intervals are for 2 to {len(_T) + 1} seeds, got {n}")
    return _T[n - 2]


def mean_interval(values: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """Return the mean and its interval (Student's t); None for a single value.

    >>> mean, ends = mean_interval([1.0, 2.0, 3.0])
    >>> mean, [round(end, 3) for end in ends]
    (2.0, [-0.484, 4.484])
    """
    mean = statistics.fmean(values)
    if len(values) == 1:
        return mean, None
    half = _t(len(values)) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, (mean - half, mean + half)


def share_interval(
    parts: Sequence[float], wholes: Sequence[float]
) -> tuple[float | None, tuple[float, float] | None]:
    """Return mean(parts) / mean(wholes), pairs of one seed each, and its interval.

    Fieller's, which is exact for normal pairs (Fieller 1954, J. R. Stat. Soc. B 16). None
    where the mean whole is zero; no interval where it cannot be told from zero.

    >>> share, ends = share_interval([0.9, 2.1, 2.9], [1.0, 2.0, 3.0])
    >>> round(share, 3), ends is None
    (0.983, True)
    >>> share, ends = share_interval([3.9, 4.1, 4.2], [5.0, 5.1, 4.9])
    >>> round(share, 3), [round(end, 3) for end in ends]
    (0.813, [0.719, 0.914])
    """
    n, part, whole = len(parts), statistics.fmean(parts), statistics.fmean(wholes)
    if whole == 0:
        return None, None
    share = part / whole
    if n == 1:
        return share, None
    factor = _t(n) ** 2 / n
    spread = [
        factor * statistics.covariance(one, other)
        for one, other in ((parts, parts), (parts, wholes), (wholes, wholes))
    ]
    a, b, c = whole**2 - spread[2], part * whole - spread[1], part**2 - spread[0]
    inside = b**2 - a * c
    if a <= 0 or inside < 0:
        return share, None
    return share, ((b - math.sqrt(inside)) / a, (b + math.sqrt(inside)) / a)
