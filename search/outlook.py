"""What a training is worth going on with: expected improvement of the final loss.

Losses are compared as logarithms, so gains are relative. A training at fraction f
points to its loss times ``f ** 0.3`` (learning curves are close to power laws),
corrected by what other trainings did from the same rung. Only losses of equal rungs
meet.

What a rung points to is the final loss plus noise, so it is believed in part: by the
reliability ``f ** 0.2`` the belief moves from the mean of all trainings of its arm to it,
and the rest of their spread stays as doubt. So a rung never leaves more doubt than a config
that was never trained has.

An arm in which nothing was trained is thought to end like the arms before it, worse by the
share of layers that it leaves out, and with as much doubt: a cut model is nonsense before
training, so that its untrained loss says nothing, and a first rung replaces the guess.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from .arms import WHOLE, Arm
from .ledger import Training

__all__ = [
    "Outlook",
    "best_training",
    "expected_improvement",
    "final_outlooks",
    "new_outlook",
    "untried_outlook",
]

_POWER = 0.3
# Squared correlation of a rung with the end: 0.64 at a ninth, 0.80 at a third. LCBench curves
# have rank correlations of 0.66 to 0.94 and of 0.86 to 0.99 there.
_RELIABILITY = 0.2
# Standard deviation of log losses before anything was seen; it weighs as one training does.
_SPREAD, _PRIOR_WEIGHT = 0.2, 1
# What leaving out all layers would add to the log loss after training, were it linear: a
# guess, that a tenth of the layers costs a tenth of the loss.
_PER_SHARE = 1.0
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


def _ends(known: Sequence[Training]) -> dict[str, float]:
    """Return the final log loss that each training points to.

    By the curves of its arm where one of them is complete: a cut model falls faster.
    """
    curves: dict[tuple[Arm, float], float] = {}
    ends = {}
    for training in known:
        key = (Arm.of(training.adapter), training.fraction)
        if key not in curves and training.fraction < 1:
            alike = [t for t in known if Arm.of(t.adapter) == key[0]]
            has_full = any(t.is_full for t in alike)
            curves[key] = _drop(alike if has_full else known, training.fraction)
        ends[training.name] = _log(training.nll[training.fraction]) + curves.get(key, 0.0)
    return ends


def final_outlooks(trainings: Iterable[Training]) -> dict[str, Outlook]:
    """Return the belief about each training that has a loss, by adapter name."""
    known = [training for training in trainings if training.nll]
    if not known:
        return {}
    ends = _ends(known)
    by_arm: dict[Arm, list[float]] = {}
    for training in known:
        by_arm.setdefault(Arm.of(training.adapter), []).append(ends[training.name])
    centers, spread = {arm: fmean(found) for arm, found in by_arm.items()}, _spread(by_arm)
    outlooks = {}
    for training in known:
        share, center = training.fraction**_RELIABILITY, centers[Arm.of(training.adapter)]
        mean = center + share * (ends[training.name] - center)
        outlooks[training.name] = Outlook(mean=mean, sd=spread * math.sqrt(1 - share))
    return outlooks


def _spread(logs: Mapping[Arm, Sequence[float]]) -> float:
    """Return the standard deviation of final log losses in an arm, the prior's share included."""
    n = sum(map(len, logs.values()))
    around = sum(len(seen) * pstdev(seen) ** 2 for seen in logs.values())
    return math.sqrt((_PRIOR_WEIGHT * _SPREAD**2 + around) / (_PRIOR_WEIGHT + n))


def best_training(trainings: Iterable[Training]) -> Training | None:
    """Return the sound training with the lowest expected final loss, the first of equals."""
    sound = [t for t in trainings if t.failure is None and t.nll]
    outlooks = final_outlooks(sound)
    return min(sound, key=lambda training: outlooks[training.name].mean, default=None)


def new_outlook(outlooks: Iterable[Outlook]) -> Outlook:
    """Return the belief about a config that was never trained: like those of its arm."""
    means = [outlook.mean for outlook in outlooks]
    if not means:
        return Outlook(mean=0.0, sd=_SPREAD)
    return Outlook(mean=fmean(means), sd=_spread({WHOLE: means}))


def untried_outlook(known: Outlook, *, dropped: float, doubt: float) -> Outlook:
    """Return the belief about the first training of an arm.

    Args:
        known: about the same config in another arm.
        dropped: share of all layers that this arm leaves out beyond that one.
        doubt: standard deviation that comes with the arm's quantiser.
    """
    shift = max(0.0, dropped) * _PER_SHARE
    return Outlook(mean=known.mean + shift, sd=math.hypot(known.sd, shift, doubt))


def expected_improvement(outlook: Outlook, best: float) -> float:
    """Return E[max(best - X, 0)] for X normal (Mockus 1978); ``best`` is a log loss."""
    if outlook.sd == 0:
        return max(best - outlook.mean, 0.0)
    z = (best - outlook.mean) / outlook.sd
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    share = 0.5 * (1 + math.erf(z / math.sqrt(2)))
    return (best - outlook.mean) * share + outlook.sd * density
