"""What depth and a quantiser in the loop bought: the best candidate with and without each."""

from __future__ import annotations

from autotune.candidate import AdapterConfig
from autotune.steps import LeverResult

from .choice import Chooser
from .depth import DepthView
from .ledger import Ledger
from .settings import SearchSettings

__all__ = ["lever_results"]


def lever_results(
    settings: SearchSettings, ledger: Ledger, chooser: Chooser
) -> tuple[LeverResult, ...]:
    """Return a result for each lever that this search could pull."""
    results = []
    if settings.cut_recipes:
        results.append(
            LeverResult(
                lever="depth",
                best_with=chooser.best_of(lambda one: one.recipe.layers is not None),
                best_without=chooser.best_of(lambda one: one.recipe.layers is None),
                reason=DepthView(settings=settings, ledger=ledger).against,
            )
        )
    if settings.space.quantisers:
        begun = any(t.adapter.quantiser for t in ledger.trainings.values())
        results.append(
            LeverResult(
                lever="quantiser",
                best_with=chooser.best_of(lambda one: _is_aware(one.adapter)),
                best_without=chooser.best_of(lambda one: not _is_aware(one.adapter)),
                reason="" if begun else "no build lost enough by rounding to be worth a training",
            )
        )
    return tuple(results)


def _is_aware(adapter: AdapterConfig | None) -> bool:
    return adapter is not None and adapter.quantiser is not None
