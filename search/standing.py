"""How recipes stand after the census: judged against the bounds, then thinned out.

Three rules decide. A recipe whose interval lies beyond a bound is infeasible. One
whose interval spans it is re-measured once; if it stays uncertain it is carried on
only where no certain recipe damages the model as little, and only the confirmation
can make it feasible. Of the rest, one is dominated if another of equal ``layers``
damages the model less (or as little, and is smaller) and is not measurably slower;
damage says nothing across ``layers``, because training heals them differently. Where
all that remains is close to a bound on time, the dominated recipe with the most room
below it is carried on as well, or a bad moment at the confirmation leaves no model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from autotune.candidate import Recipe
from autotune.constraint import Constraint, Verdict
from autotune.measurement import Measurement
from autotune.units import format_quantity

from .damage import dominated, is_beaten
from .depth import DepthView
from .latency import typical_latency
from .ledger import Ledger, untrained
from .reach import out_of_reach, timed_bounds
from .room import LITTLE_ROOM, room_of
from .settings import SearchSettings
from .verdicts import cost_constraints, cost_verdict

__all__ = [
    "CensusEntry",
    "CensusState",
    "census_entries",
    "surviving_recipes",
]


class CensusState(StrEnum):
    """What the census says about a recipe."""

    KEPT = "kept"
    BORDERLINE = "borderline"
    DOMINATED = "dominated"
    INFEASIBLE = "infeasible"
    UNCERTAIN = "uncertain"
    FAILED = "failed"
    NOT_TRIED = "not tried"


_CARRIED = (CensusState.KEPT, CensusState.BORDERLINE)


@dataclass(frozen=True, kw_only=True)
class CensusEntry:
    """A recipe's place after the census; ``reason`` is for people."""

    recipe: Recipe
    state: CensusState
    reason: str


def census_entries(settings: SearchSettings, ledger: Ledger) -> dict[str, CensusEntry]:
    """Return the place of every recipe, by its name, in the order of ``settings.recipes``."""
    judged = {recipe.name: _judge(settings, ledger, recipe) for recipe in settings.recipes}
    kept = [entry.recipe for entry in judged.values() if entry.state is CensusState.KEPT]
    for recipe, better in dominated(ledger, kept) if settings.compares_damage else ():
        reason = f"{better.name} damages the model less and is not measurably slower"
        judged[recipe.name] = CensusEntry(recipe=recipe, state=CensusState.DOMINATED, reason=reason)
    for entry in list(judged.values()):
        if entry.state is CensusState.UNCERTAIN and not (
            settings.compares_damage and is_beaten(ledger, entry.recipe, kept)
        ):
            judged[entry.recipe.name] = CensusEntry(
                recipe=entry.recipe,
                state=CensusState.BORDERLINE,
                reason="spans a bound, but no certain recipe damages the model as little",
            )
    if (asked := _asked(settings, ledger, judged)) is not None:
        reason = f"{asked.quantiser} in the training loop was asked for"
        judged[asked.name] = CensusEntry(recipe=asked, state=CensusState.KEPT, reason=reason)
    if (hedge := _hedge(settings, ledger, judged)) is not None:
        reason = "keeps most room below the bounds, should no better one hold when measured again"
        judged[hedge.name] = CensusEntry(recipe=hedge, state=CensusState.KEPT, reason=reason)
    return judged


def _asked(
    settings: SearchSettings, ledger: Ledger, judged: Mapping[str, CensusEntry]
) -> Recipe | None:
    """Return the fastest dominated recipe of a quantiser in the loop, where none is carried.

    Only if such a training was asked for: it undoes a part of the damage that a recipe is
    beaten by, so that damage is no reason to refuse it.
    """
    if not settings.asks_quantiser:
        return None
    own = [e for e in judged.values() if e.recipe.quantiser in settings.space.quantisers]
    beaten = [e.recipe for e in own if e.state is CensusState.DOMINATED]
    if any(entry.state in _CARRIED for entry in own) or not beaten:
        return None
    timed = ((typical_latency(ledger.census_costs(recipe)), recipe) for recipe in beaten)
    return min(timed, key=lambda pair: pair[0].value if pair[0] else math.inf)[1]


def _hedge(
    settings: SearchSettings, ledger: Ledger, judged: Mapping[str, CensusEntry]
) -> Recipe | None:
    """Return the dominated recipe to carry on where every other one is close to a bound."""
    carried = [e.recipe for e in judged.values() if e.state in _CARRIED]
    dominated = [e.recipe for e in judged.values() if e.state is CensusState.DOMINATED]
    if not carried or not dominated or not timed_bounds(settings.constraints):
        return None
    room = max(room_of(settings, ledger, recipe) for recipe in carried)
    safest = max(dominated, key=lambda recipe: room_of(settings, ledger, recipe))
    is_safer = room_of(settings, ledger, safest) > room
    return safest if room < LITTLE_ROOM and is_safer else None


def surviving_recipes(settings: SearchSettings, ledger: Ledger) -> tuple[Recipe, ...]:
    """Return the recipes that trainings are built with, in the order of the settings."""
    entries = census_entries(settings, ledger).values()
    return tuple(entry.recipe for entry in entries if entry.state in _CARRIED)


def _judge(settings: SearchSettings, ledger: Ledger, recipe: Recipe) -> CensusEntry:
    failure, base = ledger.recipe_failure(recipe), untrained(recipe)
    if failure:
        reason = f"{failure.status}: {failure.reason}"
        return CensusEntry(recipe=recipe, state=CensusState.FAILED, reason=reason)
    if reason := out_of_reach(settings, ledger, recipe.provider):
        return CensusEntry(recipe=recipe, state=CensusState.INFEASIBLE, reason=reason)
    costs = ledger.census_costs(recipe)
    verdict = cost_verdict(settings.constraints, costs)
    if verdict is Verdict.FAIL:
        reason = f"violates {_broken(settings, costs)}"
        return CensusEntry(recipe=recipe, state=CensusState.INFEASIBLE, reason=reason)
    if base.name not in ledger.scores or base.name not in ledger.census:
        reason = DepthView(settings=settings, ledger=ledger).why_not(recipe)
        return CensusEntry(recipe=recipe, state=CensusState.NOT_TRIED, reason=reason)
    if verdict is Verdict.UNCERTAIN:
        reason = "its interval spans a bound after all rounds"
        return CensusEntry(recipe=recipe, state=CensusState.UNCERTAIN, reason=reason)
    return CensusEntry(recipe=recipe, state=CensusState.KEPT, reason="meets every bound on cost")


def _broken(settings: SearchSettings, costs: dict[str, Measurement]) -> str:
    return ", ".join(
        f"{bound} with {_shown(bound, costs)}"
        for bound in cost_constraints(settings.constraints)
        if bound.judge(costs) is Verdict.FAIL
    )


def _shown(bound: Constraint, costs: dict[str, Measurement]) -> str:
    """Return what breaks ``bound``: its metric, or the median in place of a percentile."""
    if bound.metric in costs:
        return format_quantity(costs[bound.metric].value, bound.unit)
    median = costs[f"{bound.metric.partition('.')[0]}.p50"]
    return f"a median of {format_quantity(median.value, bound.unit)}"
