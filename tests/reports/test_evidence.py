"""Documents of every kind as compare and pick see them, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.calibration import DeviceCalibration, Grade, NoiseFloor, make_rate
from autotune.constraint import parse_constraint
from autotune.errors import UsageError
from autotune.plain import to_plain
from autotune.reports import (
    Calibration,
    Census,
    CensusEntry,
    HardwareReport,
    ReportedFact,
    ToolFacts,
    build_report,
    compare,
    labelled,
    load_evidence,
    of_run,
    pick,
    sealed,
)
from autotune.steps import OutcomeStatus

from .evidence_cases import number
from .record import FP16, INT4, context, events


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"schema": "autotune.run", "schema_version": "9.9"}', "schema version '9.9'"),
        ('{"schema": "autotune.run", "schema_ver', "no whole JSON"),
        ('{"schema": "someone.else"}', "schema 'someone.else'"),
        ("[]", "schema None"),
        ('{"schema": "autotune.measure", "schema_version": "1.0"}', "no valid autotune.measure"),
    ],
)
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        load_evidence(path)


def test_a_missing_file_and_an_empty_run_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(UsageError, match="cannot be read"):
        load_evidence(path)
    path.write_text(json.dumps(to_plain(build_report(context(decision=None), ()))))
    with pytest.raises(UsageError, match="no measured model"):
        load_evidence(tmp_path)


def test_a_run_keeps_validation_scores_of_its_choice_beside_the_test_scores() -> None:
    evidence = of_run(build_report(context(), events()))
    chosen = evidence.models[0]
    assert chosen.key == "chosen"
    assert chosen.numbers["accuracy@test"].value == 0.925
    assert chosen.numbers["accuracy@validation"].value == 0.94
    assert [m.key for m in evidence.models] == ["chosen", "baseline"]
    assert evidence.origin.facts["cpu_model"] == "AMD EPYC"
    assert evidence.origin.facts["versions.torch"] == "2.13.0"


def _census(latency: float) -> Census:
    entries = [
        CensusEntry(
            name=INT4.name,
            recipe=INT4,
            target="cpu",
            status=OutcomeStatus.MEASURED,
            metrics=dict([number("latency.p95", latency, 0.01)]),
        ),
        CensusEntry(
            name=FP16.name,
            recipe=FP16,
            target="cpu",
            status=OutcomeStatus.CRASHED,
            reason="out of registers",
        ),
    ]
    return Census(
        model=context().model,
        workload=context().workload,
        entries=tuple(entries),
        seed=0,
        rounds=4,
        method="interleaved",
    )


def _calibration(floor: float, grade: Grade) -> Calibration:
    read = make_rate(
        kind="memory_read",
        data_type="fp32",
        operator="numpy.sum",
        shape=(10,),
        work=12_000_000_000,
        samples_s=(1.0, 1.1),
    )
    device = DeviceCalibration(
        target="cpu", provider="CPUExecutionProvider", threads=2, rates=(read,)
    )
    return Calibration(
        devices=(device,),
        noise=(NoiseFloor(target="cpu", floor=floor, ratio=1.0, ci95=(0.99, 1.01), rounds=8),),
        grade=grade,
        grade_reasons=("the load was high",),
        grade_rule="limits",
        conditions={},
        seconds=9.0,
    )


def _hardware(
    latency: float, *, floor: float, census: bool = True, grade: Grade = "B"
) -> HardwareReport:
    unknown = ReportedFact(status="unknown", reason="no checkout")
    return HardwareReport(
        created="2026-11-23T10:00:00+00:00",
        command=("autotune", "census"),
        tool=ToolFacts(name="autotune", version="0.1.0", git_commit=unknown, git_dirty=unknown),
        complete=True,
        missing=(),
        asserted={"label": ReportedFact(status="asserted", value="edge box")},
        device="cpu: AMD EPYC, 2 usable cores",
        hardware={"processor": {"model": ReportedFact(status="detected", value="AMD EPYC")}},
        accelerators={},
        targets=(),
        conflicts=(),
        calibration=_calibration(floor, grade),
        census=sealed(_census(latency)) if census else None,
        versions={"onnxruntime-genai": "0.18.0"},
        method=(),
    )


def _written(path: Path, report: HardwareReport) -> Path:
    path.write_text(json.dumps(to_plain(report)), encoding="utf-8")
    return path


def test_hardware_reports_are_compared_recipe_by_recipe_above_their_noise(tmp_path: Path) -> None:
    first = _written(tmp_path / "a.json", _hardware(0.050, floor=0.02))
    for floor, verdict in ((0.02, "worse"), (0.30, "same")):
        second = _written(tmp_path / "b.json", _hardware(0.060, floor=floor))
        comparison = compare(labelled([load_evidence(first), load_evidence(second)]))
        (change,) = comparison.changes
        assert change.model == f"untrained/{INT4.name}"
        assert (change.verdict, change.margin) == (verdict, floor)
        assert comparison.documents[0].device == "edge box"
        facts = load_evidence(first).origin.facts
        assert facts["cpu.memory_read"] == "12 GB/s"
        assert facts["processor.model"] == "AMD EPYC"


def test_a_hardware_report_without_census_or_with_an_edited_one_is_refused(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.json", _hardware(0.05, floor=0.02, census=False))
    with pytest.raises(UsageError, match="without a census"):
        load_evidence(path)
    plain = to_plain(_hardware(0.05, floor=0.02))
    plain["census"]["entries"][0]["metrics"]["latency.p95"]["value"] = 0.001
    path.write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(UsageError, match="not the one that was written"):
        load_evidence(path)


def test_without_accuracy_a_hardware_report_gives_its_fastest_recipe(tmp_path: Path) -> None:
    evidence = load_evidence(_written(tmp_path / "a.json", _hardware(0.05, floor=0.02)))
    found = pick([evidence], [parse_constraint("latency<=100ms")]).picks[0]
    assert found.picked is not None
    assert found.picked.name == f"untrained/{INT4.name}"


def test_times_of_a_noisy_machine_are_stamped_and_fail_nothing(tmp_path: Path) -> None:
    first = _written(tmp_path / "a.json", _hardware(0.050, floor=0.02))
    for grade, n in (("B", 1), ("C", 0)):
        report = _hardware(0.100, floor=0.02, grade=grade)  # type: ignore[arg-type]  # a Grade
        second = _written(tmp_path / "b.json", report)
        documents = labelled([load_evidence(first), load_evidence(second)])
        comparison = compare(documents, fail_on=0.05)
        assert comparison.changes[0].verdict == "worse"
        assert (len(comparison.regressions), comparison.changes[0].is_noisy) == (n, grade == "C")
        assert comparison.noisy == ({"B": "the load was high"} if grade == "C" else {})
