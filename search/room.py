"""How far below their bounds the timings of recipes lie."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.candidate import Recipe
from autotune.constraint import Constraint, Verdict

from .ledger import Ledger
from .reach import timed_bounds
from .settings import SearchSettings
from .verdicts import cost_constraints, cost_verdict

__all__ = ["LITTLE_ROOM", "asks_for_less", "cost_maxima", "has_room", "is_roomy", "room_of"]

# Between two sessions on a shared machine a 95th percentile moves by about as much.
LITTLE_ROOM = 0.15


def cost_maxima(constraints: Sequence[Constraint]) -> list[Constraint]:
    """Return the bounds that a smaller model meets more easily."""
    return [bound for bound in cost_constraints(constraints) if bound.op == "<="]


def room_of(settings: SearchSettings, ledger: Ledger, recipe: Recipe) -> float:
    """Return by what share the upper ends of its timings lie below their bounds, the least."""
    costs = ledger.census_costs(recipe)
    ends = [
        -bound.normalized((costs[bound.metric].ci95 or (0.0, costs[bound.metric].value))[1])
        for bound in timed_bounds(settings.constraints)
        if bound.metric in costs
    ]
    return min(ends, default=0.0)


def asks_for_less(constraints: Sequence[Constraint]) -> bool:
    """Whether a smaller model would meet some of ``constraints`` more easily."""
    return bool(cost_maxima(constraints))


def is_roomy(settings: SearchSettings, ledger: Ledger, recipe: Recipe) -> bool:
    """Whether ``recipe`` meets every bound on cost, its timings well below theirs."""
    if cost_verdict(settings.constraints, ledger.census_costs(recipe)) is not Verdict.PASS:
        return False
    is_timed = bool(timed_bounds(settings.constraints))
    return not is_timed or room_of(settings, ledger, recipe) >= LITTLE_ROOM


def has_room(settings: SearchSettings, ledger: Ledger, recipes: Sequence[Recipe]) -> bool:
    """Whether a whole model among ``recipes`` meets every bound, its timings well below theirs."""
    if not asks_for_less(settings.constraints):
        return True
    whole = (recipe for recipe in recipes if recipe in settings.whole_recipes)
    return any(is_roomy(settings, ledger, recipe) for recipe in whole)
