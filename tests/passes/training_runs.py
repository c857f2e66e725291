"""Trainings of the tiny model, whole or begun; on the device that the fixture ``device`` names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune.candidate import AdapterConfig
from autotune.passes import FinetunePass

# Modules behind the folder's front door.
base_model, compute, examples, lora, training = (
    import_module(f"autotune.passes.{name}")
    for name in ("base_model", "compute", "examples", "lora", "training")
)

# Read once per process, when cuBLAS multiplies for the first time.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

ADAPTER = AdapterConfig(rank=4, learning_rate=5e-3, epochs=4, batch_size=8, seed=3)
ON_CPU = compute.Compute(device="cpu", dtype=torch.float32, reason="the test asks for it")


def require_cuda() -> None:
    """Skip without a CUDA device, or fail where ``AUTOTUNE_REQUIRE_CUDA=1`` asks for one."""
    if torch.cuda.is_available():
        return
    reason = f"torch {torch.__version__} sees no CUDA device here"
    if os.environ.get("AUTOTUNE_REQUIRE_CUDA") == "1":
        pytest.fail(f"{reason}, and AUTOTUNE_REQUIRE_CUDA asks for one")
    pytest.skip(reason)


def train(
    folder: Path, inputs: dict[str, Path], adapter: AdapterConfig = ADAPTER, fraction: float = 1.0
) -> dict[str, Any]:
    """Make ``folder`` an artifact of the finetune pass; return its facts."""
    folder.mkdir()
    return FinetunePass(adapter=adapter, fraction=fraction).run(inputs, folder)


@contextmanager
def started(
    inputs: dict[str, Path], adapter: AdapterConfig = ADAPTER, rows: Any = None
) -> Iterator[Any]:
    """A training that has not begun."""
    used = compute.training_compute()
    base = base_model.training_base(inputs["model"], adapter.method, used)
    if rows is None:
        rows, _ = examples.read_examples(inputs["data"] / "train.json")
    with lora.adapted(base, adapter) as model:
        yield training.Training(base=base, peft_model=model, adapter=adapter, examples=rows)


def gradients(one: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of the first batch, by single kernels.

    B is drawn first, since it starts at zero.
    """
    one.recordings = None
    for number, weight in enumerate(one.weights.values()):
        torch.manual_seed(number)
        weight.data.copy_(torch.randn(weight.shape) * 0.05)
    with (
        training.repeatable(one.base.device),
        training._checkpointing(one.base, one.fit.checkpointing),
    ):
        base_model.set_training(one.base, is_training=True)
        _, indices = next(one.plan.batches(0, 1))
        loss = one._gradients(0, [one.examples[i] for i in indices])
    return loss.item(), {name: w.grad.float().cpu() for name, w in one.weights.items()}
