"""How many decoder layers a search may keep: what was asked for, and what makes sense here."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from autotune.candidate import Recipe
from autotune.config import RunConfig
from autotune.errors import UsageError
from autotune.passes import MINIMUM_LAYERS, ModelSource, why_not_cut
from autotune.search import asks_for_less

__all__ = ["DepthOffer", "offer_depths"]

# Shares of the layers that are tried; fine-tuning heals less the more is missing, and beyond
# half of the layers nobody reports a model that it healed.
_SHARES = (5 / 6, 2 / 3, 1 / 2)


@dataclass(frozen=True, kw_only=True)
class DepthOffer:
    """Depths that a search may try beside the whole model, and why these.

    Attributes:
        layers: decoder layers kept, deepest first; empty where none is tried.
        total: layers of the whole model.
        is_asked: the user named them, so they are tried whatever the whole model shows.
        reason: for people.
    """

    layers: tuple[int, ...]
    total: int
    is_asked: bool
    reason: str

    def recipes(self, whole: tuple[Recipe, ...]) -> tuple[Recipe, ...]:
        """Return the recipes of the cut models, for what ``whole`` builds."""
        return tuple(replace(recipe, layers=kept) for kept in self.layers for recipe in whole)


def offer_depths(config: RunConfig, source: ModelSource) -> DepthOffer:
    """Return the depths to try for a model.

    Without ``config.layers`` five sixths, two thirds and half of the layers, where there is a
    bound that fewer layers help with; the planner tries them where whole models need it.

    Raises:
        UsageError: a depth that was asked for cannot be.
    """
    total, asked = source.architecture.layers, config.layers
    least = max(MINIMUM_LAYERS, -(-total // 2))
    obstacle = _obstacle(config, source)
    if asked:
        if obstacle:
            raise UsageError(f"--layers cannot leave any out: {obstacle}; drop the flag.")
        for kept in asked:
            if not least <= kept < total:
                raise UsageError(
                    f"--layers are {_between(least, total - 1)} of the {total} of this model, got"
                    f" {kept}: with fewer than half of them no training heals it, and all of them"
                    " are tried anyway."
                )
        layers = tuple(sorted(asked, reverse=True))
        return DepthOffer(layers=layers, total=total, is_asked=True, reason="--layers")
    if asked is not None:
        obstacle = "--layers all"
    elif not obstacle and not asks_for_less(config.constraints):
        obstacle = "no bound on time, memory or size"
    shares = {round(share * total) for share in _SHARES}
    layers = tuple(sorted((n for n in shares if least <= n < total), reverse=True))
    if obstacle or not layers:
        reason = obstacle or f"the model has only {total} layers"
        return DepthOffer(layers=(), total=total, is_asked=False, reason=reason)
    reason = "where no whole model that loses little meets the bounds with room to spare"
    return DepthOffer(layers=layers, total=total, is_asked=False, reason=reason)


def _between(least: int, most: int) -> str:
    return f"{least} to {most}" if least < most else str(most)


def _obstacle(config: RunConfig, source: ModelSource) -> str:
    """Return why this run cannot try cut models, empty where it can."""
    if config.chain is not None:
        return "the configuration fixes the steps"
    if config.target_report is not None:
        return "the census of --target-report is of whole models"
    text = (source.artifact.path / "config.json").read_text(encoding="utf-8")
    return why_not_cut(json.loads(text))
