"""Which config to start next in an arm: priors first, then the sampler and what lies near the best.

The first config of a further arm is the best one so far, so that its first rung differs
from that one's by the lever alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from autotune.candidate import AdapterConfig, Recipe

from .arms import Arm
from .ledger import Ledger, Training
from .outlook import best_training
from .settings import SamplerName, SearchSettings, derive_seed
from .study import StudyRecord

__all__ = ["Proposals"]

_MOST_DRAWS = 1000  # a range has thousands of values; finite spaces never come here
# Samplers that are helped along; random and grid are what their names say.
_GUIDED = (SamplerName.TPE, SamplerName.GP, SamplerName.NSGAII)


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """What a proposal depends on; made anew for every decision.

    Attributes:
        recipes: those that trainings are built with, the trial's own first.
        arms: all that may be trained, the first one to begin with.
    """

    settings: SearchSettings
    ledger: Ledger
    study: StudyRecord
    recipes: tuple[Recipe, ...]
    arms: tuple[Arm, ...]

    def next(self, arm: Arm) -> AdapterConfig:
        """Return the config to start next in ``arm``, which has some left."""
        for adapter in self._first(arm):
            if adapter.name not in self.ledger.trainings:
                return adapter
        return self._sampled(arm)

    def _first(self, arm: Arm) -> list[AdapterConfig]:
        """Return what to try before the sampler is asked."""
        portfolio = self.settings.first_configs
        if arm != self.arms[0]:
            best = best_training(self.ledger.trainings.values())
            portfolio = (best.adapter,) if best else portfolio[:1]
        return [arm.applied(adapter, self.settings.space) for adapter in portfolio]

    def _sampled(self, arm: Arm) -> AdapterConfig:
        index = len(self.ledger.trainings)
        space, seed = self.settings.space, self.settings.seed
        wish = self._near_the_best(arm, index)
        if wish is None and self.settings.sampler is not SamplerName.GRID:
            wish = self._asked(arm, index)
        if wish is not None and self._is_new(wish, arm) and space.holds(wish):
            return wish
        # The grid in an order of its own, and next to what is wanted and cannot be had.
        rest = [config for config in space.grid() if self._is_new(config, arm)]
        rest.sort(key=lambda config: derive_seed(seed, "grid", config.name))
        if wish is not None:
            rest.sort(key=lambda config: space.distance(wish, config))
        draws = (space.draw(derive_seed(seed, "draw", index, n)) for n in range(_MOST_DRAWS))
        moved = (arm.applied(config, space) for config in draws)
        return rest[0] if rest else next(config for config in moved if self._is_new(config, arm))

    def _asked(self, arm: Arm, index: int) -> AdapterConfig:
        """Return what the sampler proposes; what the arm fixes is told to it."""
        recipe = next(recipe for recipe in self.recipes if arm.serves(recipe))
        fixed: Mapping[str, object] = {}
        if len(self.arms) > 1:
            fixed = arm.params(self.settings.space, turn=index)
        return self.study.propose(index=index, recipe=recipe.name, fixed=fixed, taken=self._taken)

    def _is_new(self, adapter: AdapterConfig, arm: Arm) -> bool:
        return arm.holds(adapter) and adapter not in self._taken

    @cached_property
    def _taken(self) -> frozenset[AdapterConfig]:
        return frozenset(training.adapter for training in self.ledger.trainings.values())

    def _near_the_best(self, arm: Arm, index: int) -> AdapterConfig | None:
        """Return every second time a config close to the best one of the arm, else None.

        Numbers have an order that the sampler does not know of where they are choices,
        and it takes some trials to get going.
        """
        settings, space = self.settings, self.settings.space
        best = self._best_of(arm)
        if index % 2 or best is None or settings.sampler not in _GUIDED:
            return None
        near = space.near(best.adapter, derive_seed(settings.seed, "near", index))
        return arm.applied(near, space)

    def _best_of(self, arm: Arm) -> Training | None:
        trainings = self.ledger.trainings.values()
        return best_training(t for t in trainings if arm.holds(t.adapter))
