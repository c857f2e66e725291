"""What a training is worth going on with: expected improvement of the final loss.

Losses are compared as logarithms, so gains are relative. A training at fraction f
is expected to end at its loss times ``f ** 0.3`` (learning curves are close to
power laws), corrected by what other trainings did from the same rung; the doubt
about it shrinks towards the end. Only losses of equal rungs meet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, pstdev

from .ledger import Training

__all__ = ["Outlook", "best_training", "expected_improvement", "final_outlooks", "new_outlook"]

_POWER = 0.3
# Standard deviation of log(final / predicted): 0.06 + 0.12 per e-fold still to train.
# Rank correlations with the end of 0.7 to 0.9 at a third of the training (LCBench) fit that.
_DOUBT, _DOUBT_PER_FOLD = 0.06, 0.12
_SPREAD, _PRIOR_WEIGHT = 0.2, 2
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
    drop = {f: _drop(known, f) for f in {t.fraction for t in known} if f < 1}
    outlooks = {}
    for training in known:
        fraction = training.fraction
        doubt = 0.0 if training.is_full else _DOUBT - _DOUBT_PER_FOLD * math.log(fraction)
        mean = _log(training.nll[fraction]) + drop.get(fraction, 0.0)
        outlooks[training.name] = Outlook(mean=mean, sd=doubt)
    return outlooks


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
    # Two observations' worth of the prior spread, so that the first few do not fool it.
    variance = (_PRIOR_WEIGHT * _SPREAD**2 + len(means) * pstdev(means) ** 2) / (
        _PRIOR_WEIGHT + len(means)
    )
    return Outlook(mean=fmean(means), sd=math.sqrt(variance))


def expected_improvement(outlook: Outlook, best: float) -> float:
    """Return E[max(best - X, 0)] for X normal (Mockus 1978); ``best`` is a log loss."""
    if outlook.sd == 0:
        return max(best - outlook.mean, 0.0)
    z = (best - outlook.mean) / outlook.sd
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    share = 0.5 * (1 + math.erf(z / math.sqrt(2)))
    return (best - outlook.mean) * share + outlook.sd * density
