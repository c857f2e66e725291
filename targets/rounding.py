"""What the builder makes of a recipe's weights, and which combinations it gets wrong.

The rules were found by building, loading and comparing every combination on a tiny model
(``python -m bench.matrix``); the reasons stand in the sources named beside them. One graph
has one name: what would be built the same under a shorter name is refused too, with that name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from autotune.candidate import Algorithm, Embedding, Head, Precision, Recipe

from .contract import Architecture

__all__ = [
    "BuiltEmbedding",
    "BuiltHead",
    "embedding_of",
    "has_zero_points",
    "head_of",
    "mixed_layers",
]

_GENAI = "https://github.com/microsoft/onnxruntime-genai/blob/v0.18.0/src/python/py/models"
_BUILDER = f"{_GENAI}/builders/base.py"
_ORT = "https://github.com/microsoft/onnxruntime/blob/v1.32.0/onnxruntime/python/tools/quantization"
_QUANTISER = f"{_ORT}/matmul_nbits_quantizer.py"
_COMPRESSOR = f"{_ORT}/neural_compressor/weight_only.py"

_QUANTISED = (Precision.INT8, Precision.INT4)
_K_QUANT = (Algorithm.K_QUANT, Algorithm.K_QUANT_MIXED)

BuiltHead = Literal["int4", "int8", "float"]
BuiltEmbedding = Literal["shared", "int4", "float"]


def head_of(recipe: Recipe) -> BuiltHead:
    """Return the type of the head's weights in the graph."""
    if recipe.precision not in _QUANTISED or recipe.head is Head.FLOAT:
        return "float"
    has_eight = recipe.head is Head.INT8 or recipe.algorithm is Algorithm.K_QUANT_MIXED
    return "int8" if has_eight or recipe.precision is Precision.INT8 else "int4"


def embedding_of(recipe: Recipe, *, tied: bool) -> BuiltEmbedding:
    """Return what the table of token vectors is in the graph.

    ``shared`` is the head's weights used twice. The builder looks up four bits in int4
    models only, and rounds a table of its own with the default algorithm only.

    Args:
        recipe: how it is built.
        tied: head and embedding of the model share their weights.
    """
    # Four bits can be shared with a head that is rounded, floats with one that is not.
    alike = (recipe.precision is Precision.INT4) == (head_of(recipe) != "float")
    if tied and recipe.embedding is None and alike:
        return "shared"
    rounds = recipe.precision is Precision.INT4 and recipe.algorithm is Algorithm.DEFAULT
    asked = recipe.embedding is Embedding.INT4 or (tied and recipe.embedding is None)
    return "int4" if rounds and asked else "float"


def has_zero_points(recipe: Recipe) -> bool:
    """Return whether each block of the products stores where its zero is."""
    is_quantised = recipe.precision in _QUANTISED
    return is_quantised and (not recipe.symmetric or recipe.algorithm in _K_QUANT)


def mixed_layers(layers: int) -> frozenset[int]:
    """Return which of so many layers have some products in eight bits with ``mixed``.

    The outer eighths and every third between (``make_matmul_mixed_precision`` in the builder).
    """
    eighth = layers / 8
    return frozenset(
        number
        for number in range(layers)
        if number < eighth or number >= 7 * eighth or (number - round(eighth)) % 3 == 2  # noqa: PLR2004 - the last of three
    )


_Reason = tuple[str, str]


def rounding_reason(recipe: Recipe, architecture: Architecture) -> _Reason | None:
    """Return why the weights cannot be built so, with its source; None if they can."""
    if recipe.head is Head.NONE:
        return "the graph loads, and the first request finds no output 'logits' in it", _BUILDER
    return (
        _same_as_shorter(recipe, architecture)
        or _not_loaded(recipe, architecture)
        or _odd_blocks(recipe, architecture)
    )


def _same_as_shorter(recipe: Recipe, architecture: Architecture) -> _Reason | None:
    """Return why some of the recipe's words change nothing."""
    tied = architecture.tied_embeddings
    rules = (
        (
            recipe.precision not in _QUANTISED
            and (not recipe.symmetric or recipe.mixed or recipe.head is not None),
            "{0.precision} rounds no product: it has no asym, mixed or head",
            _BUILDER,
        ),
        (
            recipe.precision is Precision.INT8 and (recipe.mixed or recipe.head is Head.INT8),
            "every product of int8 has eight bits, the head's too: leave out mixed and head8",
            _BUILDER,
        ),
        (
            not recipe.symmetric and recipe.algorithm in _K_QUANT,
            "{0.algorithm} stores zero points whatever is asked: leave out asym",
            _COMPRESSOR,
        ),
        (
            recipe.algorithm is Algorithm.K_QUANT_MIXED
            and (recipe.mixed or recipe.head is Head.INT8),
            "k_quant_mixed has mixed and head8 already: leave them out",
            _BUILDER,
        ),
        (
            recipe.algorithm is Algorithm.K_QUANT and recipe.mixed and recipe.head is not None,
            "k_quant with mixed and another head is spelt k_quant_mixed",
            _BUILDER,
        ),
        (
            recipe.embedding is Embedding.INT4
            and embedding_of(recipe, tied=tied) != Embedding.INT4.value,
            "the builder rounds a table of token vectors in int4 with the default algorithm only",
            _QUANTISER,
        ),
        (
            recipe.embedding is not None
            and embedding_of(replace(recipe, embedding=None), tied=tied) == recipe.embedding.value,
            "the model gets its embedding in {0.embedding} anyway: leave it out",
            _BUILDER,
        ),
    )
    for applies, reason, source in rules:
        if applies:
            return reason.format(recipe), source
    return None


def _not_loaded(recipe: Recipe, architecture: Architecture) -> _Reason | None:
    """Return why the graph would be built and not load: it names weights that are not there."""
    shared = embedding_of(recipe, tied=architecture.tied_embeddings) == "shared"
    if not shared or recipe.algorithm is not Algorithm.DEFAULT:
        return None
    if recipe.symmetric and recipe.head is None:
        return None
    asked = "asym" if not recipe.symmetric else "head8"
    reason = (
        f"the graph builds but does not load: the default algorithm with {asked} gives the"
        " weights that head and embedding share other names than the embedding looks for;"
        " add emb4 or embfloat, or use rtn"
    )
    return reason, _BUILDER


def _odd_blocks(recipe: Recipe, architecture: Architecture) -> _Reason | None:
    """Return why packing zero points fails: two of a row share a byte, and one is left over."""
    packs = recipe.precision is Precision.INT4 and recipe.algorithm is not Algorithm.DEFAULT
    if not packs or not has_zero_points(recipe) or recipe.block_size is None:
        return None
    for width in sorted(architecture.input_widths):
        blocks = -(-width // recipe.block_size)
        if blocks % 2:
            reason = (
                f"{recipe.algorithm} packs two zero points to a byte and fails where a row has an"
                f" odd number of blocks: {width} weights in blocks of {recipe.block_size} are"
                f" {blocks}"
            )
            return reason, _COMPRESSOR
    return None
