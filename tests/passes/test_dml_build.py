"""Graphs for DirectML are built as asked for on any machine; Windows is where they run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from autotune.candidate import Precision, Recipe, read_recipe
from autotune.passes import BuildPass
from autotune.plain import to_plain
from autotune.targets import Job, LocalExecutor

RECIPES = ("dml-fp16", "dml-int4-b32-acc0", "dml-int4-b32-k_quant_mixed-acc0")


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    if not all(map(find_spec, ("torch", "onnxruntime_genai", "onnx_ir"))):
        pytest.skip("building is not installed (extra 'cpu')")
    with LocalExecutor() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_recipes_for_directml_have_the_operators_and_types_asked_for(
    executor: LocalExecutor, name: str, tiny_model_dir: Path, tmp_path: Path
) -> None:
    recipe, out = read_recipe(name), tmp_path / "built"
    out.mkdir()
    payload = {
        "name": "build",
        "parameters": to_plain(BuildPass(recipe=recipe)),
        "inputs": {"model": str(tiny_model_dir)},
        "workdir": str(out),
    }
    entry = "autotune.passes.worker_entry:run_pass"
    result = executor.run(Job(name=name, entry=entry, payload=payload, pool="build"))
    assert result.status == "ok", result.error + result.traceback
    assert result.value["attributes"]["activations"] == "FLOAT16"
    _check_graph(out, recipe)
    session = json.loads((out / "genai_config.json").read_text())["model"]["decoder"]
    assert session["session_options"]["provider_options"] == [
        {"dml": {"enable_graph_capture": "1"}}
    ]
    # What cannot run here is said, and nothing claimed about it.
    assert "DML" in result.value["proof"]["not_run"]


def _check_graph(folder: Path, recipe: Recipe) -> None:
    import onnx_ir  # noqa: PLC0415 - of the extra 'train'

    graph = onnx_ir.load(folder / "model.onnx").graph
    nodes = [node.op_type for node in graph]
    # One for queries, keys, values, output and the three of the MLP in both layers; the head.
    product = "MatMul" if recipe.precision is Precision.FP16 else "MatMulNBits"
    assert nodes.count(product) == 15
    assert nodes.count("GroupQueryAttention") == 2
    # Rotation stands outside of attention there: DirectML has it not inside.
    assert nodes.count("RotaryEmbedding") == 4
    caches = [value for value in graph.inputs if "past_key_values" in str(value.name)]
    assert {value.dtype for value in caches} == {onnx_ir.DataType.FLOAT16}
    used = {value.dtype for node in graph for value in node.outputs}
    assert onnx_ir.DataType.BFLOAT16 not in used
