"""report.json: which number is published for which model, and reading it back."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from autotune.calibration import SessionNoise
from autotune.constraint import Verdict
from autotune.errors import UsageError
from autotune.plain import from_plain, to_plain
from autotune.reports import (
    DOCUMENTS,
    SCHEMA_DIR,
    RunReport,
    build_report,
    json_schema,
    load_report,
    of_run,
    schema_text,
    write_json_atomic,
)
from autotune.steps import Event, MeasureStep

from .record import BASE_FP32, BASE_INT4, CHOSE_NONE, TUNED_INT4, context, events


def test_schema_and_version_are_the_first_keys() -> None:
    plain = to_plain(build_report(context(), events()))
    assert list(plain)[:2] == ["schema", "schema_version"]
    assert (plain["schema"], plain["schema_version"]) == ("autotune.run", "1.0")


@pytest.mark.parametrize(
    ("metric", "value", "split", "event"),
    [
        ("accuracy", 0.925, "test", 8),
        ("nll", pytest.approx(0.06), "validation", 6),
        ("latency.p95", 0.048, None, 7),
        ("memory", 4.1e8, None, 7),
        ("load", 0.9, None, 7),
        ("size", 1.17e8, None, 6),
    ],
)
def test_each_number_of_the_chosen_model_comes_from_its_own_step(
    metric: str, value: float, split: str | None, event: int
) -> None:
    report = build_report(context(), events())
    assert report.chosen is not None
    published = report.chosen.metrics[metric]
    assert (published.value, published.split, published.event) == (value, split, event)
    assert published.measured_on == TUNED_INT4.name


def test_the_baseline_is_that_of_the_test_step_with_its_own_numbers() -> None:
    baseline = build_report(context(), events()).baseline
    assert baseline is not None
    assert baseline.name == BASE_INT4.name
    assert baseline.metrics["accuracy"].value == 0.26
    assert baseline.metrics["latency.p95"].value == 0.049


def test_the_front_shows_validation_accuracy_only() -> None:
    front = build_report(context(), events()).front
    assert [model.metrics["accuracy"].value for model in front] == [0.94, 0.25]
    assert {model.metrics["accuracy"].split for model in front} == {"validation"}


def test_a_model_that_was_not_timed_shows_the_timing_of_its_recipe_and_says_so() -> None:
    unconfirmed = [event for event in events() if event.number not in (7, 8)]
    report = build_report(context(), unconfirmed)
    assert report.chosen is not None
    latency = report.chosen.metrics["latency.p95"]
    assert (latency.value, latency.measured_on, latency.event) == (0.050, BASE_INT4.name, 2)
    assert report.baseline is None


def test_a_later_recheck_beats_the_census_and_a_census_never_beats_a_recheck() -> None:
    record = events()
    step = MeasureStep(candidates=(TUNED_INT4, BASE_INT4), rounds=4, purpose="recheck")
    recheck = replace(record[7], step=step, number=2)
    census = replace(record[2], number=7)
    report = build_report(context(), [*record[:2], recheck, *record[3:7], census])
    assert report.chosen is not None
    assert report.chosen.metrics["latency.p95"].value == 0.048


@pytest.mark.parametrize(
    ("bound", "verdict"),
    [
        ("latency<=100ms", Verdict.PASS),
        ("latency<=40ms", Verdict.FAIL),
        ("latency<=49ms", Verdict.UNCERTAIN),
        ("accuracy>=0.91", Verdict.UNCERTAIN),
        ("accuracy>=0.8", Verdict.PASS),
        ("ttft<=1s", None),
    ],
)
def test_verdicts_are_on_the_published_numbers(bound: str, verdict: Verdict | None) -> None:
    report = build_report(context(bounds=(bound,)), events())
    assert [judged.verdict for judged in report.constraints] == [verdict]


def test_constraints_are_split_into_metric_and_statistic() -> None:
    latency, size = build_report(context(), events()).constraints
    assert (latency.metric, latency.statistic, latency.unit) == ("latency", "p95", "s")
    assert (size.metric, size.statistic, size.unit) == ("size", None, "B")
    assert latency.metric_name == "latency.p95"


def test_without_a_choice_the_verdicts_are_those_of_the_nearest_miss() -> None:
    report = build_report(context(decision=CHOSE_NONE, bounds=("latency<=1ms",)), events()[:3])
    assert report.chosen is None
    assert report.nearest_miss is not None
    assert report.nearest_miss.model_dir is None
    assert report.constraints[0].verdict is Verdict.FAIL


def test_a_run_that_ended_before_any_step_can_be_reported() -> None:
    report = build_report(replace(context(decision=None), outcome="failed"), [])
    assert report.constraints[0].verdict is None
    assert (report.baseline, report.chosen, report.front, report.timeline) == (None, None, (), ())


def test_the_timeline_has_every_event_with_its_reasons() -> None:
    timeline = build_report(context(), events()).timeline
    assert [entry.number for entry in timeline] == list(range(9))
    assert [entry.kind for entry in timeline[:4]] == ["score", "score", "measure", "train"]
    assert timeline[2].models == (BASE_INT4.name, BASE_FP32.name)
    assert timeline[6].reused == ("finetune", "merge")
    assert timeline[5].status == "out_of_memory"
    assert timeline[5].reason == "downloading https://***@host/x?sig=*** failed"
    assert timeline[5].why == "reason 5"


def test_no_credential_reaches_the_report() -> None:
    text = json.dumps(to_plain(build_report(context(), events())))
    for secret in ("hf_abc", "hunter2", "user:pw", "abc.def"):
        assert secret not in text


def test_a_written_report_is_read_back_equal_and_fits_the_published_schema(
    tmp_path: Path,
) -> None:
    report = build_report(context(), events())
    path = tmp_path / "report.json"
    write_json_atomic(path, to_plain(report))
    assert load_report(path) == report
    schema = json.loads((SCHEMA_DIR / "run-1.0.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(path.read_text()))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_published_schemas_are_those_of_the_types(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(name))
    assert (SCHEMA_DIR / f"{name}.json").read_text(encoding="utf-8") == schema_text(name)


def test_the_schema_command_is_quiet_when_nothing_differs() -> None:
    command = [sys.executable, "-W", "error", "-m", "autotune.reports.schema"]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "autotune.hardware"}, "has the schema 'autotune.hardware', expected"),
        ({"schema_version": "2.0"}, "has schema version '2.0', this autotune reads '1.0'"),
        ({"seed": "many"}, "no valid autotune.run document: seed:"),
        ({"chosen": {"name": 3}}, r"chosen\.name.*in all"),
    ],
)
def test_other_documents_are_refused_by_name(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "report.json"
    write_json_atomic(path, to_plain(build_report(context(), events())) | change)
    with pytest.raises(UsageError, match=message):
        load_report(path)


@pytest.mark.parametrize("content", [b"", b'{"schema": "autotune.run", "sch', b"[]", b"\xff\xfe"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"report\.json"):
        load_report(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_report(tmp_path / "report.json")


def test_keys_of_later_writers_are_ignored(tmp_path: Path) -> None:
    report = build_report(context(), events())
    write_json_atomic(tmp_path / "report.json", to_plain(report) | {"energy": 3})
    assert load_report(tmp_path / "report.json") == report


QUIET = SessionNoise(grade="B", reasons=("no test",), shares={"pressure": 0.02})
HOG = SessionNoise(grade="C", reasons=("a hog", "no test"), shares={"pressure": 0.5})
GAP = "not measurable here: no counters"


def _with_sessions(census: SessionNoise, confirm: SessionNoise) -> list[Event]:
    """Return the record with a noise for each of its two measuring steps, and a gap."""
    noises = iter((census, confirm))
    gaps = {BASE_INT4.name: {"energy": GAP, "memory": "the model itself told it"}}
    return [
        replace(event, outcome=replace(event.outcome, noise=next(noises), unmeasured=gaps))
        if isinstance(event.step, MeasureStep)
        else event
        for event in events()
    ]


def test_a_run_carries_the_noise_of_the_sessions_that_its_numbers_come_from() -> None:
    report = build_report(context(), _with_sessions(QUIET, HOG))
    assert report.noise == HOG
    assert [entry.noise for entry in report.timeline if entry.kind == "measure"] == [QUIET, HOG]
    assert of_run(report).origin.noisy == "a hog; no test"
    # Confirmed in quiet, the noise of the screening touches no published number.
    report = build_report(context(), _with_sessions(HOG, QUIET))
    assert report.noise == QUIET
    assert of_run(report).origin.noisy == ""
    assert build_report(context(), events()).noise is None


def test_a_number_that_could_not_be_had_is_there_with_its_reason() -> None:
    report = build_report(context(), _with_sessions(QUIET, QUIET))
    assert report.chosen is not None
    assert report.baseline is not None
    # The untrained twin was timed; what it could not tell, the trained model cannot either.
    assert report.chosen.unmeasured == report.baseline.unmeasured == {"energy": GAP}
    assert from_plain(RunReport, to_plain(report)) == report
