"""What a search is asked to do: recipes, bounds, budgets and its few dials.

Everything here is fixed before the first step and goes into the run record; a
decision depends on nothing else but the outcomes and their recorded times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Self

from autotune.candidate import AdapterConfig, Recipe
from autotune.constraint import Constraint
from autotune.errors import UsageError
from autotune.measurement import METRIC_UNITS
from autotune.plain import digest

from .experience import Experience
from .priors import default_portfolio
from .space import SearchSpace

__all__ = ["DEFAULT_PRIOR_COSTS_S", "SamplerName", "SearchSettings", "default_rungs", "derive_seed"]

# Seconds a stage is thought to take before it has been seen: a 135M model on two cores
# (prototype figures). Callers give better ones; the first outcome replaces either.
DEFAULT_PRIOR_COSTS_S: Mapping[str, float] = {
    "finetune": 90.0,  # one training to the end
    "merge": 3.0,
    "build": 8.0,
    "score": 8.0,  # the validation split, once
    "measure": 3.0,  # one block of one model
}
# A first rung of 11 % keeps most winners, one of 4 % loses up to two thirds (LCBench curves);
# short trainings pay too much overhead per rung for it.
_LONG_TRAINING_S = 300.0
_FIRST_RUNG = 0.11


class SamplerName(StrEnum):
    """Who proposes adapter configs once the portfolio is used up."""

    TPE = "tpe"
    NSGAII = "nsgaii"
    GP = "gp"
    RANDOM = "random"
    GRID = "grid"


def derive_seed(*parts: object) -> int:
    """Return a 32-bit seed that depends on ``parts`` only, on every machine alike."""
    return int(digest([str(part) for part in parts])[:8], 16)


def default_rungs(training_s: float) -> tuple[float, ...]:
    """Return where a training of ``training_s`` seconds stops to be compared."""
    return (1 / 3, 1.0) if training_s < _LONG_TRAINING_S else (1 / 9, 1 / 3, 1.0)


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """The request and the dials of a ``StagedPlanner``.

    Attributes:
        recipes: what may be built, fastest expected first, distinct; those of cut models last.
        constraints: bounds; accuracy-like ones are judged on validation estimates here.
        budget_s: seconds for everything, confirmation included; None is no limit.
        max_trials: trained candidates scored or failed, at least 1; None is no limit.
            One of the two limits is needed.
        space: adapter configs that may be proposed.
        portfolio: configs tried first, in order; empty takes ``default_portfolio``.
        parameters: weights of the model, for the portfolio; unknown counts as small.
        experience: what other models taught, makes the portfolio where ``parameters`` are
            known; a portfolio given by name goes first.
        objectives: metrics that a trial is told with, in the study's order; accuracy and
            macro_f1 are told as errors. The front is over them and size.
        sampler: proposes configs after the portfolio.
        seed: of every draw.
        rungs: fractions at which trainings are compared, rising, the last one 1.
        prior_costs_s: seconds per stage before it was seen: finetune (one full training),
            merge, build, score, measure (a block), test (one model); ``build:RECIPE`` and
            the like override a stage for one recipe.
        hopeless_factor: the search ends at once if the fastest median of the first block
            is more than this many times over its bound.
        probe_recipes: recipes of that first block.
        census_rounds: blocks per recipe in the census, at least 2; with 32 requests a
            block, 2 reach the 59 samples that a 95th percentile needs.
        recheck_rounds: blocks for recipes whose interval spans a bound.
        census_share: share of the budget after which the census takes no further recipe.
        min_started: configs started before expected gain decides.
        min_full: configs trained to the end before expected gain decides.
        min_gain: relative improvement of the loss that is worth going on for.
        patience: configs in a row without that gain which end the search.
        max_failures: trainings failed in a row that end the search; twice as many where
            some of them diverged.
        finalists: candidates confirmed besides the baseline.
        confirm_rounds: blocks per finalist; six are the fewest that can be compared pair by pair.
        equal_accuracy: accuracies within this and without a significant paired
            difference count as equal.
        significance: p below which a paired difference counts as real.
        safety: factor on the time kept back for confirmation.
        model_layers: decoder layers of the model; needed where recipes leave some out.
        asks_depth: cut models are built, timed and trained whatever whole ones show, one
            training for each depth; else they are tried where whole ones need it.
        asks_quantiser: one training with a quantiser in the loop is made whatever the others
            show.
        compares_damage: recipes are compared by the damage that they do to the untrained
            model; else none of them beats another.
        takes_untrained: hand the untrained model over where every training did harm;
            else only what was trained.
        n_validation_rows, n_test_rows: rows scored per candidate, for cost estimates; 0
            is unknown.
    """

    recipes: tuple[Recipe, ...]
    constraints: tuple[Constraint, ...] = ()
    budget_s: float | None = None
    max_trials: int | None = None
    space: SearchSpace = field(default_factory=SearchSpace)
    portfolio: tuple[AdapterConfig, ...] = ()
    parameters: int | None = None
    experience: Experience | None = None
    objectives: tuple[str, ...] = ("accuracy", "latency.p95")
    sampler: SamplerName = SamplerName.TPE
    seed: int = 0
    rungs: tuple[float, ...] = (1 / 3, 1.0)
    prior_costs_s: Mapping[str, float] = field(default_factory=dict)
    hopeless_factor: float = 10.0
    probe_recipes: int = 3
    census_rounds: int = 2
    recheck_rounds: int = 4
    census_share: float = 0.4
    min_started: int = 3
    min_full: int = 2
    min_gain: float = 0.005
    patience: int = 20
    max_failures: int = 3
    finalists: int = 2
    confirm_rounds: int = 6
    equal_accuracy: float = 0.01
    significance: float = 0.05
    safety: float = 1.15
    model_layers: int | None = None
    asks_depth: bool = False
    asks_quantiser: bool = False
    compares_damage: bool = True
    takes_untrained: bool = True
    n_validation_rows: int = 0
    n_test_rows: int = 0

    def __post_init__(self) -> None:
        names = [recipe.name for recipe in self.recipes]
        if not names or len(set(names)) != len(names):
            raise UsageError(f"A search needs at least one recipe, each once, got {names!r}.")
        if self.budget_s is None and self.max_trials is None:
            raise UsageError("A search needs an end: set budget_s, max_trials or both.")
        if self.budget_s is not None and not (math.isfinite(self.budget_s) and self.budget_s > 0):
            raise UsageError(f"budget_s must be finite and above zero, got {self.budget_s!r}.")
        self._check_counts()
        self._check_levers()
        rises = self.rungs == tuple(sorted(set(self.rungs)))
        if not (self.rungs and rises and self.rungs[0] >= _FIRST_RUNG and self.rungs[-1] == 1):
            raise UsageError(
                f"rungs must rise from {_FIRST_RUNG} or more to 1.0, got {self.rungs!r};"
                " an earlier loss says too little about the end."
            )
        unknown = [name for name in self.objectives if name.partition(".")[0] not in METRIC_UNITS]
        if unknown or not self.objectives:
            raise UsageError(
                f"objectives are metrics, at least one, got {self.objectives!r};"
                f" choose from {', '.join(METRIC_UNITS)}."
            )
        for adapter in self.portfolio:
            self.space.check(adapter)

    def _check_counts(self) -> None:
        lowest = {"max_trials": 1, "probe_recipes": 1, "census_rounds": 2, "recheck_rounds": 1}
        lowest |= {"finalists": 1, "confirm_rounds": 1, "min_started": 1, "min_full": 1}
        lowest |= {"patience": 1, "max_failures": 1}
        for name, low in lowest.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise UsageError(f"{name} must be at least {low}, got {value!r}.")

    def _check_levers(self) -> None:
        """Check that trainings and recipes fit each other."""
        depths = {recipe.layers for recipe in self.recipes}
        if not depths.intersection(self.space.layers):
            raise UsageError(
                f"No recipe can be built from a training: depths are {self.space.layers!r} in the"
                f" space and {sorted(depths, key=str)!r} in the recipes; let them share one."
            )
        for layers in depths:
            if layers is not None and not layers < (self.model_layers or 0):
                raise UsageError(
                    f"A cut model keeps fewer layers than the model has, got {layers!r} of"
                    f" {self.model_layers!r}; set model_layers, or leave layers out."
                )
        known = {recipe.quantiser for recipe in self.recipes} - {None}
        if unknown := set(self.space.quantisers) - known:
            raise UsageError(
                f"Quantisers in the loop are those of recipes, got {sorted(unknown)!r}; choose"
                f" from {', '.join(sorted(map(str, known))) or 'none: no recipe quantises'}."
            )

    def with_recipes(self, recipes: tuple[Recipe, ...]) -> Self:
        """Return the same for some of the recipes, with the quantisers that they have."""
        known = {recipe.quantiser for recipe in recipes}
        quantisers = tuple(name for name in self.space.quantisers if name in known)
        return replace(self, recipes=recipes, space=self.space.with_quantisers(quantisers))

    @cached_property
    def whole_recipes(self) -> tuple[Recipe, ...]:
        """Recipes that keep every layer; all of them where none does."""
        return tuple(r for r in self.recipes if r.layers is None) or self.recipes

    @cached_property
    def cut_recipes(self) -> tuple[Recipe, ...]:
        """The other ones."""
        return tuple(r for r in self.recipes if r not in self.whole_recipes)

    @cached_property
    def first_configs(self) -> tuple[AdapterConfig, ...]:
        """Adapter configs to try before the sampler is asked."""
        if self.portfolio:
            return self.portfolio
        if self.experience is not None and self.parameters is not None:
            return self.experience.portfolio(self.space.without_levers, self.parameters)
        return default_portfolio(self.space, self.parameters)
