"""Two providers in one census and one search: the processor here, WebGPU in its own interpreter.

``scripts/webgpu-env`` makes what these tests need. Without a GPU SwiftShader computes,
slowly enough that a bound between the two separates them whatever the machine.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.census import CensusRequest, CensusScope, run_census
from autotune.census_entries import CensusFiles
from autotune.config import RunConfig
from autotune.constraint import Constraint
from autotune.reports import (
    CensusEntry,
    EventLog,
    HardwareReport,
    load_hardware_report,
    load_report,
)
from autotune.runner import tune
from autotune.steps import MeasureStep, OutcomeStatus, ScoreStep, TrainStep

pytestmark = pytest.mark.webgpu

_TONES = ("joy", "fear", "sadness")
_REQUESTS = 3


@pytest.fixture(scope="module")
def config(
    webgpu_python: str, tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunConfig:
    """A run of one trial for both providers, with no bound yet."""
    data = tmp_path_factory.mktemp("data") / "tones.jsonl"
    rows = [{"phrase": f"news of day {n}", "tone": _TONES[n % 3]} for n in range(60)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return RunConfig(
        target=f"cpu,webgpu@{webgpu_python}",
        model=str(tiny_model_dir),
        data=str(data),
        template=r"### Text: {phrase}\n### Tone:\n{tone}",
        budget_s=None,
        max_trials=1,
        is_demo=False,
    )


@pytest.fixture(scope="module")
def report(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> HardwareReport:
    """The hardware report of a census with one recipe for each provider."""
    path = tmp_path_factory.mktemp("census") / "report.json"
    request = CensusRequest(
        config=config,
        scope=CensusScope(recipes=("*-int4-b32", "*-int4-b32-fp32act"), requests=_REQUESTS),
        calibrates=False,
    )
    assert run_census(request, CensusFiles(output=path)) == 0
    return load_hardware_report(path)


def _entries(report: HardwareReport) -> tuple[CensusEntry, CensusEntry]:
    assert report.census is not None
    cpu, webgpu = report.census.entries
    assert (cpu.target, webgpu.target) == ("cpu", "webgpu")
    return cpu, webgpu


def test_both_providers_are_proven_and_timed_in_their_interpreters(
    report: HardwareReport,
) -> None:
    for entry in _entries(report):
        assert entry.status is OutcomeStatus.MEASURED
        assert entry.metrics["latency.p50"].n == 2 * _REQUESTS
        # Logits were compared on the provider itself: here the graph for WebGPU cannot run.
        assert 0 <= entry.metrics["distortion"].value < 0.4
        assert "59" in entry.unmeasured["latency.p95"]
    cpu, webgpu = _entries(report)
    same_weights = abs(cpu.metrics["distortion"].value - webgpu.metrics["distortion"].value)
    assert same_weights < 0.05


def test_the_report_names_the_versions_of_both(report: HardwareReport) -> None:
    proven = {one.name: one for one in report.targets if one.status == "proven"}
    assert set(proven) == {"cpu", "webgpu"}
    assert not proven["cpu"].is_other_interpreter
    assert proven["webgpu"].is_other_interpreter
    assert "onnxruntime-webgpu" in proven["webgpu"].versions


def test_a_search_drops_the_slow_provider_before_anything_is_trained(
    report: HardwareReport, config: RunConfig, tmp_path: Path
) -> None:
    fast, slow = (entry.metrics["latency.p50"].value for entry in _entries(report))
    # Four times what the processor takes, and less than a tenth of what WebGPU takes. On the
    # median: where others work too, a 95th percentile is theirs.
    bound = Constraint(metric="latency.p50", op="<=", bound=4 * fast)
    assert slow > 10 * bound.bound, "this device is too fast to be dropped; take SwiftShader"
    config = replace(config, constraints=(bound,))
    assert tune(config, output=tmp_path / "run", dry_run=False, as_json=False) == 0
    events = EventLog(tmp_path / "run" / "events.jsonl").read()
    first_training = next(e.number for e in events if isinstance(e.step, TrainStep))
    with_webgpu = [e for e in events if "webgpu" in _providers(e.step)]
    assert max(e.number for e in with_webgpu) < first_training
    assert [e.step.kind for e in with_webgpu] == ["measure"], "the first look was not the last"
    chosen = load_report(tmp_path / "run" / "report.json").chosen
    assert chosen is not None
    assert chosen.recipe.provider == "cpu"


def _providers(step: object) -> set[str]:
    match step:
        case ScoreStep():
            return {step.candidate.recipe.provider}
        case MeasureStep():
            return {candidate.recipe.provider for candidate in step.candidates}
    return set()
