"""What a run's configuration and estimates make of the search's settings."""

from __future__ import annotations

import math
from dataclasses import replace

from autotune.candidate import AdapterConfig, Recipe
from autotune.chained import OpenedChain
from autotune.config import RunConfig
from autotune.depths import DepthOffer
from autotune.errors import UsageError
from autotune.estimate import Estimates
from autotune.kinds import quality_of
from autotune.search import (
    SamplerName,
    SearchSettings,
    SearchSpace,
    default_portfolio,
    default_rungs,
    minimum_budget_s,
)
from autotune.task import TokenizedTask
from autotune.trainings import QAT
from autotune.units import format_duration

__all__ = ["make_settings"]

# A search that begins at given values looks this far around their learning rate.
_RATE_FACTOR = 4.0


def make_settings(
    config: RunConfig,
    *,
    recipes: tuple[Recipe, ...],
    depths: DepthOffer,
    parameters: int,
    tokens: TokenizedTask,
    estimates: Estimates,
    space: SearchSpace,
    chain: OpenedChain,
) -> SearchSettings:
    """Return the settings of a search, or of a chain that leaves nothing to search.

    Args:
        config: the request.
        recipes: what may be built of the whole model.
        depths: layers that may be left out.
        parameters: weights of the model.
        tokens: the data.
        estimates: expected cost.
        space: adapter configs to search where the chain fixes none.
        chain: what the configuration fixes.

    Raises:
        UsageError: a budget below the cost of one training.
    """
    settings = SearchSettings(
        recipes=(*recipes, *depths.recipes(recipes)),
        model_layers=depths.total,
        asks_depth=depths.is_asked,
        asks_quantiser=QAT in config.trainings.methods,
        constraints=config.constraints,
        budget_s=config.budget_s,
        max_trials=config.max_trials,
        space=space,
        parameters=parameters,
        sampler=SamplerName(config.sampler),
        seed=config.seed,
        objectives=(quality_of(tokens.validation.kind), "latency.p95"),
        rungs=default_rungs(estimates.training_s),
        prior_costs_s=estimates.stage_s,
        n_validation_rows=len(tokens.validation.rows),
        n_test_rows=len(tokens.test.rows),
    )
    if chain.adapter is not None:
        settings = _around(settings, chain.adapter, is_opened=chain.is_opened)
    _check_budget(settings)
    return settings


def _around(settings: SearchSettings, adapter: AdapterConfig, *, is_opened: bool) -> SearchSettings:
    """Return the settings with ``adapter`` tried first; as the only one unless opened."""
    only = SearchSpace.only(adapter)
    if not is_opened:
        return replace(settings, space=only, rungs=(1.0,), takes_untrained=False)
    usual, rate = settings.space, adapter.learning_rate
    low, high = usual.learning_rate
    space = replace(
        only,
        ranks=tuple(sorted({*usual.ranks, adapter.rank})),
        alpha_ratios=tuple(sorted({*usual.alpha_ratios, adapter.alpha_ratio})),
        learning_rates=(),
        learning_rate=(min(low, rate / _RATE_FACTOR), max(high, rate * _RATE_FACTOR)),
    )
    portfolio = dict.fromkeys((adapter, *default_portfolio(space, settings.parameters)))
    return replace(settings, space=space, portfolio=tuple(portfolio))


def _check_budget(settings: SearchSettings) -> None:
    least = minimum_budget_s(settings)
    if settings.budget_s is not None and settings.budget_s < least:
        raise UsageError(
            f"--budget {format_duration(settings.budget_s)} is below one training with its census"
            f" and confirmation, which take about {format_duration(least)} here; allow"
            f" {math.ceil(least / 60)}m or more."
        )
