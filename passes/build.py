"""The build pass: a Hugging Face folder becomes an onnxruntime-genai folder, as one recipe says.

The builder ignores options it does not know and builds graphs that do not run, so
options are checked before, attributes are read back after, and the graph is loaded
in a fresh process and compared with the model it was made from.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from autotune.candidate import Embedding, Head, Recipe
from autotune.errors import BuildError, UnsupportedRecipeError
from autotune.targets import check_recipe

from .architectures import read_architecture
from .contract import Artifact
from .produce import pass_key
from .stopwatch import StopWatch

__all__ = ["BuildPass", "OtherPython", "builder_options", "create_graph"]


# What the builder raises for models and options that it cannot export; MemoryError and
# the like are the worker's business.
_BUILDER_ERRORS = (
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    RuntimeError,
    OSError,
    AssertionError,
)


@dataclass(frozen=True, kw_only=True)
class OtherPython:
    """An interpreter that runs a target's models, where that is not the one that builds.

    Attributes:
        interpreter: its path; in no key.
        versions: of the runtime there, by distribution.
    """

    interpreter: str
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class BuildPass:
    """Build the model with ``recipe``.

    Attributes:
        recipe: how.
        prover: runs the graph for its proof; None is this interpreter.
    """

    name: ClassVar[str] = "build"
    pool: ClassVar[str] = "build"
    timeout_s: ClassVar[float] = 3600.0
    libraries: ClassVar[tuple[str, ...]] = (
        "onnxruntime-genai",
        "onnxruntime-genai-cuda",
        "onnxruntime-genai-directml",
        "onnxruntime-genai-winml",
        "onnxruntime",
        "onnxruntime-gpu",
        "onnxruntime-directml",
        "onnxruntime-windowsml",
        "onnx-ir",
        "transformers",
    )

    recipe: Recipe
    prover: OtherPython | None = None

    def key(self, inputs: Mapping[str, Artifact], versions: Mapping[str, str]) -> str:
        """Return what the result depends on; of the prover, the versions and not the path."""
        if self.prover is None:
            return pass_key(self, inputs, versions)
        placeless = replace(self, prover=replace(self.prover, interpreter=""))
        return pass_key(placeless, inputs, versions)

    def run(self, inputs: Mapping[str, Path], workdir: Path) -> dict[str, Any]:
        """Build into ``workdir`` and prove the result.

        Returns:
            Facts: ``attributes`` read back from the graph, ``proof`` (agreement with the
            model it was made from, or why it was not run), ``files`` (name to bytes) with
            their sum ``bytes``, ``seconds`` per part.

        Raises:
            UnsupportedRecipeError: the capability table refuses the recipe.
            BuildError: the builder failed, or the graph is not what was asked for.
        """
        from . import graph, proof  # noqa: PLC0415 - import onnx_ir and torch

        model = inputs["model"]
        architecture = read_architecture(model)
        refusal = check_recipe(self.recipe, architecture)
        if refusal is not None:
            raise UnsupportedRecipeError(
                f"{self.recipe.name} is not built: {refusal.reason} ({refusal.source})."
            )
        watch = StopWatch()
        create_graph(self.recipe, model, workdir)
        watch.lap("build")
        attributes = graph.read_attributes(workdir)
        graph.check_attributes(attributes, self.recipe, tied=architecture.tied_embeddings)
        watch.lap("read")
        found = proof.prove(
            self.recipe,
            model=model,
            built=workdir,
            interpreter=self.prover.interpreter if self.prover else sys.executable,
        )
        watch.lap("proof")
        files = {file.name: file.stat().st_size for file in sorted(workdir.iterdir())}
        return {
            "attributes": attributes,
            "proof": found,
            "files": files,
            "bytes": sum(files.values()),
            "seconds": watch.seconds,
        }


def builder_options(recipe: Recipe) -> list[str]:
    """Return the recipe as the builder's ``key=value`` options.

    The flat names of 0.18; the ``int4_*`` names that its help still lists are ignored
    without a word (onnxruntime-genai 0.18.0, models/builder.py).
    """
    options = {"prune_lm_head": recipe.prune_lm_head}
    found = [f"{name}={str(value).lower()}" for name, value in options.items()]
    if recipe.block_size is not None:
        found.append(f"block_size={recipe.block_size}")
    if recipe.accuracy_level is not None:
        found.append(f"accuracy_level={recipe.accuracy_level}")
    if recipe.activations is not None:
        # The capability table lets no other provider and type pass.
        found.append("use_webgpu_fp32=true")
    if recipe.algorithm is not None:
        found.append(f"algo_config={recipe.algorithm}")
    if recipe.cuda_graph:
        found.append("enable_cuda_graph=true")
    return found + _rounding_options(recipe)


def _rounding_options(recipe: Recipe) -> list[str]:
    """Return what is not as the builder does it unasked: symmetry, bits, head, embedding."""
    found = [] if recipe.symmetric else ["is_symmetric=false"]
    eight = [
        selector
        for selector, asked in (
            ("last_matmul", recipe.head is Head.INT8),
            ("mixed_layers", recipe.mixed),
        )
        if asked
    ]
    if eight:
        found.append("matmul_mixed_precision=" + ",".join(f"{one}:int8" for one in eight))
    if recipe.head is Head.FLOAT:
        found.append("nodes_to_exclude=/lm_head/MatMul")
    if recipe.head is Head.NONE:
        found.append("exclude_lm_head=true")
    if recipe.embedding is not None:
        found.append("shared_embeddings=false")
    if recipe.embedding is Embedding.INT4:
        found.append("op_types_to_quantize=MatMul/Gather")
    return found


def create_graph(recipe: Recipe, model: Path, workdir: Path) -> None:
    """Run the builder in this process, which is a worker of its own for exactly that.

    Raises:
        BuildError: the builder failed, or left a folder that the runtime does not take.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    # The package puts its models folder on sys.path at import; the builder needs that.
    import onnxruntime_genai.models  # noqa: F401, PLC0415 - slow, and only workers build
    from onnxruntime_genai.models.builder import (  # noqa: PLC0415 - same
        create_model,
        parse_extra_options,
    )

    precision = recipe.precision.value
    try:
        with tempfile.TemporaryDirectory(prefix="autotune-build-") as cache:
            arguments = ("", str(model), str(workdir), precision, recipe.provider, cache)
            options = parse_extra_options(*arguments, builder_options(recipe))
            create_model(*arguments, **options)
    except _BUILDER_ERRORS as error:
        raise BuildError(
            f"The builder failed on {recipe.name} ({type(error).__name__}: {error});"
            " the log has its output."
        ) from error
    if not (workdir / "genai_config.json").exists():
        raise BuildError(f"The builder left no genai_config.json for {recipe.name}; see the log.")
