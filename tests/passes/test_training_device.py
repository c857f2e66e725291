"""What trainings run on: told without a worker where torch could use no GPU anyway."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from autotune.candidate import AdapterConfig
from autotune.errors import RunError
from autotune.passes import FinetunePass, MergePass, pass_key, training_device
from autotune.targets import (
    Accelerators,
    Fact,
    Gpu,
    LocalExecutor,
    detected,
    not_applicable,
    unknown,
)

from .counting_pass import InProcessExecutor

ABSENT: Fact[tuple[Gpu, ...]] = not_applicable("no driver is loaded")
HIDDEN: Fact[tuple[Gpu, ...]] = unknown("NVML: not found; nvidia-smi: not found")


def machine(nvidia: Fact[tuple[Gpu, ...]]) -> Accelerators:
    return Accelerators(
        nvidia=nvidia, nvidia_source=detected("nvml"), directx=not_applicable("no Windows")
    )


@pytest.mark.parametrize(
    ("torch", "nvidia", "is_asked"),
    [
        ("2.13.0+cpu", HIDDEN, False),
        ("2.13.0", ABSENT, False),
        ("2.13.0+cu130", ABSENT, False),
        ("2.13.0", HIDDEN, True),
        ("2.13.0+cu130", HIDDEN, True),
        ("2.13.0+rocm7.1", ABSENT, True),
    ],
)
def test_torch_is_asked_where_it_could_use_a_gpu(
    torch: str, nvidia: Fact[tuple[Gpu, ...]], is_asked: bool
) -> None:
    executor = InProcessExecutor(status="cancelled")
    if is_asked:
        with pytest.raises(RunError, match="training-device was cancelled"):
            training_device(executor, {"torch": torch}, read=lambda: machine(nvidia))
    else:
        found = training_device(executor, {"torch": torch}, read=lambda: machine(nvidia))
        assert found == "cpu"
    assert len(executor.jobs) == is_asked


def test_without_torch_nobody_is_asked() -> None:
    executor = InProcessExecutor(status="ok")
    assert training_device(executor, {}, read=lambda: machine(HIDDEN)) == "cpu"


@pytest.mark.skipif(find_spec("torch") is None, reason="extra 'train' is not installed")
def test_the_worker_says_what_it_trains_on() -> None:
    import torch  # noqa: PLC0415 - optional

    with LocalExecutor() as executor:
        found = training_device(executor, {"torch": "2.13.0"}, read=lambda: machine(HIDDEN))
    expected = "cpu"
    if torch.cuda.is_available():
        expected = f"cuda {torch.cuda.get_device_name()}"
    assert found == expected


@pytest.mark.parametrize("name", ["finetune", "merge"])
def test_a_gpu_has_other_keys_than_a_processor(name: str) -> None:

    pass_ = FinetunePass(adapter=AdapterConfig()) if name == "finetune" else MergePass()
    keys = {
        pass_key(pass_, {}, {"torch": "2.13.0", "training-device": device})
        for device in ("cpu", "cuda NVIDIA H100 80GB HBM3", "cuda NVIDIA T4")
    }
    assert len(keys) == 3
