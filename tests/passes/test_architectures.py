"""What a model folder's config and headers say, and which architectures are refused."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import ModelSourceError
from autotune.passes import EXPORTABLE, read_architecture
from autotune.targets import Architecture

from .model_files import SHAPES, write_model, write_safetensors


def test_the_architecture_is_read_without_loading_weights(tmp_path: Path) -> None:
    assert read_architecture(write_model(tmp_path)) == Architecture(
        name="LlamaForCausalLM",
        layers=2,
        hidden_size=64,
        vocab_size=300,
        tied_embeddings=True,
        context_length=512,
        parameters=300 * 64 + 64,
        input_widths=(64,),
    )


@pytest.mark.parametrize(
    ("field", "has_head", "tied", "parameters"),
    [
        (True, False, True, 19_264),
        (True, True, True, 19_264),  # a tied head that was saved too is counted once
        (False, True, False, 38_464),
        (None, True, False, 38_464),
        (None, False, True, 19_264),
    ],
)
def test_tying_follows_the_config_and_else_the_files(
    field: bool | None, has_head: bool, tied: bool, parameters: int, tmp_path: Path
) -> None:
    write_model(tmp_path, tie_word_embeddings=field)
    head = {"lm_head.weight": (300, 64)} if has_head else {}
    write_safetensors(tmp_path / "model.safetensors", SHAPES | head)
    architecture = read_architecture(tmp_path)
    assert (architecture.tied_embeddings, architecture.parameters) == (tied, parameters)


def test_shards_are_counted_once_through_their_index(tmp_path: Path) -> None:
    write_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    for name, (tensor, shape) in zip(names, SHAPES.items(), strict=True):
        write_safetensors(tmp_path / name, {tensor: shape})
    write_safetensors(tmp_path / "consolidated.safetensors", SHAPES)
    index = {"weight_map": dict(zip(SHAPES, names, strict=True))}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_architecture(tmp_path).parameters == 19_264
    (tmp_path / names[1]).unlink()
    with pytest.raises(ModelSourceError, match="00002-of-00002"):
        read_architecture(tmp_path)


@pytest.mark.parametrize("names", [["BertModel"], ["WhisperForConditionalGeneration"], [], None])
def test_an_architecture_that_cannot_be_exported_is_refused_with_the_list(
    names: list[str] | None, tmp_path: Path
) -> None:
    with pytest.raises(ModelSourceError, match=r"LlamaForCausalLM.*builder\.py"):
        read_architecture(write_model(tmp_path, architectures=names))


@pytest.mark.parametrize("value", [None, 0, -1, "2"])
def test_a_config_without_sizes_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="num_hidden_layers"):
        read_architecture(write_model(tmp_path, num_hidden_layers=value))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 7, b"\xff" * 16, b"\x02" + b"\x00" * 7 + b"[]", b"\x80\x02pickle" * 9],
)
def test_files_that_are_no_safetensors_are_refused(content: bytes, tmp_path: Path) -> None:
    write_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelSourceError, match="whole safetensors files"):
        read_architecture(tmp_path)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_length_than_its_header_says_is_refused(
    change: int, tmp_path: Path
) -> None:
    file = write_model(tmp_path) / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:change] if change < 0 else content + b"\x00")
    with pytest.raises(ModelSourceError, match="against what its header says"):
        read_architecture(tmp_path)


def test_the_real_tiny_model_is_counted_as_torch_counts_it(tiny_model_dir: Path) -> None:
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - only this test pays

    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    assert read_architecture(tiny_model_dir).parameters == model.num_parameters()


@pytest.mark.skipif(not find_spec("onnxruntime_genai"), reason="onnxruntime-genai is not installed")
def test_the_installed_builder_knows_every_architecture_of_the_table() -> None:
    spec = find_spec("onnxruntime_genai")
    assert spec is not None
    assert spec.submodule_search_locations
    builder = Path(spec.submodule_search_locations[0]) / "models" / "builder.py"
    source = builder.read_text(encoding="utf-8")
    assert [name for name in EXPORTABLE if f'architectures[0] == "{name}"' not in source] == []
