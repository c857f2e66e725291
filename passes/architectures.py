"""Which model architectures can be exported, and what a model folder's files say about it.

Read from ``config.json`` and the headers of the safetensors files; no weight is
loaded. A model that cannot be exported is refused here, before anything costly.
"""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotune.errors import ModelSourceError
from autotune.targets import Architecture

from .manifest import MANIFEST

__all__ = [
    "EXPORTABLE",
    "SOURCE",
    "check_exportable",
    "copy_without_weights",
    "layer_names",
    "read_architecture",
    "read_json",
    "safetensors_shapes",
    "weight_files",
]

# The dispatch on ``config.architectures[0]`` in the builder of onnxruntime-genai 0.18.
# Its classes for images and sound are left out: autotune trains on text alone.
SOURCE = (
    "https://github.com/microsoft/onnxruntime-genai/blob/v0.18.0/src/python/py/models/builder.py"
)
EXPORTABLE = (
    "Ernie4_5ForCausalLM",
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "GemmaForCausalLM",
    "GptOssForCausalLM",
    "GraniteForCausalLM",
    "GraniteMoeHybridForCausalLM",
    "HunYuanDenseV1ForCausalLM",
    "InternLM2ForCausalLM",
    "Lfm2ForCausalLM",
    "Lfm2MoeForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "NemotronForCausalLM",
    "OlmoForCausalLM",
    "Phi3ForCausalLM",
    "Phi3SmallForCausalLM",
    "PhiForCausalLM",
    "PhiMoEForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "SmolLM3ForCausalLM",
)

# The cap of the format itself: https://github.com/huggingface/safetensors#format
_HEADER_CAP = 100_000_000
_HEADS = frozenset({"lm_head.weight", "output.weight"})
_MATRIX = 2
_INDEX = "model.safetensors.index.json"
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".msgpack")


def check_exportable(config: Mapping[str, Any], *, where: str) -> str:
    """Return the architecture's name.

    Args:
        config: content of ``config.json``.
        where: the model, for the message.

    Raises:
        ModelSourceError: it names none, or one that the builder does not export.
    """
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    if name not in EXPORTABLE:
        raise ModelSourceError(
            f"The ONNX builder exports some architectures only, {where} is {name!r}; choose a "
            f"model of one of: {', '.join(EXPORTABLE)} ({SOURCE})."
        )
    return str(name)


def read_architecture(model_dir: Path) -> Architecture:
    """Return what recipes depend on, from the files of ``model_dir``.

    Raises:
        ModelSourceError: the architecture cannot be exported, or a file is absent or damaged.
    """
    config = read_json(model_dir / "config.json")
    name = check_exportable(config, where=str(model_dir))
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(model_dir):
        shapes |= safetensors_shapes(file)
    tied = bool(config.get("tie_word_embeddings", not _HEADS & shapes.keys()))
    counted = {key: shape for key, shape in shapes.items() if not (tied and key in _HEADS)}
    vocab_size = _positive(config, "vocab_size", where=model_dir)
    return Architecture(
        name=name,
        layers=_positive(config, "num_hidden_layers", where=model_dir),
        hidden_size=_positive(config, "hidden_size", where=model_dir),
        vocab_size=vocab_size,
        tied_embeddings=tied,
        context_length=_positive(config, "max_position_embeddings", where=model_dir),
        parameters=sum(math.prod(shape) for shape in counted.values()),
        input_widths=tuple(
            sorted({shape[-1] for shape in shapes.values() if len(shape) == _MATRIX})
        ),
    )


def layer_names(model_dir: Path) -> list[str]:
    """Return the full names of the model's matrices, embeddings and head left out.

    Raises:
        ModelSourceError: as ``read_architecture``.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(model_dir):
        shapes |= safetensors_shapes(file)
    vocab_size = _positive(read_json(model_dir / "config.json"), "vocab_size", where=model_dir)
    return sorted(
        key.removesuffix(".weight")
        for key, shape in shapes.items()
        if key.endswith(".weight") and len(shape) == _MATRIX and shape[0] != vocab_size
    )


def weight_files(model_dir: Path) -> list[Path]:
    """Return the safetensors files that make up the model, sorted; empty where there are none.

    Raises:
        ModelSourceError: the index names a file that is absent or outside the folder.
    """
    if not (model_dir / _INDEX).is_file():
        single = model_dir / "model.safetensors"
        return [single] if single.is_file() else sorted(model_dir.glob("model*.safetensors"))
    shards = read_json(model_dir / _INDEX).get("weight_map", {})
    files = [model_dir / name for name in sorted(set(shards.values()))]
    for file in files:
        if file.parent != model_dir or not file.is_file():
            raise ModelSourceError(
                f"Every file named in {_INDEX} lies beside it, {file} does not; fetch it again."
            )
    return files


def copy_without_weights(source: Path, folder: Path) -> None:
    """Copy every file of ``source`` that holds no weights and that ``folder`` lacks.

    The store's own manifest of ``source`` stays behind.
    """
    for file in sorted(source.iterdir()):
        is_left = file.suffix in _WEIGHTS or file.name.endswith((".index.json", MANIFEST))
        if file.is_file() and not is_left and not (folder / file.name).exists():
            shutil.copyfile(file, folder / file.name)


def safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a safetensors file, from its header alone.

    Raises:
        ModelSourceError: it is no safetensors file, or shorter than its header says.
    """
    try:
        header = _safetensors_header(path)
        return {key: tuple(entry["shape"]) for key, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ModelSourceError(
            f"Weights are read from whole safetensors files, {path} is none ({error}); "
            f"fetch it again."
        ) from error


def _safetensors_header(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > _HEADER_CAP:
            raise ValueError(f"its header would have {length} bytes")
        header: dict[str, Any] = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    extra = path.stat().st_size - 8 - length - end
    if extra:
        raise ValueError(f"it has {extra:+d} bytes against what its header says")
    return header


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in ``path``.

    Raises:
        ModelSourceError: it is absent or no JSON object.
    """
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelSourceError(
            f"A model folder has a {path.name}, {path.parent} has none; give a folder that was "
            f"saved by transformers."
        ) from error
    except ValueError as error:
        raise ModelSourceError(f"{path} must be JSON ({error}); fetch the model again.") from error
    if not isinstance(data, dict):
        raise ModelSourceError(f"{path} must be a JSON object, got {type(data).__name__}.")
    return data


def _positive(config: Mapping[str, Any], field: str, *, where: Path) -> int:
    value = config.get(field)
    if not isinstance(value, int) or value <= 0:
        raise ModelSourceError(
            f"config.json of {where} needs a positive {field}, it has {value!r}; "
            f"use the folder that transformers saved."
        )
    return value
