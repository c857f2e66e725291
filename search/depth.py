"""Which cut models the census builds and times, and why it leaves the others out.

A cut model is built with a recipe where the whole one built so misses a bound or meets it
narrowly, and no recipe that loses little meets all of them with room to spare. The deepest
depth that can meet the bounds comes first: what a model takes falls at most in proportion
to its layers, and along a line once two depths are known. Where all that meet them do so
narrowly, the least damaging recipe is cut once more: timings move between the census and the
confirmation. Its untrained loss is read by nobody (decision 075).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from autotune.candidate import Recipe
from autotune.constraint import Verdict

from .damage import damage, dominated, is_faithful
from .ledger import Ledger, untrained
from .reach import out_of_reach, seen_costs
from .room import asks_for_less, cost_maxima, is_roomy
from .settings import SearchSettings
from .verdicts import cost_verdict

__all__ = ["DepthView"]

_NOT_YET = "the census ended before it was built and timed"
# A share of the bound above which a depth counts as out of reach; estimates have their noise.
_MOST_LOAD = 1.02


@dataclass(frozen=True, kw_only=True)
class DepthView:
    """What is known of cutting the model; made anew for every decision."""

    settings: SearchSettings
    ledger: Ledger

    @property
    def due(self) -> list[Recipe]:
        """Recipes of cut models to build or time next, the least damaging first."""
        if self.against:
            return []
        walks = (self._walk(recipe)[0] for recipe in self._worth_cutting)
        found = [cut for cut in walks if cut is not None]
        return found or ([] if self.settings.asks_depth else self._safer())

    def _safer(self) -> list[Recipe]:
        """Return the next depth of the least damaging recipe of those met, none with room."""
        settings, ledger = self.settings, self.ledger
        if any(is_roomy(settings, ledger, cut) for cut in settings.cut_recipes):
            return []
        for whole in sorted(self._worth_cutting, key=lambda one: damage(ledger, one)):
            cuts = [r for r in self._cuts(whole) if ledger.recipe_failure(r) is None]
            met = [n for n, cut in enumerate(cuts) if self._meets(cut)]
            if met:
                later = cuts[max(met) + 1 :]
                return [cut for cut in later if untrained(cut).name not in ledger.census][:1]
        return []

    def _meets(self, recipe: Recipe) -> bool:
        costs = self.ledger.census_costs(recipe)
        return cost_verdict(self.settings.constraints, costs) is Verdict.PASS

    @cached_property
    def against(self) -> str:
        """Why no cut model is tried, empty where some may be."""
        settings = self.settings
        if settings.asks_depth or not settings.cut_recipes:
            return ""
        if not asks_for_less(settings.constraints):
            return "no bound on time, memory or size asks for fewer layers"
        sound = self._sound
        for recipe in sound:
            if is_faithful(self.ledger, recipe, sound) and is_roomy(settings, self.ledger, recipe):
                return f"the whole model meets every bound with room to spare ({recipe.name})"
        return ""

    def why_not(self, recipe: Recipe) -> str:
        """Return why ``recipe`` was not built or not timed."""
        if recipe not in self.settings.cut_recipes:
            return _NOT_YET
        if self.against:
            return self.against
        whole = replace(recipe, layers=None)
        if whole not in self._sound:
            return "the whole model was not built so"
        if whole not in self._worth_cutting:
            return "another recipe damages the model less and is not measurably slower"
        return self._walk(whole)[1].get(recipe, _NOT_YET)

    @cached_property
    def _sound(self) -> list[Recipe]:
        """Recipes of whole models that were built and are not out of reach."""
        return [
            recipe
            for recipe in self.settings.whole_recipes
            if self.ledger.base_score(recipe) is not None
            and self.ledger.recipe_failure(recipe) is None
            and not out_of_reach(self.settings, self.ledger, recipe.provider)
        ]

    @cached_property
    def _worth_cutting(self) -> Sequence[Recipe]:
        """Those of them that no other beats, whether they meet the bounds or not."""
        if not self.settings.compares_damage:
            return self._sound
        beaten = {recipe for recipe, _ in dominated(self.ledger, self._sound)}
        return [recipe for recipe in self._sound if recipe not in beaten]

    def _walk(self, whole: Recipe) -> tuple[Recipe | None, dict[Recipe, str]]:
        """Return the cut of ``whole`` to build or time next, and why others are left out."""
        settings, ledger = self.settings, self.ledger
        seen, told, done = [(1.0, self._load(whole))], dict[Recipe, str](), ""
        if not settings.asks_depth and is_roomy(settings, ledger, whole):
            done = f"{whole.name} meets every bound with room to spare"
        for cut in self._cuts(whole):
            share = (cut.layers or 0) / (settings.model_layers or 1)
            costs = ledger.census_costs(cut)
            verdict = cost_verdict(settings.constraints, costs)
            if ledger.recipe_failure(cut) is not None:
                continue
            if untrained(cut).name in ledger.census or verdict is Verdict.FAIL:
                seen.append((share, self._load(cut)))
                if verdict is Verdict.PASS and not settings.asks_depth:
                    done = done or f"{cut.name} keeps more layers and meets every bound"
            elif done:
                told[cut] = done
            elif (load := _expected(seen, share)) > _MOST_LOAD:
                told[cut] = f"it would take about {load:.2f} times a bound"
            else:
                return cut, told
        return None, told

    def _cuts(self, whole: Recipe) -> list[Recipe]:
        """Return the recipes of cut models that are otherwise like ``whole``, deepest first."""
        cuts = [r for r in self.settings.cut_recipes if replace(r, layers=None) == whole]
        return sorted(cuts, key=lambda recipe: -(recipe.layers or 0))

    def _load(self, recipe: Recipe) -> float:
        """Return the largest share of a bound that ``recipe`` takes, 0 where none is known."""
        costs = seen_costs(self.settings, self.ledger, recipe)
        bounds = cost_maxima(self.settings.constraints)
        loads = [1 + b.normalized(costs[b.metric].value) for b in bounds if b.metric in costs]
        return max(loads, default=0.0)


def _expected(seen: Sequence[tuple[float, float]], share: float) -> float:
    """Return the load at ``share`` of the layers: the least possible, or along a line."""
    (last_share, last) = seen[-1]
    if len(seen) == 1:
        return last * share
    (before_share, before) = seen[-2]
    slope = (before - last) / (before_share - last_share)
    return last - slope * (last_share - share)
