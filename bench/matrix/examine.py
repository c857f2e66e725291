"""What becomes of a recipe: refused, or built, read back, loaded and compared."""

from __future__ import annotations

import contextlib
import io
import math
import runpy
import shutil
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import numpy as np

from autotune.candidate import Precision, Recipe
from autotune.errors import AutotuneError
from autotune.targets import check_recipe

from .fixtures import Fixture, Logits, answers

__all__ = ["TOLERANCE", "Row", "examine"]

# The largest difference of a logit from the model's own that is believed.
TOLERANCE = {Precision.FP32: 1e-4, Precision.INT8: 0.05, Precision.INT4: 0.3}
# And from the model's with the graph's own weights; activations in eight bits differ more.
ON_GRID, ON_GRID_IN_INT8 = 1e-4, 0.05
_INT8_LEVEL = 4  # activations are rounded to eight bits


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of one combination.

    Attributes:
        fixture: model.
        recipe: its name.
        outcome: ``refused``, ``agrees``, ``built`` (and not run: its provider is not here)
            or ``third``, which should not be.
        difference: the largest of a logit from the model's own; NaN where nothing ran.
        on_grid: the same from the model that has the graph's weights; NaN for float ones.
        bytes: of all files; 0 where nothing was built.
        reason: of a refusal or a third outcome.
    """

    fixture: str
    recipe: str
    outcome: str
    difference: float = float("nan")
    on_grid: float = float("nan")
    bytes: int = 0
    reason: str = ""


def examine(recipe: Recipe, fixture: Fixture, folder: Path, *, anyway: bool = False) -> Row:
    """Return what becomes of ``recipe``; ``folder`` is made anew.

    Args:
        recipe: how to build.
        fixture: what to build.
        folder: where to.
        anyway: build what is refused, too.
    """
    base = Row(fixture=fixture.name, recipe=recipe.name, outcome="third")
    refusal = check_recipe(recipe, fixture.architecture)
    if refusal is not None and not anyway:
        return replace(base, outcome="refused", reason=refusal.reason)
    building, graph = (import_module(f"autotune.passes.{name}") for name in ("build", "graph"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            building.create_graph(recipe, fixture.folder, folder)
        attributes = graph.read_attributes(folder)
        graph.check_attributes(attributes, recipe, tied=fixture.architecture.tied_embeddings)
    except AutotuneError as error:
        return replace(base, reason=str(error))
    size = sum(file.stat().st_size for file in folder.iterdir())
    if recipe.provider != "cpu":
        return replace(base, outcome="built", bytes=size)
    try:
        logits = _logits(folder, fixture.prompts)
    except Exception as error:  # noqa: BLE001 - whatever a runtime says is a third outcome
        return replace(base, bytes=size, reason=f"does not run: {error}")
    difference = float(np.abs(logits - fixture.logits).max())
    on_grid = _difference_on_grid(fixture, folder, logits) if recipe.block_size else math.nan
    near = ON_GRID_IN_INT8 if recipe.accuracy_level == _INT8_LEVEL else ON_GRID
    agrees = difference <= TOLERANCE[recipe.precision] and not on_grid > near
    return replace(
        base,
        outcome="agrees" if agrees else "third",
        difference=difference,
        on_grid=on_grid,
        bytes=size,
        reason="" if agrees else "disagrees",
    )


def _difference_on_grid(fixture: Fixture, folder: Path, logits: Logits) -> float:
    """Return the largest difference from the model with the graph's weights; inf without."""
    import torch  # noqa: PLC0415 - only processes that build pay

    load = import_module("autotune.passes.base_model").load_model
    model = load(fixture.folder, torch.float32)
    if import_module("autotune.passes.rounded").lay_rounded(model, folder) is None:
        return math.inf
    return float(np.abs(logits - answers(model, fixture.prompts)).max())


def _logits(folder: Path, prompts: list[list[int]]) -> Logits:
    """Return what the graph answers, as the proof of a build asks it."""
    proof = import_module("autotune.passes.proof")
    child = runpy.run_path(str(Path(str(proof.__file__)).with_name("prove_child.py")))
    logits: Logits = child["last_logits"](str(folder), "cpu", prompts)[0]
    return logits
