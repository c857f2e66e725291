"""What a built graph says about itself: its quantised products, their attributes, its head.

For worker processes: importing this module imports onnx_ir. External weights are
not read.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import onnx_ir

from autotune.candidate import Algorithm, Precision, Recipe
from autotune.errors import BuildError

__all__ = ["check_attributes", "read_attributes"]

_MATRIX = 2
_BITS = {Precision.INT4: 4, Precision.INT8: 8}
_FLOAT_TYPES = {Precision.FP32: "FLOAT", Precision.FP16: "FLOAT16", Precision.BF16: "BFLOAT16"}


def read_attributes(folder: Path) -> dict[str, Any]:
    """Return what the graph in ``folder`` really is.

    Returns:
        ``products``: how many MatMulNBits nodes there are per (bits, block size, accuracy
        level), as ``"bits/block/level"``; ``matmuls``: other products; ``weights``: data
        types of the stored weights of rank 2 with their counts; ``activations``: the data
        type of the key-value cache, in which the graph computes; ``prunes_head``: the head
        sees one position only; ``cuda_graph``: the runtime is told to record kernels.
    """
    model = onnx_ir.load(folder / "model.onnx")
    products: Counter[str] = Counter()
    matmuls = 0
    for node in model.graph.all_nodes():
        if node.op_type == "MatMulNBits":
            values = {name: attribute.value for name, attribute in node.attributes.items()}
            level = values.get("accuracy_level", 0)
            products[f"{values['bits']}/{values['block_size']}/{level}"] += 1
        elif node.op_type == "MatMul":
            matmuls += 1
    weights = Counter(
        str(value.dtype.name)
        for value in model.graph.initializers.values()
        if value.dtype is not None and value.shape is not None and len(value.shape) == _MATRIX
    )
    return {
        "products": dict(sorted(products.items())),
        "matmuls": matmuls,
        "weights": dict(sorted(weights.items())),
        "activations": _cache_type(model),
        "prunes_head": _prunes_head(model),
        "cuda_graph": _records_kernels(folder),
    }


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
    logits = next(output for output in model.graph.outputs if output.name == "logits")
    return logits.shape is not None and logits.shape[1] == 1


def check_attributes(found: dict[str, Any], recipe: Recipe) -> None:
    """Compare what was read with what was asked for.

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
    bits = _BITS[recipe.precision]
    wanted = {f"{bits}/{recipe.block_size}/{recipe.accuracy_level}"}
    if recipe.algorithm is Algorithm.K_QUANT_MIXED:
        wanted.add(f"8/{recipe.block_size}/{recipe.accuracy_level}")
    if set(found["products"]) != wanted or found["matmuls"]:
        raise BuildError(
            f"{recipe.name} should have products of bits/block/level {sorted(wanted)} only, the"
            f" graph has {found['products']} and {found['matmuls']} unquantised ones."
        )
