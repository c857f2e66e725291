"""Whether an execution provider can meet the bounds on time at all, by a first look.

A median far over a bound leaves no hope for a 95th percentile, and the recipes of one
provider differ by a few times, not by ten: the rest of them is then not even built.
"""

from __future__ import annotations

from collections.abc import Sequence

from autotune.candidate import Recipe
from autotune.constraint import Constraint
from autotune.measurement import Measurement
from autotune.units import format_quantity

from .ledger import Ledger, untrained
from .settings import SearchSettings

__all__ = ["hopeless_latency_s", "out_of_reach", "seen_costs", "timed_bounds"]

_TIMED = ("latency", "ttft", "tpot")


def timed_bounds(constraints: Sequence[Constraint]) -> list[Constraint]:
    """Return the maxima of timings."""
    return [c for c in constraints if c.op == "<=" and c.metric.partition(".")[0] in _TIMED]


def _median_of(bound: Constraint) -> str:
    return f"{bound.metric.partition('.')[0]}.p50"


def hopeless_latency_s(
    constraints: Sequence[Constraint], *, factor: float = SearchSettings.hopeless_factor
) -> float | None:
    """Return the request latency that is hopeless under ``constraints``, None without a bound.

    For whoever times: a model whose requests take longer need not be asked all of them.
    """
    bounds = [c.bound for c in timed_bounds(constraints) if c.metric.startswith("latency.")]
    return factor * min(bounds) if bounds else None


def out_of_reach(settings: SearchSettings, ledger: Ledger, provider: str) -> str:
    """Return why no recipe of ``provider`` can meet the bounds by far, or an empty string."""
    looks = _looks(settings, ledger, provider)
    for bound in timed_bounds(settings.constraints):
        median = _median_of(bound)
        found = [
            (metrics.get(median) or metrics[bound.metric]).value
            for metrics in looks
            if median in metrics or bound.metric in metrics
        ]
        if found and min(found) > settings.hopeless_factor * bound.bound:
            return (
                f"the fastest of the first {len(found)} recipes for {provider} has {median}"
                f" {format_quantity(min(found), bound.unit)}, more than"
                f" {settings.hopeless_factor:g} times the bound {bound}"
            )
    return ""


def _looks(settings: SearchSettings, ledger: Ledger, provider: str) -> list[dict[str, Measurement]]:
    """Return what the first blocks showed of recipes for ``provider``."""
    return [
        ledger.probe[name]
        for recipe in settings.recipes
        if recipe.provider == provider and (name := untrained(recipe).name) in ledger.probe
    ]


def seen_costs(settings: SearchSettings, ledger: Ledger, recipe: Recipe) -> dict[str, Measurement]:
    """Return the census of ``recipe``; what that lacks is from its first block.

    A median stands in for a percentile there, and where the provider is out of reach
    its first recipe for those that were not even built.
    """
    first = dict(ledger.probe.get(untrained(recipe).name, {}))
    if not first and out_of_reach(settings, ledger, recipe.provider):
        first = dict(_looks(settings, ledger, recipe.provider)[0])
    for bound in timed_bounds(settings.constraints):
        if median := first.get(_median_of(bound)):
            first.setdefault(bound.metric, median)
    return first | ledger.census_costs(recipe)
