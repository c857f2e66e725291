"""Graphs for CUDA are built, and found to be what was asked for, on machines without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.candidate import Recipe
from autotune.passes import BuildPass
from autotune.plain import to_plain
from autotune.targets import Architecture, Job, LocalExecutor, recipes_for

ARCHITECTURE = Architecture(
    name="LlamaForCausalLM",
    layers=2,
    hidden_size=64,
    vocab_size=300,
    tied_embeddings=True,
    context_length=256,
    parameters=100_000,
)
OFFERED, _ = recipes_for("cuda", ARCHITECTURE)
# One of each kind: on a GPU a census builds and runs them all.
BUILT = [
    recipe
    for recipe in OFFERED
    if recipe.name in ("cuda-int4-b32-acc0-graph", "cuda-int8-b32-acc0", "cuda-bf16")
]


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("recipe", BUILT, ids=lambda recipe: recipe.name)
def test_recipes_for_cuda_build_as_asked(
    executor: LocalExecutor, recipe: Recipe, tiny_model_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "built"
    out.mkdir()
    payload = {
        "name": "build",
        "parameters": to_plain(BuildPass(recipe=recipe)),
        "inputs": {"model": str(tiny_model_dir)},
        "workdir": str(out),
    }
    job = Job(
        name=recipe.name,
        entry="autotune.passes.worker_entry:run_pass",
        payload=payload,
        pool="build",
    )
    result = executor.run(job)
    assert result.status == "ok", result.error + result.traceback
    assert result.value["attributes"]["cuda_graph"] is recipe.cuda_graph
    computes = {"fp32": "FLOAT", "bf16": "BFLOAT16"}.get(recipe.precision, "FLOAT16")
    assert result.value["attributes"]["activations"] == computes


def test_graphs_are_offered_beside_the_same_recipes_without_them() -> None:
    plain = {recipe.name for recipe in OFFERED if not recipe.cuda_graph}
    assert {r.name.removesuffix("-graph") for r in OFFERED if r.cuda_graph} <= plain
    assert len(BUILT) == 3
