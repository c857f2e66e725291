"""What a built graph says about itself: its quantised products, their attributes, its head.

For worker processes: importing this module imports onnx_ir. External weights are
not read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx_ir

from autotune.candidate import Algorithm, Precision, Recipe
from autotune.errors import BuildError
from autotune.targets import embedding_of, has_zero_points, head_of

__all__ = ["check_attributes", "read_attributes"]

_MATRIX = 2
_ZERO_POINTS = 3  # the place of these among the inputs of MatMulNBits
_BITS = {Precision.INT4: 4, Precision.INT8: 8}
_FLOAT_TYPES = {Precision.FP32: "FLOAT", Precision.FP16: "FLOAT16", Precision.BF16: "BFLOAT16"}


def read_attributes(folder: Path) -> dict[str, Any]:
    """Return what the graph in ``folder`` really is.

    Returns:
        ``products``: how many MatMulNBits nodes there are per (bits, block size, accuracy
        level), as ``"bits/block/level"``, and ``body``: the same without the head;
        ``zero_points``: how many of them store those; ``matmuls``: other products;
        ``weights``: data types of the stored weights of rank 2 with their counts;
        ``head``: ``int4``, ``int8``, ``float``, or empty where no node has its name;
        ``embedding``: the same, or ``shared`` where it reads the head's weights;
        ``activations``: the data type of the key-value cache, in which the graph computes;
        ``prunes_head``: the head sees one position only; ``cuda_graph``: the runtime is
        told to record kernels.
    """
    model = onnx_ir.load(folder / "model.onnx")
    nodes = list(model.graph.all_nodes())
    quantised = [node for node in nodes if node.op_type == "MatMulNBits"]
    matmuls = [node for node in nodes if node.op_type == "MatMul"]
    head = next((node for node in (*quantised, *matmuls) if _is_head(node)), None)
    weights = Counter(
        str(value.dtype.name)
        for value in model.graph.initializers.values()
        if value.dtype is not None and value.shape is not None and len(value.shape) == _MATRIX
    )
    return {
        "products": _sorted_counts(map(_kind, quantised)),
        "body": _sorted_counts(_kind(node) for node in quantised if node is not head),
        "zero_points": sum(_input(node, _ZERO_POINTS) is not None for node in quantised),
        "matmuls": len(matmuls),
        "weights": _sorted_counts(weights.elements()),
        "head": "" if head is None else _bits_of(head),
        "embedding": _embedding(nodes, head),
        "activations": _cache_type(model),
        "prunes_head": _prunes_head(model),
        "cuda_graph": _records_kernels(folder),
    }


def _sorted_counts(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))


def _attribute(node: Any, name: str, default: int) -> int:
    found = node.attributes.get(name)
    return default if found is None else int(found.value)


def _kind(node: Any) -> str:
    """Return bits, block size and accuracy level of a MatMulNBits node."""
    sizes = (_attribute(node, "bits", 4), _attribute(node, "block_size", 0))
    return "/".join(map(str, (*sizes, _attribute(node, "accuracy_level", 0))))


def _input(node: Any, place: int) -> Any:
    return node.inputs[place] if len(node.inputs) > place else None


def _is_head(node: Any) -> bool:
    return (node.name or "").startswith("/lm_head/MatMul")


def _bits_of(node: Any) -> str:
    quantised = ("MatMulNBits", "GatherBlockQuantized")
    return f"int{_attribute(node, 'bits', 4)}" if node.op_type in quantised else "float"


def _embedding(nodes: list[Any], head: Any) -> str:
    """Return what token vectors are read from."""
    lookups = ("Gather", "GatherBlockQuantized")
    for node in nodes:
        if node.op_type in lookups and (node.name or "").startswith("/model/embed_tokens/"):
            table = node.inputs[0]
            while table.producer() is not None:  # a Reshape or Transpose of the head's weights
                table = table.producer().inputs[0]
            shared = head is not None and any(table is one for one in head.inputs)
            return "shared" if shared else _bits_of(node)
    return ""


def _records_kernels(folder: Path) -> bool:
    config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
    options = config["model"]["decoder"]["session_options"].get("provider_options", [])
    return any(one.get("cuda", {}).get("enable_cuda_graph") == "1" for one in options)


def _cache_type(model: Any) -> str:
    caches = (one for one in model.graph.inputs if one.name.startswith("past_key_values"))
    cache = next(caches, None)
    return "" if cache is None or cache.dtype is None else str(cache.dtype.name)


def _prunes_head(model: Any) -> bool:
    """Whether ``logits`` has one position: its second dimension is then the constant 1."""
    logits = next((one for one in model.graph.outputs if one.name == "logits"), None)
    return logits is not None and logits.shape is not None and logits.shape[1] == 1


def check_attributes(found: dict[str, Any], recipe: Recipe, *, tied: bool) -> None:
    """Compare what was read with what was asked for.

    Args:
        found: as ``read_attributes`` returns it.
        recipe: what was asked for.
        tied: head and embedding of the model share their weights.

    Raises:
        BuildError: they differ; the builder ignores options without a word.
    """
    if recipe.precision in _BITS:
        _check_products(found, recipe)
    else:
        expected = _FLOAT_TYPES[recipe.precision]
        if found["products"] or expected not in found["weights"]:
            raise BuildError(
                f"{recipe.name} should have {expected} weights and no quantised products, the"
                f" graph has {found['weights']} and {found['products']}."
            )
    _check_ends(found, recipe, tied=tied)
    if recipe.activations and found["activations"] != _FLOAT_TYPES[recipe.activations]:
        raise BuildError(
            f"{recipe.name} should compute in {_FLOAT_TYPES[recipe.activations]}, the graph"
            f" computes in {found['activations'] or 'an unknown type'}."
        )
    if found["cuda_graph"] != recipe.cuda_graph:
        raise BuildError(
            f"{recipe.name} asks for cuda_graph={recipe.cuda_graph}, genai_config.json says"
            f" {found['cuda_graph']}."
        )
    if found["prunes_head"] != recipe.prune_lm_head:
        raise BuildError(
            f"{recipe.name} asks for prune_lm_head={recipe.prune_lm_head}, the graph's logits"
            f" {'have' if found['prunes_head'] else 'do not have'} one position."
        )


def _check_products(found: dict[str, Any], recipe: Recipe) -> None:
    mixed = recipe.mixed or recipe.algorithm is Algorithm.K_QUANT_MIXED
    bits = {_BITS[recipe.precision]} | ({8} if mixed else set())
    wanted = {f"{one}/{recipe.block_size}/{recipe.accuracy_level}" for one in bits}
    has_float_head = head_of(recipe) == "float"
    if set(found["body"]) != wanted or found["matmuls"] != has_float_head:
        raise BuildError(
            f"{recipe.name} should have products of bits/block/level {sorted(wanted)} only, the"
            f" graph has {found['body']} and {found['matmuls']} unquantised ones."
        )
    products = sum(found["products"].values())
    if found["zero_points"] != (products if has_zero_points(recipe) else 0):
        asked = "all" if has_zero_points(recipe) else "none"
        raise BuildError(
            f"{recipe.name} should store zero points for {asked} of its {products} products, the"
            f" graph does for {found['zero_points']}."
        )


def _check_ends(found: dict[str, Any], recipe: Recipe, *, tied: bool) -> None:
    """Compare head and embedding; the builder names them alike for every architecture."""
    wanted = {"head": head_of(recipe), "embedding": embedding_of(recipe, tied=tied)}
    for part, what in wanted.items():
        if found[part] != what:
            raise BuildError(
                f"{recipe.name} should have its {part} in {what}, the graph has it in"
                f" {found[part] or 'an unknown type'}."
            )
