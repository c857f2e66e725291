"""What a training is worth going on with: expected improvement of the final loss.

Losses are compared as logarithms, so gains are relative. A training at fraction f
points to its loss times ``f ** 0.3`` (learning curves are close to power laws),
corrected by what other trainings did from the same rung. Only losses of equal rungs
meet.

What a rung points to is the final loss plus noise, so it is believed in part: by the
reliability ``f ** 0.2`` the belief moves from the mean of all trainings to it, and the
rest of their spread stays as doubt. So a rung never leaves more doubt than a config that
was never trained has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, pstdev

from .ledger import Training

__all__ = ["Outlook", "best_training", "expected_improvement", "final_outlooks", "new_outlook"]

_POWER = 0.3
# Squared correlation of a rung with the end: 0.64 at a ninth, 0.80 at a third. LCBench curves
# have rank correlations of 0.66 to 0.94 and of 0.86 to 0.99 there.
_RELIABILITY = 0.2
# Standard deviation of log losses before anything was seen; it weighs as one training does.
_SPREAD, _PRIOR_WEIGHT = 0.2, 1
_TINY = 1e-6


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Normal belief about the logarithm of a final loss."""

    mean: float
    sd: float


def _log(nll: float) -> float:
    return math.log(max(nll, _TINY))


def _drop(trainings: Iterable[Training], fraction: float) -> float:
    """Return the mean of log(final / loss at ``fraction``), the power law counted as one."""
    drops = [_POWER * math.log(fraction)]
    drops += [
        _log(training.nll[1.0]) - _log(training.nll[fraction])
        for training in trainings
        if training.is_full and fraction in training.nll
    ]
    return fmean(drops)


def final_outlooks(trainings: Iterable[Training]) -> dict[str, Outlook]:
    """Return the belief about each training that has a loss, by adapter name."""
    known = [training for training in trainings if training.nll]
    if not known:
        return {}
    drop = {f: _drop(known, f) for f in {t.fraction for t in known} if f < 1}
    ends = {t.name: _log(t.nll[t.fraction]) + drop.get(t.fraction, 0.0) for t in known}
    center, spread = fmean(ends.values()), _spread(ends.values())
    outlooks = {}
    for training in known:
        share = training.fraction**_RELIABILITY
        mean = center + share * (ends[training.name] - center)
        outlooks[training.name] = Outlook(mean=mean, sd=spread * math.sqrt(1 - share))
    return outlooks


def _spread(logs: Iterable[float]) -> float:
    """Return the standard deviation of final log losses, the prior's share included."""
    seen = list(logs)
    variance = _PRIOR_WEIGHT * _SPREAD**2 + len(seen) * pstdev(seen) ** 2
    return math.sqrt(variance / (_PRIOR_WEIGHT + len(seen)))


def best_training(trainings: Iterable[Training]) -> Training | None:
    """Return the sound training with the lowest expected final loss, the first of equals."""
    sound = [t for t in trainings if t.failure is None and t.nll]
    outlooks = final_outlooks(sound)
    return min(sound, key=lambda training: outlooks[training.name].mean, default=None)


def new_outlook(outlooks: Iterable[Outlook]) -> Outlook:
    """Return the belief about a config that was never trained: like those before it."""
    means = [outlook.mean for outlook in outlooks]
    if not means:
        return Outlook(mean=0.0, sd=_SPREAD)
    return Outlook(mean=fmean(means), sd=_spread(means))


def expected_improvement(outlook: Outlook, best: float) -> float:
    """Return E[max(best - X, 0)] for X normal (Mockus 1978); ``best`` is a log loss."""
    if outlook.sd == 0:
        return max(best - outlook.mean, 0.0)
    z = (best - outlook.mean) / outlook.sd
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    share = 0.5 * (1 + math.erf(z / math.sqrt(2)))
    return (best - outlook.mean) * share + outlook.sd * density
