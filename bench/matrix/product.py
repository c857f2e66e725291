"""Every recipe that can be written down, and few that have every pair of their values."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from autotune.candidate import Algorithm, Embedding, Head, Precision, Recipe

__all__ = ["pairs", "product"]

_BLOCKS = (16, 32, 64, 128, 256)


def product(provider: str) -> Iterator[Recipe]:
    """Yield every recipe that can be written down for ``provider``."""
    algorithms = {
        Precision.INT4: tuple(Algorithm),
        Precision.INT8: (None, Algorithm.RTN, Algorithm.K_QUANT),
    }
    for precision in Precision:
        quantised = precision in algorithms
        for block, algorithm, level, mixed, symmetric, head, embedding in itertools.product(
            _BLOCKS if quantised else (None,),
            algorithms.get(precision, (None,)),
            range(5) if quantised else (None,),
            (False, True),
            (True, False),
            (None, *Head),
            (None, *Embedding),
        ):
            yield Recipe(
                provider=provider,
                precision=precision,
                block_size=block,
                algorithm=algorithm,
                accuracy_level=level,
                mixed=mixed,
                symmetric=symmetric,
                head=head,
                embedding=embedding,
            )


def pairs(recipes: Sequence[Recipe]) -> list[Recipe]:
    """Return some of ``recipes`` that together have every pair of values that all have.

    Greedy: always the first of those that bring the most pairs not seen yet.
    """
    brings = [frozenset(itertools.combinations(_values(recipe), 2)) for recipe in recipes]
    missing = set().union(*brings)
    chosen = []
    while missing:
        best = max(range(len(recipes)), key=lambda number: len(brings[number] & missing))
        chosen.append(recipes[best])
        missing -= brings[best]
    return chosen


def _values(recipe: Recipe) -> list[tuple[str, Any]]:
    return [(field.name, getattr(recipe, field.name)) for field in fields(recipe) if field.compare]
