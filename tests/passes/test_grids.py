"""Which weight is rounded how while training; the graphs themselves have it bit by bit."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="extra 'train' is not installed")
pytest.importorskip("peft", reason="extra 'train' is not installed")
pytest.importorskip("onnxruntime_genai", reason="extra 'cpu' is not installed")

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from autotune.candidate import read_recipe
from autotune.errors import UsageError
from autotune.passes import MergePass, has_grid, read_architecture, why_not_mixed
from autotune.targets import check_recipe, mixed_layers

from ..tiny_model import make_tiny_model  # noqa: TID252 - tests are no installed package
from .grid_weights import differing, rounded_as_trained
from .training_runs import ADAPTER, ON_CPU, base_model, compute, started

# Modules behind the folder's front door.
model_grids, qat = (import_module(f"autotune.passes.{name}") for name in ("model_grids", "qat"))

BEST = "int4-b32-rtn-mixed-asym-head8"
NAMES = [
    f"model.layers.{layer}.{part}"
    for layer in range(30)
    for part in ("self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.down_proj")
]


def grids_of(quantiser: str, *, layers: int = 30, tied: bool = True) -> Any:
    return model_grids.ModelGrids.of(quantiser, names=NAMES, layers=layers, tied=tied)


def test_layers_with_eight_bits_depend_on_how_many_there_are() -> None:
    assert sorted(mixed_layers(30)) == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29]
    assert sorted(mixed_layers(20)) == [0, 1, 2, 4, 7, 10, 13, 16, 18, 19]
    assert sorted(mixed_layers(2)) == [0]
    whole, cut = grids_of(BEST), grids_of(BEST, layers=20)
    seven = "model.layers.7.mlp.down_proj"
    assert (whole.product(seven).bits, cut.product(seven).bits) == (4, 8)
    assert whole.product("model.layers.6.self_attn.q_proj").bits == 8
    assert whole.product("model.layers.6.self_attn.o_proj").bits == 4
    assert grids_of("int4-b32-rtn-asym").product("model.layers.6.mlp.down_proj").bits == 4


@pytest.mark.parametrize(
    ("quantiser", "tied", "head", "table"),
    [
        ("int4-b32", True, 4, "shared"),
        ("int4-b32", False, 4, None),
        ("int8-b32", True, 8, None),
        ("int8-b32-headfloat", True, None, "shared"),
        (BEST, True, 8, "shared"),
        (BEST, False, 8, None),
        ("int4-b32-rtn-headfloat", True, None, None),
        ("int4-b32-headfloat", True, None, 4),
        ("int4-b32-head8-emb4", True, 8, 4),
        ("int4-b32-asym-embfloat", True, 4, None),
    ],
)
def test_head_and_table_of_token_vectors_are_on_grids_of_their_own(
    quantiser: str, tied: bool, head: int | None, table: int | str | None
) -> None:
    found = grids_of(quantiser, tied=tied)
    assert (None if found.head is None else found.head.bits) == head
    assert found.shares_head == (table == "shared")
    if not found.shares_head:
        assert (None if found.table is None else found.table.bits) == table


@pytest.mark.parametrize(
    "quantiser",
    [
        *("int4-b32-k_quant", "int4-b32-k_quant_mixed", "int8-b32-k_quant", "int4-b48", "fp16"),
        *("int4-b32-headless", "int4-b32-asym-mixed", "int4-b32-l20", "int4-b32-acc1", "", "int4"),
    ],
)
def test_quantisers_without_a_grid_are_refused_with_those_that_have_one(quantiser: str) -> None:
    assert not has_grid(quantiser)
    with pytest.raises(UsageError, match=rf"default or rtn.*got quantiser '{quantiser}'.*{BEST}"):
        grids_of(quantiser)


def test_mixed_is_refused_for_layers_with_other_names() -> None:
    assert not why_not_mixed("int4-b32-rtn", [], 2)
    assert not why_not_mixed("int4-b32-mixed", NAMES, 30)
    assert "layer 1 of the model has no self_attn.v_proj" in why_not_mixed(BEST, NAMES[:4], 9)
    names = [name.replace("mlp.down_proj", "mlp.fc2") for name in NAMES]
    with pytest.raises(UsageError, match=r"no mlp\.down_proj.*a quantiser without mixed"):
        model_grids.ModelGrids.of(BEST, names=names, layers=30, tied=True)


def test_training_computes_with_the_rounded_weights_of_the_merged_model(
    inputs: dict[str, Path], tmp_path: Path, device: str
) -> None:
    trained, merged = trained_weights(inputs, tmp_path)
    model = base_model.load_model(merged, torch.float32)
    expected = rounded_as_trained(model, BEST)
    assert trained.keys() == expected.keys()
    assert len(trained) == 16
    for name, weight in trained.items():
        # Sums in another order put few weights on another code.
        away = weight.float() - expected[name].to(weight.dtype).float()
        share = float(away.abs().gt(1e-5).float().mean())
        assert share < (1e-3 if device == "cpu" else 0.05), name
        assert not torch.equal(expected[name], dict(model.named_modules())[name].weight)


def trained_weights(inputs: dict[str, Path], folder: Path) -> tuple[dict[str, torch.Tensor], Path]:
    """Train with the best quantiser; return the weights of the last products, and the merged."""
    (folder / "adapter").mkdir()
    (folder / "merged").mkdir()
    adapter = replace(ADAPTER, method="qat-lora", quantiser=BEST)
    with started(inputs, adapter) as one:
        one.advance(4)
        one.peft_model(input_ids=torch.tensor([[1, 2, 3]], device=one.base.device))
        found = {
            name: (module.columns.T if isinstance(module, qat.RoundedLinear) else module.weight)
            .detach()
            .cpu()
            .clone()
            for name, module in one.base.named_modules()
            if isinstance(module, (qat.RoundedLinear, torch.nn.Embedding)) or name == "lm_head"
        }
        one.save(folder / "adapter")
    MergePass().run({"model": inputs["model"], "adapter": folder / "adapter"}, folder / "merged")
    return found, folder / "merged"


def build(wanted: Iterable[tuple[str, Path, Path]]) -> None:
    """Build graphs of (quantiser, model, folder to make)."""
    rows = [(f"cpu-{name}", str(model), str(built)) for name, model, built in wanted]
    script = Path(__file__).with_name("build_graphs.py")
    subprocess.run(
        [sys.executable, str(script)],
        input=json.dumps(rows),
        text=True,
        check=True,
        capture_output=True,
    )


@pytest.mark.slow
def test_the_graph_of_a_trained_adapter_has_the_weights_that_its_training_ended_with(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute, "training_compute", lambda: ON_CPU)
    trained, merged = trained_weights(inputs, tmp_path)
    build([(BEST, merged, tmp_path / "built")])
    found = differing(tmp_path / "built", trained)
    assert len(found) == 12
    assert sum(found.values()) == 0


def tiny(folder: Path, kind: str = "llama", *, layers: int = 2, **changes: Any) -> Path:
    """A random model of another architecture or with other widths."""
    make_tiny_model(folder, layers=layers)
    config = json.loads((folder / "config.json").read_text())
    for name in ("architectures", "model_type", "rope_parameters", "transformers_version"):
        config.pop(name, None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
            AutoConfig.for_model(kind, **config | changes)
        )
    (folder / "model.safetensors").unlink()
    made.save_pretrained(folder)
    return folder


QUANTISERS = [
    "-".join(filter(None, words))
    for words in itertools.product(
        ("int4-b32", "int4-b128", "int4-b32-rtn", "int4-b128-rtn", "int8-b32", "int8-b64-rtn"),
        ("", "mixed"),
        ("", "asym"),
        ("", "head8", "headfloat"),
        ("", "embfloat", "emb4"),
    )
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layers", "changes"),
    [
        (9, {}),
        (2, {"tie_word_embeddings": False}),
        # The last block of a row is not full.
        (2, {"hidden_size": 160, "intermediate_size": 224, "head_dim": 16}),
    ],
    ids=["nine layers", "own head", "odd widths"],
)
def test_every_quantiser_with_a_grid_has_the_weights_of_its_graph_bit_by_bit(
    tmp_path: Path, layers: int, changes: dict[str, Any]
) -> None:
    folder = tiny(tmp_path / "model", layers=layers, **changes)
    architecture = read_architecture(folder)
    names = [q for q in QUANTISERS if not check_recipe(read_recipe(f"cpu-{q}"), architecture)]
    assert len(names) > 25
    build((name, folder, tmp_path / name) for name in names)
    model = base_model.load_model(folder, torch.float32)
    for name in names:
        found = differing(tmp_path / name, rounded_as_trained(model, name))
        assert len(found) >= 5 * layers, name
        assert not any(found.values()), (name, found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["mistral", "qwen2", "qwen3", "gemma", "granite", "olmo", "ernie4_5", "nemotron"]
)
def test_the_same_products_of_other_architectures_have_eight_bits(
    tmp_path: Path, kind: str
) -> None:
    folder = tiny(tmp_path / "model", kind, layers=9, head_dim=16)
    build([(BEST, folder, tmp_path / "built")])
    model = base_model.load_model(folder, torch.float32)
    found = differing(tmp_path / "built", rounded_as_trained(model, BEST))
    assert len(found) == (38 if kind == "nemotron" else 47)
    assert not any(found.values()), found
