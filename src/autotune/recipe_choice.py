"""``--recipes``: which ways of building are taken, of those proposed and of all there are."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from autotune.candidate import Recipe, read_recipe
from autotune.errors import UsageError
from autotune.targets import Architecture, Refusal, check_recipe

__all__ = ["RecipeOffer", "choose_recipes"]


@dataclass(frozen=True, kw_only=True)
class RecipeOffer:
    """What can be chosen from.

    Attributes:
        recipes: what the targets propose.
        refused: what they leave out.
        architecture: of the model; others than the proposed are checked against it.
        is_closed: no others can be had, since what is proposed was measured elsewhere.
    """

    recipes: tuple[Recipe, ...]
    refused: tuple[Refusal, ...]
    architecture: Architecture
    is_closed: bool = False


def choose_recipes(offer: RecipeOffer, names: Sequence[str]) -> tuple[Recipe, ...]:
    """Return the recipes of these names, each once; all that are proposed without a name.

    A name with ``*`` stands for every proposed one that fits; one without may be of any
    recipe that is built for the providers here, proposed or not.

    Raises:
        UsageError: a name of none, or of one that the capability table leaves out.
    """
    if not names:
        return offer.recipes
    found: dict[str, Recipe] = {}
    for name in names:
        found |= {recipe.name: recipe for recipe in _of_name(offer, name)}
    return tuple(found.values())


def _of_name(offer: RecipeOffer, name: str) -> list[Recipe]:
    fitting = [recipe for recipe in offer.recipes if fnmatchcase(recipe.name, name)]
    if fitting:
        return fitting
    for refusal in offer.refused:
        if refusal.recipe.name == name:
            raise UsageError(f"Recipe {name!r} is not built: {refusal.reason}; leave it out.")
    known = [recipe.name for recipe in offer.recipes]
    if "*" in name or offer.is_closed:
        raise UsageError(f"No recipe here has a name like {name!r}; they are {', '.join(known)}.")
    try:
        recipe = read_recipe(name)
    except UsageError as error:
        hint = _nearest(name, known) or "use some of these."
        raise UsageError(
            f"There is no recipe {name!r} here (known: {', '.join(known)}); {hint} {error}"
        ) from None
    providers = sorted({one.provider for one in offer.recipes})
    if recipe.provider not in providers:
        raise UsageError(
            f"Recipe {name!r} is for {recipe.provider!r}, here are targets for"
            f" {', '.join(providers) or 'none'}; name one of these with --target."
        )
    if (refusal_found := check_recipe(recipe, offer.architecture)) is not None:
        hint = _nearest(name, known) or "leave it out."
        raise UsageError(f"Recipe {name!r} is not built: {refusal_found.reason}; {hint}")
    return [recipe]


def _nearest(name: str, known: Sequence[str]) -> str:
    """Return a question after the names that this one may be a slip of, or nothing."""
    near = difflib.get_close_matches(name.lower(), known, n=2)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else ""
