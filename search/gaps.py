"""What building adds to the loss of a training: the rounding that a training did not know of.

Trainings are compared by their losses, which for most are those of unrounded weights; with a
quantiser in the loop they are those of rounded ones. What is handed over is rounded, so arms
are compared by the loss of the best build: the training's, plus what builds of that arm
added so far. A training is judged on other rows and tokens than a score, which moves all
gaps alike: what a faithful build would add is that offset.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean

from autotune.candidate import AdapterConfig, Recipe

from .arms import Arm
from .ledger import Ledger

__all__ = ["Gaps"]

_TINY = 1e-6
# Of what rounding adds to a loss, the share that training with it in the loop is thought to
# win back before it was tried; half is what accounts of it report at 4 bits, roughly.
_HEALED = 0.5


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """Logarithm of a built candidate's loss over its training's, by arm.

    Attributes:
        arms: those that may be trained; with one of them there is nothing to compare.
        recipes: those that trainings are built with.
        whole: all recipes that keep every layer.
    """

    ledger: Ledger
    arms: Sequence[Arm]
    recipes: Sequence[Recipe]
    whole: Sequence[Recipe]

    def of(self, arm: Arm) -> float:
        """Return what the best build of ``arm`` adds, 0 where there is one arm only."""
        if len(self.arms) < 2:  # noqa: PLR2004 - nothing to compare with
            return 0.0
        gaps = (self._gap(arm, recipe) for recipe in self.recipes if arm.serves(recipe))
        return min((gap for gap in gaps if gap is not None), default=self._offset)

    def rounding(self, arm: Arm) -> float:
        """Return what the quantiser of ``arm`` costs trainings that do not know of it, at least 0.

        0 as well for an arm without one.
        """
        plain = Arm(layers=arm.layers)
        own = [r for r in self.recipes if arm.serves(r) and r.quantiser == arm.quantiser]
        if arm.quantiser is None or not own:
            return 0.0
        return max(0.0, min(self._plain_gap(plain, recipe) for recipe in own) - self._offset)

    def doubt(self, arm: Arm) -> float:
        """Return how far off ``of`` may be for an arm without a training."""
        return _HEALED * self.rounding(arm)

    def _gap(self, arm: Arm, recipe: Recipe) -> float | None:
        """Return what building ``arm`` with ``recipe`` adds; None where it is no use."""
        if (known := self.known(arm, recipe)) is not None:
            return known
        if arm.quantiser is None:
            return self._plain_gap(arm, recipe)
        if arm.quantiser != recipe.quantiser:
            return None
        if any(map(arm.holds, self._adapters)):
            return self._offset  # its losses are those of rounded weights
        return self._offset + (1 - _HEALED) * self.rounding(arm)

    def _plain_gap(self, arm: Arm, recipe: Recipe) -> float:
        known = self.known(arm, recipe)
        return self._offset + self._damage(recipe) if known is None else known

    @cached_property
    def _adapters(self) -> Collection[AdapterConfig]:
        return [training.adapter for training in self.ledger.trainings.values()]

    @cached_property
    def _seen(self) -> dict[tuple[Arm, Recipe], float]:
        """Mean gap of the builds of an arm with a recipe."""
        found: dict[tuple[Arm, Recipe], list[float]] = {}
        for score in self.ledger.scores.values():
            adapter, recipe = score.candidate.adapter, score.candidate.recipe
            if adapter is None or score.candidate.fraction < 1:
                continue
            trained = self.ledger.trainings[adapter.name].nll[1.0]
            gap = math.log(max(score.nll, _TINY)) - math.log(max(trained, _TINY))
            found.setdefault((Arm.of(adapter), recipe), []).append(gap)
        return {key: fmean(gaps) for key, gaps in found.items()}

    def known(self, arm: Arm, recipe: Recipe) -> float | None:
        """Return the gap that builds showed, here or, failing that, at other depths."""
        if (arm, recipe) in self._seen:
            return self._seen[arm, recipe]
        elsewhere = [
            gap
            for (other, built), gap in self._seen.items()
            if other.quantiser == arm.quantiser and replace(built, layers=recipe.layers) == recipe
        ]
        return fmean(elsewhere) if elsewhere else None

    @cached_property
    def _offset(self) -> float:
        """What a build without any rounding would add, by what recipes damage."""
        plain = [
            gap - self._damage(recipe)
            for (arm, recipe), gap in self._seen.items()
            if arm.quantiser is None
        ]
        return fmean(plain) if plain else 0.0

    def _damage(self, recipe: Recipe) -> float:
        """Return what ``recipe`` is thought to add to a log loss after training, at least 0.

        The distortion of logits adds itself. Where it was not measured, what building adds
        to the loss of the whole untrained model stands in.
        """
        whole = {r: s for r in self.whole if (s := self.ledger.base_score(r)) is not None}
        score = self.ledger.base_score(recipe)
        if score is not None and "distortion" in score.metrics:
            return score.metrics["distortion"].value
        twin = whole.get(replace(recipe, layers=None))
        if twin is None:
            return 0.0
        return math.log(max(twin.nll, _TINY) / max(_TINY, min(s.nll for s in whole.values())))
