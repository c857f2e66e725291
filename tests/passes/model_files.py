"""Model folders made without torch: a config, zero weights and a stub of a tokenizer."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "vocab_size": 300,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
SHAPES = {"model.embed_tokens.weight": (300, 64), "model.norm.weight": (64,)}


def write_safetensors(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Write float32 zeros of these shapes in the safetensors format."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def write_model(folder: Path, **config: Any) -> Path:
    """Write a folder that passes for a model; ``config`` changes fields, None removes them."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = {key: value for key, value in (CONFIG | config).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(fields))
    (folder / "tokenizer.json").write_text("{}")
    write_safetensors(folder / "model.safetensors", SHAPES)
    return folder
