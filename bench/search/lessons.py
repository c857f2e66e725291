"""What the problems of a table teach about each other, families left out; and wrong lessons.

Nothing of a problem's own family (all sizes, base and tuned siblings) is ever among its
lessons, since siblings know the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from autotune.candidate import AdapterConfig
from autotune.search import Experience, PastResult, PastTask, derive_seed, learn

from .problem import Problem

__all__ = ["PRIORS", "experiences", "past_task"]

# The planner's own portfolio; learned; learned from losses dealt out anew among the configs
# of each problem; learned from losses turned round, so that the best is said to be the worst.
PRIORS = ("default", "learned", "shuffled", "reversed")


def past_task(problem: Problem, *, prior: str, seed: int) -> PastTask | None:
    """Return what ``problem`` teaches, made wrong on purpose where ``prior`` says so."""
    losses = [_best_loss(problem, config) for config in problem.configs]
    if prior == "shuffled":
        random = Random(derive_seed(seed, "shuffle", problem.name))  # noqa: S311 - no secrets
        random.shuffle(losses)
    known = [loss for loss in losses if loss is not None]
    if len(known) < 2 or problem.parameters is None or problem.family is None:
        return None
    if prior == "reversed":
        # The order turned round, geometric means kept: what was best is said to be worst.
        losses = [None if loss is None else min(known) * max(known) / loss for loss in losses]
    return PastTask(
        name=problem.name,
        family=problem.family,
        parameters=problem.parameters,
        results=tuple(
            PastResult(learning_rate=config.learning_rate, rank=config.rank, nll=loss)
            for config, loss in zip(problem.configs, losses, strict=True)
        ),
    )


def _best_loss(problem: Problem, config: AdapterConfig) -> float | None:
    found = [b.loss for (c, _), b in problem.built.items() if c == config and b.loss is not None]
    return min(found, default=None)


def experiences(
    problems: Sequence[Problem], *, prior: str, seed: int
) -> dict[str | None, Experience | None]:
    """Return by family what the problems of all other families teach."""
    tasks = [task for p in problems if (task := past_task(p, prior=prior, seed=seed))]
    found: dict[str | None, Experience | None] = {}
    for family in {problem.family for problem in problems}:
        others = [task for task in tasks if task.family != family]
        found[family] = learn(others) if others and family is not None else None
    return found
