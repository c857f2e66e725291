"""Writes a model folder without some of its layers: weights renumbered, nothing else touched.

For worker processes: importing this module imports torch. Tensors go from file to file
in their own type, so what is kept is bit-equal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from autotune.errors import ModelSourceError

from .architectures import copy_without_weights, read_json, weight_files
from .base_model import quiet_transformers

__all__ = ["write_cut"]

_IN_LAYER = re.compile(r"(?P<before>(?:.*?\.)?layers\.)(?P<number>\d+)(?P<after>\..+)")
_INDEX = "model.safetensors.index.json"
# Fields with a value for every layer, which transformers fills in where a file lacks them.
_PER_LAYER = ("layer_types", "no_rope_layers", "mlp_layer_types")


def write_cut(source: Path, folder: Path, *, kept: Sequence[int]) -> None:
    """Write the model in ``source`` with the layers ``kept`` alone, in their order.

    Tokenizer, licence and whatever else holds no weights are copied.

    Args:
        source: Hugging Face folder.
        folder: exists and is empty.
        kept: numbers of layers, rising.

    Raises:
        ModelSourceError: the weights are not numbered by layers as the configuration says.
    """
    config = _cut_config(source, kept)
    numbers = {old: new for new, old in enumerate(kept)}
    weight_map: dict[str, str] = {}
    found: set[int] = set()
    total = 0
    for file in weight_files(source):
        with safe_open(file, framework="pt") as tensors:
            names = {name: _renumbered(name, numbers, found) for name in tensors.keys()}  # noqa: SIM118 - no mapping
            cut = {new: tensors.get_tensor(old) for old, new in names.items() if new is not None}
        if cut:
            save_file(cut, folder / file.name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(cut, file.name)
        total += sum(tensor.nbytes for tensor in cut.values())
    expected = set(range(read_json(source / "config.json")["num_hidden_layers"]))
    if found != expected:
        raise ModelSourceError(
            "Weights of layers are named layers.0 to layers.N - 1, those of"
            f" {source} have {len(found)} numbers where the configuration says {len(expected)}"
            " layers; leave the depth as it is."
        )
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    if (source / _INDEX).is_file():
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / _INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")
    copy_without_weights(source, folder)


def _renumbered(name: str, numbers: Mapping[int, int], found: set[int]) -> str | None:
    """Return a tensor's name in the cut model, None where its layer is gone."""
    match = _IN_LAYER.fullmatch(name)
    if match is None:
        return name
    old = int(match["number"])
    found.add(old)
    return f"{match['before']}{numbers[old]}{match['after']}" if old in numbers else None


def _cut_config(source: Path, kept: Sequence[int]) -> dict[str, Any]:
    """Return ``config.json`` for the kept layers; what differs between layers is spelt out."""
    from transformers import AutoConfig  # noqa: PLC0415 - takes seconds

    quiet_transformers()
    config = read_json(source / "config.json")
    full = AutoConfig.from_pretrained(source)
    for field in _PER_LAYER:
        values = getattr(full, field, None)
        if values is not None:
            config[field] = [values[number] for number in kept]
    config["num_hidden_layers"] = len(kept)
    return config
