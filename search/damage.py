"""How much recipes damage the untrained model, and which are no use beside others.

Damage is the distortion of the untrained model's logits by the recipe. The base loss
stands in where that was not measured; it is the weaker sign, since rounding an
untrained model can lower its loss on a task by luck (docs/decisions/005). It says nothing
across depths, because training heals them differently.
"""

from __future__ import annotations

from collections.abc import Sequence

from autotune.candidate import Recipe

from .latency import typical_latency
from .ledger import Ledger, untrained

__all__ = ["damage", "dominated", "is_beaten", "is_faithful"]

# Logits of int8 differ by 0.001, of int4 with some matrices in 8 bits by 0.04, of plain int4
# by 0.07 to 0.15 (decision 005); where only losses are known, the same of the least one.
_FAITHFUL = 0.05


def damage(ledger: Ledger, recipe: Recipe) -> float:
    """Return the distortion to two digits (less is noise of the probe), else the base loss."""
    metrics = ledger.scores[untrained(recipe).name].metrics
    if "distortion" in metrics:
        return round(metrics["distortion"].value, 2)
    return metrics["nll"].value


def _size(ledger: Ledger, recipe: Recipe) -> float:
    metrics = ledger.scores[untrained(recipe).name].metrics
    return metrics["size"].value if "size" in metrics else 0.0


def dominated(ledger: Ledger, recipes: Sequence[Recipe]) -> list[tuple[Recipe, Recipe]]:
    """Return (dominated, by which). Overlap is not transitive, so only kept ones dominate."""
    kept: list[Recipe] = []
    pairs = []
    for recipe in sorted(recipes, key=lambda r: (damage(ledger, r), _size(ledger, r), r.name)):
        better = next((k for k in kept if not _is_faster(ledger, recipe, k)), None)
        if better is None:
            kept.append(recipe)
        else:
            pairs.append((recipe, better))
    return pairs


def _is_faster(ledger: Ledger, recipe: Recipe, other: Recipe) -> bool:
    """Whether ``recipe`` is measurably faster than ``other``, or cannot be compared with it."""
    first, second = (typical_latency(ledger.census_costs(r)) for r in (recipe, other))
    if recipe.layers != other.layers or first is None or second is None:
        return True
    return (first.ci95 or (0, first.value))[1] < (second.ci95 or (second.value, 0))[0]


def is_beaten(ledger: Ledger, recipe: Recipe, certain: Sequence[Recipe]) -> bool:
    """Whether one of ``certain`` damages the model as little as ``recipe`` does."""
    return any(
        other.layers == recipe.layers and damage(ledger, other) <= damage(ledger, recipe)
        for other in certain
    )


def is_faithful(ledger: Ledger, recipe: Recipe, others: Sequence[Recipe]) -> bool:
    """Whether ``recipe`` loses little of the model; ``others`` are what losses are held against."""
    score = ledger.scores[untrained(recipe).name]
    if "distortion" in score.metrics:
        return score.metrics["distortion"].value <= _FAITHFUL
    return score.nll <= (1 + _FAITHFUL) * min(ledger.scores[untrained(r).name].nll for r in others)
