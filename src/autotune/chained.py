"""A configuration's chain with the model at hand: its adapter, its recipes, what it will cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autotune.candidate import AdapterConfig, Algorithm, Recipe
from autotune.chain import BuildChoice, Chain
from autotune.errors import UnsupportedRecipeError
from autotune.estimate import Estimates
from autotune.passes import ModelSource, layer_names, translated
from autotune.targets import Architecture, Refusal, check_recipe

__all__ = ["OpenedChain", "chosen_recipe", "open_chain"]

_BLOCK_SIZE = 32  # the builder's default


@dataclass(frozen=True, kw_only=True)
class OpenedChain:
    """What a chain fixes, with the model's own names and the number of rows.

    Attributes:
        adapter: how to train; None leaves it to the search.
        build: how to build; None leaves it to the search.
        is_opened: the search may try other values too.
        n_examples: sequences that a pass over the data trains on.
        notes: what became of the configuration's words, for people.
    """

    adapter: AdapterConfig | None = None
    build: BuildChoice | None = None
    is_opened: bool = False
    n_examples: int = 0
    notes: tuple[str, ...] = ()

    def choose(
        self, recipes: tuple[Recipe, ...], refused: tuple[Refusal, ...], architecture: Architecture
    ) -> tuple[tuple[Recipe, ...], tuple[Refusal, ...]]:
        """Return the recipes to build and what is left out: one per provider where fixed.

        Raises:
            UnsupportedRecipeError: the fixed one cannot be built for a provider.
        """
        if self.build is None:
            return recipes, refused
        providers = dict.fromkeys(recipe.provider for recipe in recipes)
        fixed = tuple(
            chosen_recipe(self.build, provider, recipes, architecture) for provider in providers
        )
        if self.is_opened:
            return tuple(dict.fromkeys((*fixed, *recipes))), refused
        return fixed, ()

    def estimated(self, estimates: Estimates) -> Estimates:
        """Return ``estimates`` with the training that is fixed."""
        if self.adapter is None:
            return estimates
        epochs = self.adapter.epochs
        if self.adapter.steps is not None:
            epochs = self.adapter.steps / math.ceil(self.n_examples / self.adapter.batch_size)
        return estimates.of_one_training(epochs)


def open_chain(chain: Chain | None, source: ModelSource, *, n_examples: int) -> OpenedChain:
    """Return ``chain`` for the model ``source``; without a chain, all is left to the search.

    Args:
        chain: what the configuration fixes.
        source: the model.
        n_examples: sequences that a pass over the data trains on.

    Raises:
        UsageError: names of layers that this model does not have or that no adapter fits.
    """
    if chain is None:
        return OpenedChain()
    adapter, notes = None, list[str]()
    if chain.training is not None:
        adapter = chain.training.adapter
        if chain.training.modules:
            adapter, said = _with_modules(adapter, chain.training.modules, source)
            notes.append(said)
    return OpenedChain(
        adapter=adapter,
        build=chain.build,
        is_opened=chain.is_opened,
        n_examples=n_examples,
        notes=tuple(notes),
    )


def _with_modules(
    adapter: AdapterConfig, names: Sequence[str], source: ModelSource
) -> tuple[AdapterConfig, str]:
    """Return the adapter on this model's layers, and what became of the names."""
    meant = translated(names, layer_names(source.artifact.path), source.architecture.name)
    ours = sorted({name for found in meant.values() for name in found})
    renamed = [f"{name} -> {', '.join(found)}" for name, found in meant.items() if found != (name,)]
    said = f"target_modules of {source.architecture.name}: {', '.join(ours)}"
    return replace(adapter, target_modules="+".join(ours)), "; ".join((said, *renamed))


def chosen_recipe(
    build: BuildChoice, provider: str, recipes: Sequence[Recipe], architecture: Architecture
) -> Recipe:
    """Return the recipe of ``provider`` that ``build`` means.

    Options that it does not give are those of the builder.

    Raises:
        UnsupportedRecipeError: the provider does not run it, with the reason.
    """
    alike = [r for r in recipes if (r.provider, r.precision) == (provider, build.precision)]
    alike.sort(key=_distance_from_defaults)
    given = {
        name: value
        for name in ("block_size", "algorithm", "accuracy_level", "head")
        if (value := getattr(build, name)) is not None
    }
    start = alike[0] if alike else _bare(build, provider)
    recipe = replace(start, cuda_graph=build.cuda_graph, symmetric=build.symmetric, **given)
    if (refusal := check_recipe(recipe, architecture)) is not None:
        raise UnsupportedRecipeError(
            f"The chain builds {recipe.name}, which does not run: {refusal.reason}"
            f" ({refusal.source}). Choose another precision or target."
        )
    if not alike:
        raise UnsupportedRecipeError(
            f"The chain builds {recipe.name}, which this machine's {provider} does not compute;"
            " choose another precision or target."
        )
    return recipe


def _distance_from_defaults(recipe: Recipe) -> tuple[bool, ...]:
    return (
        recipe.mixed or recipe.head is not None or recipe.embedding is not None,
        not recipe.symmetric,
        recipe.block_size not in (None, _BLOCK_SIZE),
        recipe.algorithm not in (None, Algorithm.DEFAULT),
        recipe.cuda_graph,
    )


def _bare(build: BuildChoice, provider: str) -> Recipe:
    """Return a recipe of a precision that the provider does not offer, to say why."""
    quantised = {"block_size": _BLOCK_SIZE, "accuracy_level": 4}
    options: dict[str, int | Algorithm] = {}
    if build.precision in ("int4", "int8"):
        options |= quantised
    if build.precision == "int4":
        options["algorithm"] = Algorithm.DEFAULT
    return Recipe(provider=provider, precision=build.precision, **options)  # type: ignore[arg-type]  # the values are of their options' types
