"""How a model is built: a recipe, its name, and the name read back.

Only what the builder of onnxruntime-genai really does has a field here; which values go
together on which provider stands in ``autotune.targets.capability``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from pydantic import model_serializer

from autotune.errors import UsageError

__all__ = ["Algorithm", "Embedding", "Head", "Precision", "Recipe", "read_recipe"]


class Precision(StrEnum):
    """Data type of the weights in the built graph."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    INT4 = "int4"


class Algorithm(StrEnum):
    """How the builder of onnxruntime-genai rounds weights (``algo_config``)."""

    DEFAULT = "default"
    RTN = "rtn"
    K_QUANT = "k_quant"
    K_QUANT_MIXED = "k_quant_mixed"


class Head(StrEnum):
    """What the product that makes logits is, where it is not like the others."""

    INT8 = "int8"
    FLOAT = "float"
    NONE = "none"


class Embedding(StrEnum):
    """What the table of token vectors is, where it is not the builder's own choice.

    Its own: the head's weights, used twice, where the model ties the two and both can be
    of one type; a table of floats otherwise.
    """

    FLOAT = "float"
    INT4 = "int4"


# Options that a recipe has by precision, all of them; the other precisions have none.
_QUANTISER_OPTIONS: Mapping[Precision, tuple[str, ...]] = {
    Precision.INT8: ("block_size", "accuracy_level"),
    Precision.INT4: ("block_size", "algorithm", "accuracy_level"),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is built. Decides latency, memory and size.

    Attributes:
        provider: execution provider in the builder's spelling (``cpu``, ``cuda``, ``dml``).
        precision: data type of the weights.
        block_size: weights per scale, int4 and int8 only (None otherwise).
        algorithm: rounding algorithm; int4 has one, int8 where it is not the default.
        accuracy_level: 0 to 4, the compute type of quantised matrix products
            (MatMulNBits: 1 fp32, 4 int8); None for unquantised precisions.
        prune_lm_head: compute logits of the last position only, which is all that
            onnxruntime-genai's generate loop reads.
        layers: decoder layers kept; None keeps all.
        activations: data type of everything but the weights where it is not the builder's
            own for the provider and precision (quantised: fp32 on the processor, fp16
            elsewhere); for devices that do not compute in that.
        cuda_graph: the kernels of a token are recorded once and replayed, which spares
            launching each; for the provider ``cuda``.
        symmetric: the steps of a block lie around zero; if not, each block stores where
            its zero is (k_quant stores it whatever this says).
        mixed: the products that suffer most from four bits have eight: ``v_proj`` and
            ``down_proj`` of the outer layers and of every third between them, with ``q_proj``
            and ``k_proj`` where these are packed. Part of ``k_quant_mixed``, where it is not
            said again.
        head: of the graph; None is like the other products.
        embedding: of the graph; None is the builder's own choice.
    """

    provider: str
    precision: Precision
    block_size: int | None = None
    algorithm: Algorithm | None = None
    accuracy_level: int | None = None
    prune_lm_head: bool = True
    layers: int | None = None
    activations: Precision | None = None
    cuda_graph: bool = False
    symmetric: bool = True
    mixed: bool = False
    head: Head | None = None
    embedding: Embedding | None = None

    def __post_init__(self) -> None:
        wanted = _QUANTISER_OPTIONS.get(self.precision, ())
        for option in ("block_size", "algorithm", "accuracy_level"):
            value = getattr(self, option)
            if option == "algorithm" and self.precision is Precision.INT8:
                continue
            # Names leave defaults out, so a missing option would read as the default one.
            if (value is None) == (option in wanted):
                rule = "needs" if option in wanted else "has no"
                raise UsageError(
                    f"A recipe in {self.precision} {rule} {option}, got {value};"
                    f" its options are: {', '.join(wanted) or 'none'}."
                )
        if self.precision is Precision.INT8 and self.algorithm is Algorithm.DEFAULT:
            raise UsageError("A recipe in int8 names no default algorithm; leave it out.")
        if self.layers is not None and self.layers < 1:
            raise UsageError(f"layers must be at least 1, got {self.layers!r}.")

    @model_serializer(mode="wrap")
    def _without_added_defaults(self, plain: Callable[[Recipe], Any]) -> dict[str, Any]:
        """Leave out what is as it was before there was a choice: keys of a store are digests."""
        found: dict[str, Any] = plain(self)
        usual = {field.name: field.default for field in fields(self)}
        return {
            name: value
            for name, value in found.items()
            if name not in _ADDED or value != usual[name]
        }

    @property
    def quantiser(self) -> str | None:
        """Name of the grid that weights are rounded to, None where they are not quantised.

        Recipes of one quantiser round the same weights to the same values, on whatever
        provider and however the rounded weights are multiplied.
        """
        if self.block_size is None:
            return None
        parts = [self.precision.value, f"b{self.block_size}"]
        if self.algorithm not in (None, Algorithm.DEFAULT):
            parts.append(str(self.algorithm))
        return "-".join([*parts, *self._rounding_words])

    @property
    def weights(self) -> str:
        """What becomes of the weights on whatever provider: ``quantiser`` or data type, layers."""
        found = self.quantiser or "-".join([self.precision.value, *self._rounding_words])
        return found if self.layers is None else f"{found}-l{self.layers}"

    @property
    def name(self) -> str:
        """Short unique name; values that every recipe has by default are left out."""
        weights = self.quantiser or "-".join([self.precision.value, *self._rounding_words])
        parts = [self.provider, weights]
        if self.accuracy_level not in (None, 4):
            parts.append(f"acc{self.accuracy_level}")
        if not self.prune_lm_head:
            parts.append("fullhead")
        if self.layers is not None:
            parts.append(f"l{self.layers}")
        if self.activations is not None:
            parts.append(f"{self.activations}act")
        if self.cuda_graph:
            parts.append("graph")
        return "-".join(parts)

    @property
    def _rounding_words(self) -> list[str]:
        """Words for how weights are rounded, where it is not as usual."""
        words = ["mixed"] if self.mixed else []
        if not self.symmetric:
            words.append("asym")
        if self.head is not None:
            words.append(_HEADS[self.head])
        if self.embedding is not None:
            words.append(_EMBEDDINGS[self.embedding])
        return words


# Fields that came after the first records.
_ADDED = ("symmetric", "mixed", "head", "embedding")
_HEADS = {Head.INT8: "head8", Head.FLOAT: "headfloat", Head.NONE: "headless"}
_EMBEDDINGS = {Embedding.FLOAT: "embfloat", Embedding.INT4: "emb4"}
_WORDS: Mapping[str, tuple[str, Any]] = {
    **{kind.value: ("precision", kind) for kind in Precision},
    **{kind.value: ("algorithm", kind) for kind in Algorithm if kind is not Algorithm.DEFAULT},
    **{f"{kind}act": ("activations", kind) for kind in Precision},
    **{word: ("head", head) for head, word in _HEADS.items()},
    **{word: ("embedding", embedding) for embedding, word in _EMBEDDINGS.items()},
    "mixed": ("mixed", True),
    "asym": ("symmetric", False),
    "fullhead": ("prune_lm_head", False),
    "graph": ("cuda_graph", True),
}
_NUMBERS = {"b": "block_size", "acc": "accuracy_level", "l": "layers"}


def read_recipe(name: str) -> Recipe:
    """Return the recipe of a name.

    >>> read_recipe("cpu-int4-b32-asym-head8").head.value
    'int8'

    Raises:
        UsageError: an unknown word, a value twice, or another spelling than the recipe's own.
    """
    provider, *words = name.split("-")
    found: dict[str, Any] = {}
    for word in words:
        number = re.fullmatch(r"(b|acc|l)([0-9]{1,9})", word)
        if number is None and word not in _WORDS:
            raise UsageError(
                f"A recipe's name is made of words such as cpu-int4-b32-asym-head8, {name!r} has"
                f" {word!r}; known are {', '.join(_WORDS)} and b32, acc1, l20 with any number."
            )
        field, value = (_NUMBERS[number[1]], int(number[2])) if number is not None else _WORDS[word]
        if field in found:
            raise UsageError(f"A recipe's name gives a value once, {name!r} has two for {field}.")
        found[field] = value
    if "precision" not in found:
        raise UsageError(f"A recipe's name has a precision ({', '.join(Precision)}), got {name!r}.")
    if found["precision"] is Precision.INT4:
        found.setdefault("algorithm", Algorithm.DEFAULT)
    if found["precision"] in _QUANTISER_OPTIONS:
        found.setdefault("accuracy_level", 4)
    recipe = Recipe(provider=provider, **found)
    if recipe.name != name:
        raise UsageError(f"The recipe {name!r} is spelt {recipe.name!r}.")
    return recipe
