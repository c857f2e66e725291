"""The proof that a built graph computes what its model does.

For worker processes: importing this module imports torch. The graph runs in a fresh
process on its own provider; its logits are compared with those of the Hugging Face
model by their correlation. Agreement of top tokens would say nothing: honest int4
rounding of a small model changes them in half of the positions.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autotune.candidate import Precision, Recipe
from autotune.errors import BuildError

from .base_model import load_model

__all__ = ["LEAST_CORRELATION", "prove"]

# Least correlation of centred logits (see ``_correlation``). Seen on SmolLM2-135M: fp32
# 1.000, int8 0.997, int4 0.91 (k_quant_mixed), 0.85 (block 16), 0.82 (32), 0.72 (128); a
# model with two neighbouring layers exchanged 0.88, unrelated logits 0. So int8 and
# above notice small faults, int4 only gross ones: its own rounding is larger than a
# small fault. What the recipe costs in accuracy is measured, not judged here.
LEAST_CORRELATION = {
    Precision.FP32: 0.9999,
    Precision.FP16: 0.99,
    Precision.BF16: 0.98,
    Precision.INT8: 0.97,
    Precision.INT4: 0.5,
}
_PROMPTS, _LENGTH, _SEED = 8, 24, 0
_TIMEOUT_S = 600.0
_CHILD = Path(__file__).with_name("prove_child.py")
# Logits of the last model that was built: a census builds one model with every recipe.
_REFERENCE: dict[str, NDArray[np.float32]] = {}


def prove(recipe: Recipe, *, model: Path, built: Path) -> dict[str, Any]:
    """Run the graph in ``built`` and compare it with ``model``.

    Returns:
        ``correlation`` of centred logits (mean over the prompts), ``largest_difference`` of logits,
        and ``device``; or ``not_run`` with the reason where the provider is not here.

    Raises:
        BuildError: the graph does not load or run on the CPU, or disagrees with the model.
    """
    prompts = _prompts(model)
    with tempfile.TemporaryDirectory(prefix="autotune-proof-") as folder:
        path = Path(folder) / "logits.npy"
        request = {
            "folder": str(built),
            "provider": recipe.provider,
            "prompts": prompts,
            "logits": str(path),
        }
        result = subprocess.run(
            [sys.executable, str(_CHILD)],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if result.returncode != 0:
            reason = _last_line(result.stderr) or f"exit code {result.returncode}"
            if recipe.provider != "cpu":
                return {"not_run": reason}
            raise BuildError(f"The graph of {recipe.name} was built but does not run: {reason}.")
        found = np.load(path)
        device = json.loads(result.stdout.splitlines()[-1])["device"]
    return _compare(recipe, found, _reference(model, prompts)) | {"device": device}


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _prompts(model: Path) -> list[list[int]]:
    """Return prompts of random ids, the same for every build of one model."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    random = np.random.default_rng(_SEED)
    vocabulary = int(config["vocab_size"])
    ids: list[list[int]] = random.integers(3, vocabulary, size=(_PROMPTS, _LENGTH)).tolist()
    return ids


def _reference(model: Path, prompts: list[list[int]]) -> NDArray[np.float32]:
    key = str(model.resolve())
    if key not in _REFERENCE:
        _REFERENCE.clear()
        loaded = load_model(model, torch.float32)
        with torch.inference_mode():
            logits = loaded(input_ids=torch.tensor(prompts), logits_to_keep=1).logits
        _REFERENCE[key] = logits[:, -1].numpy()
    return _REFERENCE[key]


def _correlation(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the mean Pearson correlation of logits, each token's mean over prompts removed.

    Without centring, the frequency of tokens alone makes any two prompts correlate by 0.4.
    """
    mine, theirs = found - found.mean(axis=0), expected - expected.mean(axis=0)
    pairs = zip(mine, theirs, strict=True)
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]))


def _compare(
    recipe: Recipe, found: NDArray[np.float32], expected: NDArray[np.float32]
) -> dict[str, Any]:
    if found.shape != expected.shape or not np.isfinite(found).all():
        raise BuildError(
            f"The graph of {recipe.name} gives logits of shape {found.shape}"
            f"{'' if np.isfinite(found).all() else ' that are not finite'}, the model"
            f" {expected.shape}."
        )
    correlation = _correlation(found, expected)
    least = LEAST_CORRELATION[recipe.precision]
    if not correlation >= least:
        raise BuildError(
            f"The graph of {recipe.name} disagrees with its model: its logits correlate by"
            f" {correlation:.3f}, at least {least} is expected of {recipe.precision}."
        )
    return {
        "correlation": correlation,
        "largest_difference": float(np.abs(found - expected).max()),
    }
