"""What of a training decides which recipes it can be built with and what rounding costs it.

An arm is a depth with or without a quantiser in the loop. Within an arm, trainings differ in
what a sampler varies and their losses can be compared; between arms the planner decides,
by what first rungs and first builds show. A search without these two levers has one arm.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from autotune.candidate import AdapterConfig, Recipe

from .dimensions import Value
from .space import QAT, SearchSpace

__all__ = ["WHOLE", "Arm", "arms_of", "at_depth"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A depth, and what rounds the weights while training.

    Attributes:
        layers: decoder layers that are kept, None is all.
        quantiser: in the loop, None where there is none.
    """

    layers: int | None = None
    quantiser: str | None = None

    @classmethod
    def of(cls, adapter: AdapterConfig) -> Self:
        """Return the arm that ``adapter`` belongs to."""
        return cls(layers=adapter.layers, quantiser=adapter.quantiser)

    @property
    def label(self) -> str:
        """What is special about it in a few words, empty for the whole model as it is."""
        depth = "" if self.layers is None else f"{self.layers} layers"
        loop = "" if self.quantiser is None else f"{self.quantiser} in the loop"
        return ", ".join(filter(None, (depth, loop)))

    def holds(self, adapter: AdapterConfig) -> bool:
        """Whether ``adapter`` belongs here."""
        return (adapter.layers, adapter.quantiser) == (self.layers, self.quantiser)

    def serves(self, recipe: Recipe) -> bool:
        """Whether trainings of this arm can be built with ``recipe``."""
        return self.layers == recipe.layers

    def methods(self, space: SearchSpace) -> tuple[str, ...]:
        """Return the methods of training in this arm."""
        return tuple(one for one in space.methods if (one == QAT) == (self.quantiser is not None))

    def params(self, space: SearchSpace, *, turn: int) -> dict[str, Value]:
        """Return what of a trial's parameters the arm fixes; methods take turns by ``turn``."""
        methods = self.methods(space)
        found: dict[str, Value] = {
            "method": methods[turn % len(methods)],
            "layers": self.layers,
            "quantiser": self.quantiser,
        }
        shown = {dimension.name for dimension in space.dimensions()}
        return {
            name: value
            for name, value in found.items()
            if name in shown and (name != "quantiser" or value is not None)
        }

    def applied(self, adapter: AdapterConfig, space: SearchSpace) -> AdapterConfig:
        """Return the config of this arm that is otherwise like ``adapter``."""
        if self.holds(adapter):
            return adapter
        methods = self.methods(space)
        method = adapter.method if adapter.method in methods else methods[0]
        values = {d.name: getattr(adapter, d.name) for d in space.all_dimensions()}
        if method != adapter.method:  # what is its own has another meaning elsewhere
            del values["merge_base"]
        mine = {"method": method, "layers": self.layers, "quantiser": self.quantiser}
        return self.nearest(space.from_params(values | mine), space)

    def nearest(self, adapter: AdapterConfig, space: SearchSpace) -> AdapterConfig:
        """Return ``adapter`` where it may be tried, else the closest of this arm that may."""
        if space.holds(adapter):
            return adapter
        return min(self.configs(space), key=lambda one: space.distance(adapter, one))

    def configs(self, space: SearchSpace) -> Iterator[AdapterConfig]:
        """Yield the configs of this arm in the grid of ``space``."""
        return (config for config in space.grid() if self.holds(config))


WHOLE = Arm()


def arms_of(
    space: SearchSpace, recipes: Sequence[Recipe], *, certain: Collection[Recipe] = ()
) -> tuple[Arm, ...]:
    """Return the arms that some of ``recipes`` can be built from, those to begin with first.

    Depths with one of the ``certain`` recipes come first, deeper ones before shallower, and
    at each depth the training without a quantiser.
    """
    depths = [d for d in space.layers if any(recipe.layers == d for recipe in recipes)]
    sure = {recipe.layers for recipe in certain}
    depths.sort(key=lambda d: (d not in sure, d is not None, -(d or 0)))
    quantisers: list[str | None] = [None] if set(space.methods) != {QAT} else []
    quantisers += space.quantisers
    known = {(recipe.layers, recipe.quantiser) for recipe in recipes}
    arms = [
        Arm(layers=depth, quantiser=quantiser)
        for depth in depths
        for quantiser in quantisers
        if quantiser is None or (depth, quantiser) in known
    ]
    return tuple(arm for arm in arms if not space.listed or any(map(arm.holds, space.listed)))


def at_depth(adapter: AdapterConfig, layers: int | None, space: SearchSpace) -> AdapterConfig:
    """Return the config of ``space`` at that depth that is most like ``adapter``; it if none is."""
    if adapter.layers == layers or layers not in space.layers:
        return adapter
    moved = replace(adapter, layers=layers)
    if not space.listed:
        return moved
    alike = (config for config in space.listed if config.layers == layers)
    return min(alike, key=lambda one: space.distance(moved, one), default=adapter)
