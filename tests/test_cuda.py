"""The whole chain on an NVIDIA GPU: every recipe measured there, a training, a folder that runs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.census import CensusRequest, CensusScope, run_census
from autotune.census_entries import CensusFiles
from autotune.config import RunConfig
from autotune.constraint import Constraint
from autotune.reports import CensusEntry, HardwareReport, load_hardware_report, load_report
from autotune.runner import tune
from autotune.steps import OutcomeStatus
from autotune.targets import Target

pytestmark = [pytest.mark.cuda, pytest.mark.timeout(400)]

_TONES = ("joy", "fear", "sadness")
_REQUESTS = 4


@pytest.fixture(scope="module")
def config(
    cuda_target: Target, tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunConfig:
    """A run of one trial on the GPU, with no bound yet."""
    assert cuda_target.provider == "cuda"
    data = tmp_path_factory.mktemp("data") / "tones.jsonl"
    rows = [{"phrase": f"news of day {n}", "tone": _TONES[n % 3]} for n in range(60)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return RunConfig(
        target="cuda",
        model=str(tiny_model_dir),
        data=str(data),
        template=r"### Text: {phrase}\n### Tone:\n{tone}",
        budget_s=None,
        max_trials=1,
        is_demo=False,
    )


@pytest.fixture(scope="module")
def report(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> HardwareReport:
    """The hardware report of a census of all recipes."""
    path = tmp_path_factory.mktemp("census") / "report.json"
    request = CensusRequest(
        config=config, scope=CensusScope(recipes=(), requests=_REQUESTS), calibrates=False
    )
    assert run_census(request, CensusFiles(output=path)) == 0
    return load_hardware_report(path)


def _entries(report: HardwareReport) -> dict[str, CensusEntry]:
    assert report.census is not None
    return {entry.recipe.name: entry for entry in report.census.entries}


def test_every_recipe_runs_on_the_gpu_and_computes_what_its_model_does(
    report: HardwareReport,
) -> None:
    entries = _entries(report)
    assert {"cuda-fp16", "cuda-bf16", "cuda-int8-b32-acc0", "cuda-int4-b32-acc0"} <= entries.keys()
    for name, entry in entries.items():
        assert entry.status is OutcomeStatus.MEASURED, f"{name}: {entry}"
        assert entry.target == "cuda"
        assert entry.metrics["distortion"].value < 0.4, name
    assert entries["cuda-fp16"].metrics["distortion"].value < 1e-3


def test_recorded_kernels_compute_the_same(report: HardwareReport) -> None:
    entries = _entries(report)
    recorded = [name for name in entries if name.endswith("-graph")]
    assert recorded
    for name in recorded:
        plain = entries[name.removesuffix("-graph")].metrics["distortion"].value
        assert entries[name].metrics["distortion"].value == pytest.approx(plain, abs=1e-3)


def test_memory_and_energy_of_the_device_are_read(report: HardwareReport) -> None:
    for name, entry in _entries(report).items():
        assert entry.metrics["device_memory"].value > 1e6, name
        assert 1e-4 < entry.metrics["energy"].value < 100, name


def test_a_model_tuned_for_the_gpu_answers_out_of_its_folder(
    config: RunConfig, report: HardwareReport, tmp_path: Path
) -> None:
    slowest = max(entry.metrics["latency.p50"].value for entry in _entries(report).values())
    bound = Constraint(metric="latency.p50", op="<=", bound=4 * slowest)
    run = tmp_path / "run"
    assert (
        tune(replace(config, constraints=(bound,)), output=run, dry_run=False, as_json=False) == 0
    )
    chosen = load_report(run / "report.json").chosen
    assert chosen is not None
    assert chosen.recipe.provider == "cuda"
    answer = subprocess.run(
        [sys.executable, str(run / "model" / "run.py"), "news of day 3"],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert answer.stdout.split()[-1] in _TONES
