"""Which grid each weight of a model is rounded to, as the name of a quantiser says.

The name is a recipe's, and which products, head and table of token vectors are rounded how
is decided as the builder decides it. Importing this module imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Self

from autotune.candidate import Algorithm, Head, Recipe, read_recipe
from autotune.errors import UsageError
from autotune.targets import embedding_of, head_of, mixed_layers

from .grids import Grid, Rule

__all__ = ["ModelGrids", "has_grid", "why_not_mixed"]

_BLOCK_SIZES = (16, 32, 64, 128, 256)
_RULES: dict[Algorithm | None, Rule] = {
    None: "mlas",  # int8, where the default has no name
    Algorithm.DEFAULT: "mlas",
    Algorithm.RTN: "rtn",
}
_BITS = {"int4": 4, "int8": 8}
# What is in eight bits with ``mixed``. The builder packs q_proj and k_proj into one product
# with v_proj, but for dml.
_EIGHT_BITS = re.compile(
    r"(?:.*\.)?layers\.(?P<layer>\d+)"
    r"\.(?:(?P<value>self_attn\.(?:[qkv]|qkv)_proj)|(?P<down>mlp\.down_proj))"
)


def has_grid(quantiser: str) -> bool:
    """Whether training can round as ``quantiser`` does.

    >>> [has_grid(q) for q in ("int4-b32", "int4-b32-rtn-mixed-asym-head8", "int4-b32-k_quant")]
    [True, True, False]
    """
    return _read(quantiser) is not None


def _read(quantiser: str) -> tuple[Recipe, Grid] | None:
    """Return a recipe of this quantiser and the grid of most of its products; None without one."""
    try:
        recipe = read_recipe(f"cpu-{quantiser}")
    except UsageError:
        return None
    rule, size = _RULES.get(recipe.algorithm), recipe.block_size
    if size is None or size not in _BLOCK_SIZES or rule is None or recipe.head is Head.NONE:
        return None
    if recipe.quantiser != quantiser:
        return None
    bits, zero_points = _BITS[recipe.precision.value], not recipe.symmetric
    return recipe, Grid(bits=bits, block_size=size, rule=rule, zero_points=zero_points)


def why_not_mixed(quantiser: str, names: Collection[str], layers: int) -> str:
    """Return why ``mixed`` cannot be reproduced for a model; empty where it can or is not asked.

    Args:
        quantiser: one that has a grid.
        names: of the model's linear layers.
        layers: decoder layers that it has.
    """
    read = _read(quantiser)
    if read is None or not read[0].mixed:
        return ""
    found = [match for name in names if (match := _EIGHT_BITS.fullmatch(name)) is not None]
    for part, wanted in (("value", "self_attn.v_proj"), ("down", "mlp.down_proj")):
        missing = mixed_layers(layers) - {int(one["layer"]) for one in found if one[part]}
        if missing:
            return f"layer {min(missing)} of the model has no {wanted}, which mixed is known for"
    return ""


@dataclass(frozen=True, kw_only=True)
class ModelGrids:
    """What the weights of one model are rounded to.

    Attributes:
        recipe: one of the quantiser.
        body: the grid of most products.
        layers: decoder layers that the model has; which of them ``mixed`` means depends on it.
        tied: head and embedding of the model share their weights.
    """

    recipe: Recipe
    body: Grid
    layers: int
    tied: bool

    @classmethod
    def of(cls, quantiser: str, *, names: Collection[str], layers: int, tied: bool) -> Self:
        """Return the grids of a ``Recipe.quantiser``.

        Args:
            quantiser: its name.
            names: of the model's linear layers.
            layers: decoder layers that it has.
            tied: head and embedding share their weights.

        Raises:
            UsageError: its rounding is not reproduced, or not for such a model.
        """
        read = _read(quantiser)
        if read is None:
            raise UsageError(
                "Weights are rounded while training with int4 or int8 of algorithm default or rtn"
                f" in blocks of {', '.join(map(str, _BLOCK_SIZES))}, got quantiser {quantiser!r};"
                " k_quant searches each block's scale in twenty tries, which is too slow for"
                " every step. Train with 'int4-b32-rtn-mixed-asym-head8', or with method 'lora'."
            )
        reason = why_not_mixed(quantiser, names, layers)
        if reason:
            raise UsageError(
                f"Weights cannot be rounded as {quantiser!r} does while training: {reason};"
                " take a quantiser without mixed, or method 'lora'."
            )
        recipe, body = read
        return cls(recipe=recipe, body=body, layers=layers, tied=tied)

    def product(self, name: str) -> Grid:
        """Return the grid of the linear layer called ``name``, which is not the head."""
        match = _EIGHT_BITS.fullmatch(name)
        if self.recipe.mixed and match and int(match["layer"]) in mixed_layers(self.layers):
            return replace(self.body, bits=8)
        return self.body

    @property
    def head(self) -> Grid | None:
        """The grid of the head; None where it is not rounded."""
        built = head_of(self.recipe)
        return None if built == "float" else replace(self.body, bits=_BITS[built])

    @property
    def shares_head(self) -> bool:
        """Whether token vectors are read from the head's weights, rounded or not."""
        return embedding_of(self.recipe, tied=self.tied) == "shared"

    @property
    def table(self) -> Grid | None:
        """The grid of a table of token vectors of its own; None where it is not rounded."""
        built = embedding_of(self.recipe, tied=self.tied)
        return replace(self.body, bits=4, rule="table") if built == "int4" else None
