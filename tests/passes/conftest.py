"""What tests of trainings share: the device, the tiny model and its data."""

from __future__ import annotations

from pathlib import Path

import pytest

from .training_data import write_training_data


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The device that a test trains on, whatever else this machine has."""
    from .training_runs import ON_CPU, compute, require_cuda  # noqa: PLC0415 - imports torch

    name: str = request.param
    if name == "cuda":
        require_cuda()
    else:
        monkeypatch.setattr(compute, "training_compute", lambda: ON_CPU)
    return name


@pytest.fixture(scope="module")
def inputs(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Inputs of the finetune pass."""
    data = write_training_data(tmp_path_factory.mktemp("data"))
    return {"model": tiny_model_dir, "data": data}
