"""One search problem of a table: what every training, build and measurement came to.

Costs are seconds, losses nats, metrics in the base units of ``autotune.measurement``.
What a recipe costs to run is taken as the same for all its candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import TypeVar

from autotune.candidate import AdapterConfig, Recipe
from autotune.constraint import Constraint
from autotune.search import SearchSpace
from autotune.steps import OutcomeStatus

_Value = TypeVar("_Value", bound=str | float)

__all__ = ["Built", "Problem", "Rung", "Untrained"]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A training up to a share of its steps; ``cost_s`` is from the rung before."""

    cost_s: float
    loss: float | None = None
    status: OutcomeStatus = OutcomeStatus.MEASURED


@dataclass(frozen=True, kw_only=True)
class Built:
    """A full training built with a recipe.

    ``merge_s`` of ``cost_s`` are for merging, which whoever keeps it pays once per training.
    """

    cost_s: float
    merge_s: float = 0.0
    loss: float | None = None
    accuracy: float | None = None
    status: OutcomeStatus = OutcomeStatus.MEASURED


@dataclass(frozen=True, kw_only=True)
class Untrained:
    """A recipe without training: what the census pays for it, and the loss if recorded."""

    cost_s: float
    loss: float | None = None
    accuracy: float | None = None
    status: OutcomeStatus = OutcomeStatus.MEASURED


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A table's ``instance``.

    Attributes:
        rungs: shares at which trainings were recorded, the last one 1.
        trainings: by config and rung; absent where the training had failed before.
        built: by config and recipe, at the last rung.
        metrics: by recipe, then by metric.
        family, parameters, layers: of the model, where the table says so.
    """

    name: str
    configs: tuple[AdapterConfig, ...]
    recipes: tuple[Recipe, ...]
    rungs: tuple[float, ...]
    trainings: Mapping[tuple[AdapterConfig, float], Rung]
    built: Mapping[tuple[AdapterConfig, Recipe], Built]
    untrained: Mapping[Recipe, Untrained]
    metrics: Mapping[Recipe, Mapping[str, float]]
    family: str | None = None
    parameters: float | None = None
    layers: int | None = None

    @cached_property
    def space(self) -> SearchSpace:
        """The configs of the table and no others."""
        configs = self.configs
        first = configs[0]
        return SearchSpace(
            methods=_distinct(c.method for c in configs),
            ranks=_distinct(c.rank for c in configs),
            alpha_ratios=_distinct(c.alpha_ratio for c in configs),
            learning_rates=_distinct(c.learning_rate for c in configs),
            epochs=_distinct(c.epochs for c in configs),
            batch_sizes=_distinct(c.batch_size for c in configs),
            target_modules=_distinct(c.target_modules for c in configs),
            merge_bases=_distinct(c.merge_base for c in configs if c.method == "qlora")
            or ("dequantized",),
            quantisers=_distinct(c.quantiser for c in configs if c.quantiser),
            layers=tuple(dict.fromkeys(sorted((c.layers for c in configs), key=_depth_first))),
            warmup=first.warmup,
            dropout=first.dropout,
            weight_decay=first.weight_decay,
            seed=first.seed,
            listed=configs,
        )

    def train_cost_s(self, config: AdapterConfig) -> float:
        """Return seconds of a training to its end, or to where it failed."""
        return sum(
            self.trainings[config, rung].cost_s
            for rung in self.rungs
            if (config, rung) in self.trainings
        )

    def training_fails(self, config: AdapterConfig) -> bool:
        """Whether the training does not reach its end."""
        last = self.trainings.get((config, self.rungs[-1]))
        return last is None or last.loss is None

    def is_feasible(self, recipe: Recipe, limits: tuple[Constraint, ...]) -> bool:
        """Whether the recipe meets every limit; a metric that is not recorded has none."""
        found = self.metrics[recipe]
        return all(
            limit.normalized(found[limit.metric]) <= 0 for limit in limits if limit.metric in found
        )

    def best(self, limits: tuple[Constraint, ...]) -> tuple[AdapterConfig, Recipe, float] | None:
        """Return the feasible candidate with the lowest loss, or None."""
        found = [
            (built.loss, config, recipe)
            for (config, recipe), built in self.built.items()
            if built.loss is not None and self.is_feasible(recipe, limits)
        ]
        if not found:
            return None
        loss, config, recipe = min(found, key=lambda row: row[0])
        return config, recipe, loss

    @cached_property
    def typical_training_s(self) -> float:
        """Median seconds of a training to its end."""
        return median(self.train_cost_s(config) for config in self.configs)


def _distinct(values: Iterable[_Value]) -> tuple[_Value, ...]:
    return tuple(sorted(set(values), key=_place))


def _place(value: str | float) -> tuple[float, str]:
    return (0.0, value) if isinstance(value, str) else (value, "")


def _depth_first(layers: int | None) -> tuple[bool, int]:
    return (layers is not None, -(layers or 0))
