"""Real builds of the tiny model in a real worker, proven or refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="extra 'train' is not installed")
pytest.importorskip("peft", reason="extra 'train' is not installed")
pytest.importorskip("onnxruntime_genai", reason="extra 'cpu' is not installed")
pytest.importorskip("onnx_ir", reason="extra 'cpu' is not installed")

import torch

from autotune.candidate import Algorithm, Embedding, Head, Precision, Recipe
from autotune.errors import BuildError
from autotune.passes import BuildPass, OtherPython
from autotune.plain import to_plain
from autotune.targets import Job, JobResult, LocalExecutor

from ..tiny_model import make_tiny_model  # noqa: TID252 - tests are no installed package
from .grid_weights import differing, rounded_as_trained

# Modules behind the folder's front door.
base_model, building, graph, proof = (
    import_module(f"autotune.passes.{n}") for n in ("base_model", "build", "graph", "proof")
)

INT4 = Recipe(
    provider="cpu",
    precision=Precision.INT4,
    block_size=32,
    algorithm=Algorithm.DEFAULT,
    accuracy_level=4,
)
MIXED = replace(INT4, algorithm=Algorithm.K_QUANT_MIXED)
INT8 = Recipe(provider="cpu", precision=Precision.INT8, block_size=32, accuracy_level=4)
FP32 = Recipe(provider="cpu", precision=Precision.FP32)
WEBGPU = replace(INT4, provider="webgpu", activations=Precision.FP32)
# Between them every option of weights, once.
ASYMMETRIC = replace(INT4, symmetric=False, head=Head.INT8, embedding=Embedding.INT4)
CHEAPLY_MIXED = replace(INT4, algorithm=Algorithm.RTN, mixed=True, symmetric=False, head=Head.INT8)
FLOAT_HEAD = replace(INT8, algorithm=Algorithm.K_QUANT, head=Head.FLOAT)
RECIPES = (
    FP32,
    INT8,
    INT4,
    MIXED,
    replace(INT4, block_size=16),
    replace(INT4, block_size=128),
    replace(INT4, algorithm=Algorithm.RTN),
    replace(INT4, accuracy_level=1),
    replace(FP32, prune_lm_head=False),
    ASYMMETRIC,
    CHEAPLY_MIXED,
    FLOAT_HEAD,
)
ROUNDED = (
    INT4,
    replace(INT4, block_size=16),
    # Wider than the tiny model's rows: their blocks are not full.
    replace(INT4, block_size=128),
    replace(INT4, algorithm=Algorithm.RTN),
    INT8,
    ASYMMETRIC,
    CHEAPLY_MIXED,
)


def build(executor: LocalExecutor, recipe: Recipe, model: Path, out: Path) -> JobResult:
    out.mkdir()
    payload = {
        "name": "build",
        "parameters": to_plain(BuildPass(recipe=recipe)),
        "inputs": {"model": str(model)},
        "workdir": str(out),
    }
    entry = "autotune.passes.worker_entry:run_pass"
    return executor.run(Job(name=recipe.name, entry=entry, payload=payload, pool="build"))


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor() as made:
        yield made


@pytest.fixture(scope="module")
def built(
    executor: LocalExecutor, tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Folder and facts by recipe name; all from one worker."""
    root = tmp_path_factory.mktemp("built")
    found = {}
    for recipe in RECIPES:
        result = build(executor, recipe, tiny_model_dir, root / recipe.name)
        assert result.status == "ok", result.error + result.traceback
        found[recipe.name] = (root / recipe.name, dict(result.value))
    return found


Built = dict[str, tuple[Path, dict[str, Any]]]


@pytest.mark.parametrize(
    ("recipe", "products"),
    [
        (FP32, {}),
        (INT8, {"8/32/4": 11}),
        (INT4, {"4/32/4": 11}),
        (replace(INT4, block_size=16), {"4/16/4": 11}),
        (replace(INT4, accuracy_level=1), {"4/32/1": 11}),
    ],
)
def test_a_graph_has_the_attributes_that_its_recipe_asked_for(
    built: Built, recipe: Recipe, products: dict[str, int]
) -> None:
    _, facts = built[recipe.name]
    assert facts["attributes"]["products"] == products
    assert facts["attributes"]["prunes_head"]
    assert facts["attributes"]["matmuls"] == (0 if products else 11)


@pytest.mark.parametrize("recipe", ROUNDED, ids=lambda recipe: recipe.name)
def test_weights_of_the_graph_are_those_of_the_grid_bit_by_bit(
    built: Built, tiny_model_dir: Path, recipe: Recipe
) -> None:
    model = base_model.load_model(tiny_model_dir, torch.float32)
    assert recipe.quantiser is not None
    found = differing(built[recipe.name][0], rounded_as_trained(model, recipe.quantiser))
    # The table of token vectors of int8 is one of floats.
    assert len(found) == 11 + (recipe.precision == Precision.INT4)
    assert not any(found.values()), found
    other = "int4-b32-asym-embfloat" if recipe.symmetric else "int4-b32-embfloat"
    changed = differing(built[recipe.name][0], rounded_as_trained(model, other))
    assert sum(count > 0 for count in changed.values()) >= 10


def test_mixed_rounding_keeps_some_products_in_eight_bits(built: Built) -> None:
    products = built[MIXED.name][1]["attributes"]["products"]
    assert products.keys() == {"4/32/4", "8/32/4"}
    assert sum(products.values()) == 11


@pytest.mark.parametrize(
    ("recipe", "body", "zero_points", "head", "embedding"),
    [
        (FP32, {}, 0, "float", "shared"),
        (INT8, {"8/32/4": 10}, 0, "int8", "float"),
        (INT4, {"4/32/4": 10}, 0, "int4", "shared"),
        (MIXED, {"4/32/4": 8, "8/32/4": 2}, 11, "int8", "shared"),
        (ASYMMETRIC, {"4/32/4": 10}, 11, "int8", "int4"),
        (CHEAPLY_MIXED, {"4/32/4": 8, "8/32/4": 2}, 11, "int8", "shared"),
        (FLOAT_HEAD, {"8/32/4": 10}, 10, "float", "shared"),
    ],
    ids=lambda value: value.name if isinstance(value, Recipe) else "",
)
def test_zero_points_head_and_embedding_are_what_the_recipe_makes_them(
    *,
    built: Built,
    recipe: Recipe,
    body: dict[str, int],
    zero_points: int,
    head: str,
    embedding: str,
) -> None:
    attributes = built[recipe.name][1]["attributes"]
    assert (attributes["body"], attributes["zero_points"]) == (body, zero_points)
    assert (attributes["head"], attributes["embedding"]) == (head, embedding)


def test_a_head_that_is_not_pruned_is_read_back_as_such(built: Built) -> None:
    assert not built[replace(FP32, prune_lm_head=False).name][1]["attributes"]["prunes_head"]


@pytest.fixture(scope="module")
def for_webgpu(
    executor: LocalExecutor, tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Facts of a build for a device without fp16, which is not here."""
    out = tmp_path_factory.mktemp("webgpu") / "built"
    result = build(executor, WEBGPU, tiny_model_dir, out)
    assert result.status == "ok", result.error
    return dict(result.value)


def test_activations_are_what_the_recipe_says(for_webgpu: dict[str, Any]) -> None:
    assert for_webgpu["attributes"]["activations"] == "FLOAT"
    assert "not supported in this build" in for_webgpu["proof"]["not_run"]
    graph.check_attributes(for_webgpu["attributes"], WEBGPU, tied=True)
    usual = for_webgpu["attributes"] | {"activations": "FLOAT16"}
    with pytest.raises(BuildError, match="should compute in FLOAT, the graph computes in FLOAT16"):
        graph.check_attributes(usual, WEBGPU, tied=True)


def test_a_build_depends_on_the_versions_of_its_prover_and_not_on_the_place() -> None:
    here = OtherPython(interpreter="/a/python", versions={"onnxruntime-webgpu": "1.27.0"})
    there = replace(here, interpreter="/b/python")
    newer = replace(here, versions={"onnxruntime-webgpu": "1.28.0"})
    keys = [
        BuildPass(recipe=WEBGPU, prover=prover).key({}, {}) for prover in (here, there, newer, None)
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_graph_ran_and_agrees_with_its_model(built: Built, recipe: Recipe) -> None:
    folder, facts = built[recipe.name]
    assert facts["proof"]["device"] == "CPU"
    assert proof.LEAST_CORRELATION[recipe.precision] <= facts["proof"]["correlation"] <= 1
    assert facts["proof"]["least"] == (
        proof.LEAST_ON_GRID if recipe.block_size else proof.LEAST_CORRELATION[recipe.precision]
    )
    assert facts["bytes"] == sum(file.stat().st_size for file in folder.iterdir())
    assert {"genai_config.json", "model.onnx", "tokenizer.json"} <= facts["files"].keys()


def test_an_unquantised_graph_is_exact(built: Built) -> None:
    assert built[FP32.name][1]["proof"]["largest_difference"] < 1e-4


@pytest.mark.parametrize(
    "recipe", [r for r in RECIPES if r.block_size], ids=lambda recipe: recipe.name
)
def test_a_graph_of_rounded_weights_is_nearly_exact_on_its_own_grid(
    built: Built, recipe: Recipe
) -> None:
    found = built[recipe.name][1]["proof"]["on_grid"]
    assert found["correlation"] > (0.9999 if recipe.accuracy_level == 1 else 0.99)
    assert found["error"] < (0.15 if recipe.precision is Precision.INT4 else 0.01)
    assert found["astray"] < 0.01


@pytest.mark.parametrize("recipe", [FP32, INT8, INT4, MIXED], ids=lambda recipe: recipe.name)
def test_a_graph_with_the_weights_of_another_model_is_caught(
    built: Built, recipe: Recipe, tmp_path: Path
) -> None:
    # The same layers with other weights: all that a shuffled or stale graph would be.
    other = make_tiny_model(tmp_path / "other", seed=1)
    with pytest.raises(BuildError, match="disagrees"):
        proof.prove(recipe, model=other, built=built[recipe.name][0])


def _changed(model: Path, out: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Copy ``model`` with other weights."""
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 - imports torch

    shutil.copytree(model, out)
    weights = load_file(out / "model.safetensors")
    change(weights)
    save_file(weights, out / "model.safetensors", {"format": "pt"})
    return out


def _exchange_layers(weights: dict[str, Any]) -> None:
    for name in [name for name in weights if ".layers.0." in name]:
        other = name.replace(".layers.0.", ".layers.1.")
        weights[name], weights[other] = weights[other], weights[name]


def _stretch_one(weights: dict[str, Any]) -> None:
    weights["model.layers.1.mlp.down_proj.weight"] *= 1.2


@pytest.mark.parametrize("recipe", [INT4, ASYMMETRIC], ids=lambda recipe: recipe.name)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_exchange_layers, "disagrees with its model with the same weights"),
        (
            _stretch_one,
            "no rounding of its model's: [1-9][0-9].*% of a matrix lie further",
        ),
    ],
)
def test_a_fault_that_coarse_rounding_would_hide_is_caught(
    *,
    built: Built,
    tiny_model_dir: Path,
    tmp_path: Path,
    recipe: Recipe,
    change: Callable[[dict[str, Any]], None],
    words: str,
) -> None:
    other = _changed(tiny_model_dir, tmp_path / "other", change)
    with pytest.raises(BuildError, match=words):
        proof.prove(recipe, model=other, built=built[recipe.name][0])


def test_a_graph_that_does_not_load_is_caught(
    built: Built, tiny_model_dir: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(built[FP32.name][0], broken)
    data = broken / "model.onnx.data"
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    with pytest.raises(BuildError, match="does not run"):
        proof.prove(FP32, model=tiny_model_dir, built=broken)


@pytest.mark.parametrize(
    ("made", "asked"),
    [
        (INT4, INT8),
        (INT8, INT4),
        (INT4, replace(INT4, block_size=16)),
        (INT4, replace(INT4, accuracy_level=1)),
        (INT4, MIXED),
        (MIXED, INT4),
        (INT4, FP32),
        (FP32, INT4),
        (FP32, replace(FP32, prune_lm_head=False)),
        (INT4, replace(INT4, symmetric=False)),
        (INT4, replace(INT4, mixed=True)),
        (INT4, replace(INT4, head=Head.INT8)),
        (INT4, replace(INT4, embedding=Embedding.INT4)),
        (FLOAT_HEAD, replace(FLOAT_HEAD, head=None)),
        (ASYMMETRIC, replace(ASYMMETRIC, embedding=Embedding.FLOAT)),
    ],
    ids=lambda recipe: recipe.name,
)
def test_a_graph_of_another_recipe_is_caught(built: Built, made: Recipe, asked: Recipe) -> None:
    attributes = graph.read_attributes(built[made.name][0])
    with pytest.raises(BuildError):
        graph.check_attributes(attributes, asked, tied=True)


def test_a_refused_recipe_is_not_built(
    executor: LocalExecutor, tiny_model_dir: Path, tmp_path: Path
) -> None:
    fp16 = Recipe(provider="cpu", precision=Precision.FP16)
    result = build(executor, fp16, tiny_model_dir, tmp_path / "out")
    assert result.status == "error"
    assert result.error.startswith("UnsupportedRecipeError: ")
    assert "first run" in result.error
    assert not list((tmp_path / "out").iterdir())


def test_options_have_the_names_that_the_builder_reads() -> None:
    assert building.builder_options(MIXED) == [
        "prune_lm_head=true",
        "block_size=32",
        "accuracy_level=4",
        "algo_config=k_quant_mixed",
    ]
    assert building.builder_options(FP32) == ["prune_lm_head=true"]
    assert building.builder_options(CHEAPLY_MIXED)[3:] == [
        "algo_config=rtn",
        "is_symmetric=false",
        "matmul_mixed_precision=last_matmul:int8,mixed_layers:int8",
    ]
    assert building.builder_options(ASYMMETRIC)[-2:] == [
        "shared_embeddings=false",
        "op_types_to_quantize=MatMul/Gather",
    ]
    assert building.builder_options(FLOAT_HEAD)[-1] == "nodes_to_exclude=/lm_head/MatMul"


def test_the_child_imports_nothing_of_autotune_and_no_torch(built: Built, tmp_path: Path) -> None:
    request = {
        "folder": str(built[FP32.name][0]),
        "provider": "cpu",
        "libraries": "",
        "prompts": [[1, 2, 3]],
        "logits": str(tmp_path / "logits.npy"),
    }
    child = Path(str(proof.__file__)).with_name("prove_child.py")
    script = (
        f"import runpy, sys; runpy.run_path({str(child)!r}, run_name='__main__');"
        " print(sorted({'torch', 'autotune'} & sys.modules.keys()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "[]"
