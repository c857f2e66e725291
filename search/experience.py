"""What other models taught about adapter configs: which to try first on a new one.

A task of the past gives a curve: the logarithm of its final loss as a quadratic in the
logarithms of learning rate and rank. A config is promising if, by the curves of tasks with
models of like size, it ends within ``gap`` of the best. The first config is the one that
most such tasks (by weight) would be content with, the next one the same among those that
would not have been content so far: a greedy cover, so the second guess hedges the first.

Ranks count by their share of the largest on offer: the largest was chosen to fit the model.
A wrong experience costs at most the ``most`` trainings of its portfolio, then the sampler
takes over, which has learned from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from autotune.candidate import AdapterConfig
from autotune.errors import UsageError

from .space import SearchSpace

__all__ = ["Experience", "PastResult", "PastTask", "learn"]

_TERMS = 5
# Runs count less the further they lie above the best (e-fold of weight per 2 % of loss): the
# curve is to be right near its bottom. The ridge keeps few points from bending it.
_NEAR, _RIDGE = 0.02, 0.02
_TINY = 1e-9
# e-folds of model size over which experience carries; ``learn`` takes the best of them.
_BANDWIDTHS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)


@dataclass(frozen=True, kw_only=True)
class PastResult:
    """A training to its end; ``nll`` is None where it diverged."""

    learning_rate: float
    rank: int
    nll: float | None


@dataclass(frozen=True, kw_only=True)
class PastTask:
    """What trainings of one model came to.

    Attributes:
        family: models of one make; they know of each other.
        parameters: weights of the model, above 0.
        results: at least two that did not fail.
    """

    name: str
    family: str
    parameters: float
    results: tuple[PastResult, ...]

    def __post_init__(self) -> None:
        if not (self.parameters > 0 and len(self._sound) > 1):
            raise UsageError(f"{self.name!r} needs parameters above 0 and two finished trainings.")

    @cached_property
    def _sound(self) -> tuple[PastResult, ...]:
        return tuple(result for result in self.results if result.nll is not None)

    @cached_property
    def _top_rank(self) -> int:
        return max(result.rank for result in self.results)

    @cached_property
    def _curve(self) -> tuple[float, ...]:
        """Coefficients of ``_terms``, by weighted ridge regression."""
        import numpy as np  # noqa: PLC0415 - heavy

        logs = np.array([math.log(result.nll or 1.0) for result in self._sound])
        excess = logs - logs.min()
        terms = np.array(
            [self._terms(r.learning_rate, r.rank, self._top_rank) for r in self._sound]
        )
        weights = np.sqrt(np.exp(-excess / _NEAR) + 1e-3)[:, None]
        rows = np.vstack([terms * weights, _RIDGE * np.eye(_TERMS)])
        sides = np.concatenate([excess * weights[:, 0], np.zeros(_TERMS)])
        return tuple(float(value) for value in np.linalg.lstsq(rows, sides, rcond=None)[0])

    @staticmethod
    def _terms(rate: float, rank: int, top_rank: int) -> tuple[float, ...]:
        x, y = math.log(rate / 3e-4), math.log(rank / top_rank)
        return (1.0, x, x * x, y, x * y)

    def excess(self, config: AdapterConfig, top_rank: int) -> float:
        """Return the log loss expected of ``config``, from a zero of its own; inf is a failure.

        ``top_rank`` is the largest rank on offer. A config fails here if the nearest that
        was tried failed.
        """
        if self._nearest(config, top_rank).nll is None:
            return math.inf
        terms = self._terms(config.learning_rate, config.rank, top_rank)
        return sum(a * b for a, b in zip(self._curve, terms, strict=True))

    def _nearest(self, config: AdapterConfig, top_rank: int) -> PastResult:
        def distance(result: PastResult) -> float:
            rate = math.log(config.learning_rate / result.learning_rate)
            rank = math.log(config.rank / top_rank) - math.log(result.rank / self._top_rank)
            return abs(rate) + abs(rank)

        return min(self.results, key=distance)


@dataclass(frozen=True, kw_only=True)
class Experience:
    """Tasks of the past, and how far they carry.

    Attributes:
        bandwidth: e-folds of model size over which a task loses weight.
        gap: relative loss within which a config is as good as the best.
        most: configs of a portfolio.
    """

    tasks: tuple[PastTask, ...]
    bandwidth: float = 1.0
    gap: float = 0.005
    most: int = 3

    def __post_init__(self) -> None:
        if not (self.tasks and self.bandwidth > 0 and self.gap > 0 and self.most > 0):
            raise UsageError("An experience needs tasks, and dials above zero.")

    def portfolio(self, space: SearchSpace, parameters: float) -> tuple[AdapterConfig, ...]:
        """Return at most ``most`` configs of ``space`` to begin with, best guess first."""
        configs = tuple(space.grid())
        content = [_content(task, configs, self.gap) for task in self.tasks]
        left = [self._weight(task, parameters) for task in self.tasks]
        order: list[int] = []
        for _ in range(min(self.most, len(configs))):
            gains = [
                -1.0
                if n in order
                else sum(w * row[n] for w, row in zip(left, content, strict=True))
                for n in range(len(configs))
            ]
            best = max(range(len(configs)), key=gains.__getitem__)
            order.append(best)
            left = [w * (1 - row[best]) + _TINY for w, row in zip(left, content, strict=True)]
        return tuple(configs[n] for n in order)

    def _weight(self, task: PastTask, parameters: float) -> float:
        folds = math.log(task.parameters / parameters) / self.bandwidth
        return math.exp(-folds * folds / 2) + _TINY


@lru_cache(maxsize=4096)  # ``learn`` asks for the same with every bandwidth
def _content(task: PastTask, configs: tuple[AdapterConfig, ...], gap: float) -> tuple[float, ...]:
    """Return by config how surely ``task`` puts it within ``gap`` of the best of them."""
    top_rank = max(config.rank for config in configs)
    values = [task.excess(config, top_rank) for config in configs]
    least = min(values)
    if math.isinf(least):
        return (0.0,) * len(values)
    return tuple(math.exp(-(((value - least) / gap) ** 2) / 2) for value in values)


def learn(tasks: Sequence[PastTask]) -> Experience:
    """Return the experience of ``tasks``, with the bandwidth that serves them best.

    Every family is predicted from the others, and the trainings needed until one is within
    the gap are counted.
    """
    if len({task.family for task in tasks}) < 2:  # noqa: PLR2004 - none to predict from
        return Experience(tasks=tuple(tasks))
    return min(
        (Experience(tasks=tuple(tasks), bandwidth=bandwidth) for bandwidth in _BANDWIDTHS),
        key=_trainings_needed,
    )


def _trainings_needed(experience: Experience) -> float:
    return sum(_needed(experience, task) for task in experience.tasks)


def _needed(experience: Experience, task: PastTask) -> int:
    """Return the trainings until ``task`` is solved by the experience of other families."""
    others = tuple(other for other in experience.tasks if other.family != task.family)
    loss_of = {
        AdapterConfig(learning_rate=result.learning_rate, rank=result.rank): result.nll
        for result in task.results
    }
    space = SearchSpace(
        learning_rates=tuple(sorted({config.learning_rate for config in loss_of})),
        ranks=tuple(sorted({config.rank for config in loss_of})),
        listed=tuple(loss_of),
    )
    limit = min(nll for nll in loss_of.values() if nll is not None) * (1 + experience.gap)
    guesses = Experience(
        tasks=others, bandwidth=experience.bandwidth, gap=experience.gap, most=experience.most
    ).portfolio(space, task.parameters)
    losses = [loss_of[config] for config in guesses]
    hits = [n for n, nll in enumerate(losses, start=1) if nll is not None and nll <= limit]
    return hits[0] if hits else len(losses) + 1
