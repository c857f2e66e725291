"""The proof that a built graph computes what its model does.

For worker processes: importing this module imports torch. The graph runs in a fresh
process on its own provider; its logits are compared with those of the Hugging Face
model on texts that the model itself writes. Where weights are rounded, the model first
gets the graph's own, each of which must be a rounding of the model's: honest rounding
moves logits of a strongly trained model further than a wrong graph moves others.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from autotune.candidate import Precision, Recipe
from autotune.errors import BuildError, HardwareError
from autotune.targets import libraries_script

from .architectures import weight_files
from .base_model import load_model
from .rounded import lay_rounded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["LEAST_CORRELATION", "LEAST_ON_GRID", "Logits", "correlation", "prove"]

Logits = NDArray[np.float32]

# Least correlation that is believed with the model as it is, where its weights could not be
# matched with the graph's. Measured on SmolLM2-135M, base and tuned, with the prompts below:
# fp32 1.0000, int8 0.998, int4 0.96 (k_quant_mixed) down to 0.82 (block size 128); in float32
# two of 30 layers exchanged 0.49, one layer shuffled 0.35, anything wrong in every layer
# below 0.3. On random tokens instead, honest int4 falls to 0.65.
LEAST_CORRELATION = {
    Precision.FP32: 0.9999,
    Precision.FP16: 0.998,
    Precision.BF16: 0.99,
    Precision.INT8: 0.98,
    Precision.INT4: 0.6,
}
# Least correlation with the model that has the graph's own weights: what is left is the
# rounding of activations. Layers that are exchanged stay exchanged in the graph alone.
LEAST_ON_GRID = 0.9
# Largest share of a matrix's weights that rounding to the nearest value may leave further than
# half a step away. Measured: 0.008 in every recipe of a tiny model, 0.005 on SmolLM2-135M; a
# stretch by a fifth makes it 0.3, the update of another adapter (3 % of the weights) 0.04 in
# int4 and 0.7 in int8.
_MOST_ASTRAY = 0.03
_ROUNDED = (Precision.INT8, Precision.INT4)
_PROMPTS = 8
_LENGTHS = (5, 7, 9, 11, 13, 15, 16, 16)
_SEED = 0
_TIMEOUT_S = 600.0
_CHILD = Path(__file__).with_name("prove_child.py")
# How onnxruntime-genai 0.18 and CUDA say that a provider is not on this machine.
_ABSENT = (
    "has not been built with",
    "not supported in this build",
    "interface not available",
    "no CUDA-capable device",
    "driver version is insufficient",
)
_Reference = tuple[list[list[int]], Logits]
# Of the last model that was built: a census builds one model with every recipe.
_REFERENCE: dict[tuple[Any, ...], _Reference] = {}


def prove(
    recipe: Recipe, *, model: Path, built: Path, interpreter: str = sys.executable
) -> dict[str, Any]:
    """Run the graph in ``built`` with ``interpreter`` and compare it with ``model``.

    Returns:
        ``correlation`` of last-position logits with the model's, ``largest_difference`` of
        logits, ``prompts`` and ``device``; for rounded weights that were found in the model
        the same ``on_grid``, with ``error`` and ``astray`` as ``Rounding`` has them;
        ``least``, the correlation that was asked for. Or ``not_run`` with the reason where
        the provider is not on this machine.

    Raises:
        BuildError: the graph does not load or run, or disagrees with the model.
        HardwareError: it ran on the CPU instead of its provider.
    """
    prompts, expected = _reference(model)
    with tempfile.TemporaryDirectory(prefix="autotune-proof-") as folder:
        path = Path(folder) / "logits.npy"
        reason, device = _run_child(recipe, built, prompts, path, interpreter)
        if reason and recipe.provider != "cpu" and any(text in reason for text in _ABSENT):
            return {"not_run": reason}
        if reason:
            raise BuildError(
                f"The graph of {recipe.name} was built but does not run: {reason}; use"
                " another recipe."
            )
        found: Logits = np.load(path)
    if device == "CPU" and recipe.provider != "cpu":
        raise HardwareError(
            f"{recipe.name} must run on {recipe.provider}, the runtime fell back to the CPU;"
            " check the provider's installation."
        )
    _check_form(recipe, found, expected)
    agreement = _agreement(found, expected)
    facts = {**agreement, "prompts": len(prompts), "device": device}
    if recipe.precision in _ROUNDED:
        on_grid = _on_grid(recipe, found, prompts, model=model, built=built)
        if on_grid is not None:
            return facts | {"on_grid": on_grid, "least": LEAST_ON_GRID}
    least = LEAST_CORRELATION[recipe.precision]
    _check_agreement(recipe, agreement["correlation"], least, "its model")
    return facts | {"least": least}


def _run_child(
    recipe: Recipe, built: Path, prompts: list[list[int]], logits: Path, interpreter: str
) -> tuple[str, str]:
    """Return why the graph did not run (empty if it did) and the device that it ran on."""
    request = {
        "folder": str(built),
        "provider": recipe.provider,
        "libraries": libraries_script(recipe.provider),
        "prompts": prompts,
        "logits": str(logits),
    }
    try:
        result = subprocess.run(
            [interpreter, str(_CHILD)],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {_TIMEOUT_S:.0f} s", ""
    if result.returncode != 0:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        return (lines[-1] if lines else f"exit code {result.returncode}"), ""
    return "", json.loads(result.stdout.splitlines()[-1])["device"]


def _reference(model_dir: Path) -> _Reference:
    """Return prompts that the model writes, and its logits after each: (prompts, vocabulary)."""
    files = [(str(file), file.stat().st_mtime_ns) for file in weight_files(model_dir.resolve())]
    key = tuple(files)
    if key not in _REFERENCE:
        _REFERENCE.clear()
        model = load_model(model_dir, torch.float32)
        with torch.inference_mode():
            prompts = _written_prompts(model)
        _REFERENCE[key] = (prompts, _last_logits(model, prompts))
    return _REFERENCE[key]


def _last_logits(model: PreTrainedModel, prompts: list[list[int]]) -> Logits:
    """Return the logits after each prompt; attention is causal, so what follows is no matter."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts])
    with torch.inference_mode():
        logits = model(input_ids=ids).logits
    found: Logits = np.stack([logits[row, len(p) - 1].numpy() for row, p in enumerate(prompts)])
    return found


def _on_grid(
    recipe: Recipe, found: Logits, prompts: list[list[int]], *, model: Path, built: Path
) -> dict[str, float] | None:
    """Compare with the model that has the graph's weights; None where they are not its own.

    Raises:
        BuildError: they are no rounding of the model's, or the logits disagree.
    """
    rounded = load_model(model, torch.float32)
    rounding = lay_rounded(rounded, built)
    if rounding is None:
        return None
    if not rounding.astray <= _MOST_ASTRAY:
        raise BuildError(
            f"The weights in the graph of {recipe.name} are no rounding of its model's:"
            f" {rounding.astray:.1%} of a matrix lie further away than half a step, at most"
            f" {_MOST_ASTRAY:.0%} may; use another recipe."
        )
    agreement = _agreement(found, _last_logits(rounded, prompts))
    _check_agreement(
        recipe, agreement["correlation"], LEAST_ON_GRID, "its model with the same weights"
    )
    return agreement | {"error": rounding.error, "astray": rounding.astray}


def _written_prompts(model: PreTrainedModel) -> list[list[int]]:
    """Sample texts from ``model``, the same for every build of it."""
    generator = torch.Generator().manual_seed(_SEED)
    ids = torch.randint(model.config.vocab_size, (_PROMPTS, 1), generator=generator)
    if model.config.bos_token_id is not None:
        ids.fill_(model.config.bos_token_id)
    while ids.shape[1] < max(_LENGTHS):
        chances = model(input_ids=ids).logits[:, -1].softmax(-1)
        ids = torch.cat([ids, torch.multinomial(chances, 1, generator=generator)], dim=1)
    return [row[:length] for row, length in zip(ids.tolist(), _LENGTHS, strict=True)]


def correlation(found: Logits, expected: Logits) -> float:
    """Return how well two sets of logits (prompts, vocabulary) agree, in [-1, 1].

    The median over prompts of Pearson's correlation, once of the logits and once of what
    sets a prompt apart from the others (all graphs of one vocabulary share frequent
    tokens), whichever is lower. A median, because one prompt with a massive activation
    can fall far below the rest under honest rounding.
    """
    apart = (found - found.mean(0), expected - expected.mean(0))
    return min(
        float(np.median([np.corrcoef(a, b)[0, 1] for a, b in zip(mine, theirs, strict=True)]))
        for mine, theirs in ((found, expected), apart)
    )


def _check_form(recipe: Recipe, found: Logits, expected: Logits) -> None:
    if found.shape != expected.shape or not np.isfinite(found).all():
        fault = "finite" if np.isfinite(found).all() else "not all finite"
        raise BuildError(
            f"The graph of {recipe.name} must give finite logits of shape {expected.shape},"
            f" they are {fault} and of shape {found.shape}; use another recipe."
        )


def _agreement(found: Logits, expected: Logits) -> dict[str, float]:
    largest = float(np.abs(found - expected).max())
    return {"correlation": correlation(found, expected), "largest_difference": largest}


def _check_agreement(recipe: Recipe, agreement: float, least: float, other: str) -> None:
    if not agreement >= least:
        raise BuildError(
            f"The graph of {recipe.name} disagrees with {other}: their logits correlate by"
            f" {agreement:.4f}, {least} is needed; use another recipe."
        )
