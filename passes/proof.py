"""The proof that a built graph computes what its model does.

For worker processes: importing this module imports torch. The graph runs in a fresh
process on its own provider; its logits are compared with those of the Hugging Face
model on texts that the model itself writes. Agreement of the top token would say
nothing: honest int4 rounding of a small model changes it every third time.
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

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["LEAST_CORRELATION", "Logits", "correlation", "prove"]

Logits = NDArray[np.float32]

# Least correlation that is believed. Measured on SmolLM2-135M, base and tuned, with the
# prompts below: fp32 1.0000, int8 0.998, int4 0.96 (k_quant_mixed) down to 0.82 (block size
# 128); in float32 two of 30 layers exchanged 0.49, one layer shuffled 0.35, anything wrong
# in every layer below 0.3. On random tokens instead, honest int4 falls to 0.65.
LEAST_CORRELATION = {
    Precision.FP32: 0.9999,
    Precision.FP16: 0.998,
    Precision.BF16: 0.99,
    Precision.INT8: 0.98,
    Precision.INT4: 0.6,
}
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
        ``correlation`` of last-position logits with the ``least`` that is accepted,
        ``largest_difference`` of logits, ``prompts`` and ``device``; or ``not_run`` with
        the reason where the provider is not on this machine.

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
    return _compare(recipe, found, expected) | {"prompts": len(prompts), "device": device}


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
            logits = [model(input_ids=torch.tensor([p])).logits[0, -1].numpy() for p in prompts]
        _REFERENCE[key] = (prompts, np.stack(logits))
    return _REFERENCE[key]


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


def _compare(recipe: Recipe, found: Logits, expected: Logits) -> dict[str, Any]:
    if found.shape != expected.shape or not np.isfinite(found).all():
        fault = "finite" if np.isfinite(found).all() else "not all finite"
        raise BuildError(
            f"The graph of {recipe.name} must give finite logits of shape {expected.shape},"
            f" they are {fault} and of shape {found.shape}; use another recipe."
        )
    agreement = correlation(found, expected)
    least = LEAST_CORRELATION[recipe.precision]
    if not agreement >= least:
        raise BuildError(
            f"The graph of {recipe.name} disagrees with its model: their logits correlate by"
            f" {agreement:.4f}, {recipe.precision} needs {least}; use another recipe."
        )
    largest = float(np.abs(found - expected).max())
    return {"correlation": agreement, "least": least, "largest_difference": largest}
