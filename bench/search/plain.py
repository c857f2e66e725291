"""Searches without a planner: they train a candidate, build it and only then look at it.

Every method pays the whole training and the build of each candidate it takes; with
``cached`` a config that was trained before pays the build only, without the merge. A
candidate that was taken before is never run again: its values are told once more at no cost.
"""

from __future__ import annotations

import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Any

from autotune.candidate import AdapterConfig, Recipe

from .trace import Find, Goal, Trace, speed_of

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.samplers import BaseSampler

__all__ = ["fixed_list", "grid", "nsgaii", "random", "tpe"]

Pair = tuple[AdapterConfig, Recipe]
_MOST_REPEATS = 5  # then a candidate is drawn, so that a sampler cannot stall


@dataclass(kw_only=True)
class _Bench:
    """Pays for candidates and writes the trace."""

    goal: Goal
    cached: bool
    cap_s: float
    trace: Trace = field(default_factory=Trace)
    taken: set[Pair] = field(default_factory=set)
    trained: set[AdapterConfig] = field(default_factory=set)

    @property
    def is_over(self) -> bool:
        """Whether the time is up or nothing is left."""
        return self.trace.spent_s >= self.cap_s or len(self.taken) == len(self.all)

    @cached_property
    def all(self) -> list[Pair]:
        """Every candidate that can be had: those the table has, and trainings that failed."""
        problem = self.goal.problem
        return [
            pair
            for pair in itertools.product(problem.configs, problem.recipes)
            if pair in problem.built or problem.training_fails(pair[0])
        ]

    def take(self, pair: Pair) -> float | None:
        """Train, build and score a candidate; return its loss, or None if it failed."""
        config, recipe = pair
        problem, trace = self.goal.problem, self.trace
        built = problem.built.get(pair)
        if pair not in self.taken:
            self._pay(config, recipe)
        self.taken.add(pair)
        if built is None or built.loss is None:
            return None
        if problem.is_feasible(recipe, self.goal.limits):
            speed = speed_of(problem, recipe)
            trace.finds.append(Find(spent_s=trace.spent_s, loss=built.loss, speed=speed))
        return built.loss

    def _pay(self, config: AdapterConfig, recipe: Recipe) -> None:
        problem, trace = self.goal.problem, self.trace
        built = problem.built.get((config, recipe))
        is_known = self.cached and config in self.trained
        if not is_known:
            seconds = problem.train_cost_s(config)
            trace.spent_s += seconds
            trace.trainings += 1
            if not problem.is_feasible(recipe, self.goal.limits):
                trace.wasted += 1
                trace.wasted_s += seconds
        self.trained.add(config)
        if built is not None and not problem.training_fails(config):
            trace.spent_s += built.cost_s - (built.merge_s if is_known else 0.0)


def random(goal: Goal, *, seed: int, cap_s: float, cached: bool) -> Trace:
    """Take candidates in an even random order, none twice."""
    bench = _Bench(goal=goal, cached=cached, cap_s=cap_s)
    order = bench.all
    Random(seed).shuffle(order)  # noqa: S311 - a baseline, no secrets
    return _in_order(bench, order)


def grid(goal: Goal, *, seed: int, cap_s: float, cached: bool) -> Trace:
    """Take candidates in the order of the table; every seed is the same."""
    del seed
    bench = _Bench(goal=goal, cached=cached, cap_s=cap_s)
    return _in_order(bench, bench.all)


def fixed_list(goal: Goal, *, seed: int, cap_s: float, cached: bool) -> Trace:
    """Train (3e-4, highest rank), (1e-3, highest), (3e-4, middle), then stop; build all recipes.

    The nearest config of the table stands in for one that it lacks.
    """
    del seed
    bench = _Bench(goal=goal, cached=cached, cap_s=cap_s)
    configs = list(goal.problem.configs)
    ranks = sorted({config.rank for config in configs})
    chosen: list[AdapterConfig] = []
    for rate, rank in ((3e-4, ranks[-1]), (1e-3, ranks[-1]), (3e-4, ranks[(len(ranks) - 1) // 2])):
        left = [config for config in configs if config not in chosen]
        if left:
            chosen.append(min(left, key=lambda c: _distance(c, rate, rank)))
    pairs = itertools.product(chosen, goal.problem.recipes)
    return _in_order(bench, [pair for pair in pairs if pair in set(bench.all)])


def _distance(config: AdapterConfig, rate: float, rank: int) -> tuple[float, float]:
    return abs(math.log(config.learning_rate / rate)), abs(math.log(config.rank / rank))


def _in_order(bench: _Bench, order: Sequence[Pair]) -> Trace:
    began = time.process_time()
    for pair in order:
        if bench.is_over:
            break
        bench.take(pair)
    bench.trace.overhead_s = time.process_time() - began
    return bench.trace


def tpe(goal: Goal, *, seed: int, cap_s: float, cached: bool) -> Trace:
    """Ask Optuna's TPE as it is by default; one objective, the limits as constraints."""

    def sampler() -> BaseSampler:
        from optuna.samplers import TPESampler  # noqa: PLC0415 - heavy

        return TPESampler(seed=seed)

    bench = _Bench(goal=goal, cached=cached, cap_s=cap_s)
    return _optuna(bench, sampler, seed=seed, n_objectives=1)


def nsgaii(goal: Goal, *, seed: int, cap_s: float, cached: bool) -> Trace:
    """Ask Optuna's NSGA-II as it is by default; loss and latency, the limits as constraints."""

    def sampler() -> BaseSampler:
        from optuna.samplers import NSGAIISampler  # noqa: PLC0415 - heavy

        return NSGAIISampler(seed=seed)

    bench = _Bench(goal=goal, cached=cached, cap_s=cap_s)
    has_latency = all(speed_of(goal.problem, recipe) is not None for recipe in goal.problem.recipes)
    return _optuna(bench, sampler, seed=seed, n_objectives=2 if has_latency else 1)


def _optuna(
    bench: _Bench, sampler: Callable[[], BaseSampler], *, seed: int, n_objectives: int
) -> Trace:
    import optuna  # noqa: PLC0415 - heavy

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(sampler=sampler(), directions=["minimize"] * n_objectives)
        drawn, repeats = _shuffled(bench, seed), 0
        while not bench.is_over:
            if repeats >= _MOST_REPEATS:
                params = _params(bench, next(pair for pair in drawn if pair not in bench.taken))
                study.enqueue_trial(params)
            is_new = _ask_and_tell(bench, study)
            repeats = 0 if is_new else repeats + 1
    bench.trace.overhead_s = time.process_time() - began
    return bench.trace


def _shuffled(bench: _Bench, seed: int) -> Iterator[Pair]:
    order = bench.all
    Random(seed).shuffle(order)  # noqa: S311 - a baseline, no secrets
    return iter(order)


def _ask_and_tell(bench: _Bench, study: Study) -> bool:
    """Run one trial; return whether its candidate was a new one."""
    from optuna.trial import TrialState  # noqa: PLC0415 - heavy

    trial = study.ask()
    pair = _suggest(bench, trial)
    if pair is None:  # a combination that the table does not have
        study.tell(trial, state=TrialState.FAIL)
        return False
    is_new = pair not in bench.taken
    loss = bench.take(pair)
    problem, recipe = bench.goal.problem, pair[1]
    for limit in bench.goal.limits:
        if limit.metric in problem.metrics[recipe]:
            value = limit.normalized(problem.metrics[recipe][limit.metric])
            trial.set_constraint(str(limit), value)
    if loss is None:
        study.tell(trial, state=TrialState.FAIL)
    else:
        speed = speed_of(problem, recipe)
        study.tell(trial, [loss, speed or 0.0][: len(study.directions)])
    return is_new


def _dimensions(bench: _Bench) -> dict[str, tuple[Any, ...]]:
    problem = bench.goal.problem
    found = {d.name: d.choices for d in problem.space.dimensions() if hasattr(d, "choices")}
    return found | {"recipe": tuple(recipe.name for recipe in problem.recipes)}


def _suggest(bench: _Bench, trial: Trial) -> Pair | None:
    """Return the candidate a trial asks for; numbers are asked for by their place in order."""
    values: dict[str, Any] = {}
    for name, choices in _dimensions(bench).items():
        if name == "recipe" or isinstance(choices[0], str):
            values[name] = trial.suggest_categorical(name, choices)
        else:
            values[name] = choices[trial.suggest_int(name, 0, len(choices) - 1)]
    problem = bench.goal.problem
    config = problem.space.from_params(values)
    recipe = next(r for r in problem.recipes if r.name == values["recipe"])
    is_known = problem.space.holds(config) and (
        (config, recipe) in problem.built or problem.training_fails(config)
    )
    return (config, recipe) if is_known else None


def _params(bench: _Bench, pair: Pair) -> dict[str, Any]:
    """Return the parameters with which a trial asks for ``pair``."""
    config, recipe = pair
    found: dict[str, Any] = {"recipe": recipe.name}
    for name, choices in _dimensions(bench).items():
        if name != "recipe":
            value = getattr(config, name)
            found[name] = value if isinstance(value, str) else choices.index(value)
    return found
