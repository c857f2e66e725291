"""hardware.json: what it holds survives the disk, and what was altered is noticed by name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.calibration import SessionNoise
from autotune.errors import UsageError
from autotune.plain import from_plain, to_plain
from autotune.reports import (
    SCHEMA_DIR,
    FlavourConflict,
    HardwareReport,
    Missing,
    ReportedFact,
    hardware_page,
    hardware_summary,
    json_schema,
    load_hardware_report,
    make_console,
    of_hardware,
    schema_text,
    sealed,
    write_json_atomic,
)

from .hardware_record import known, report


def written(path: Path, made: HardwareReport, change: Callable[[Any], None] | None = None) -> Path:
    data = to_plain(made)
    if change is not None:
        change(data)
    write_json_atomic(path / "hardware.json", data)
    return path / "hardware.json"


def text_of(made: HardwareReport) -> str:
    stream = StringIO()
    make_console(stream).print(hardware_summary(made))
    return stream.getvalue()


# The document


def test_a_report_survives_the_disk(tmp_path: Path) -> None:
    assert load_hardware_report(written(tmp_path, report())) == report()
    bare = report(census=None, calibration=None)
    assert load_hardware_report(written(tmp_path, bare)) == bare


FACTS = st.one_of(
    st.builds(
        ReportedFact,
        status=st.sampled_from(["detected", "asserted"]),
        value=st.one_of(
            st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(min_size=1)
        ),
    ),
    st.builds(
        ReportedFact,
        status=st.sampled_from(["not_applicable", "unknown"]),
        reason=st.text(min_size=1),
    ),
)


@given(facts=st.dictionaries(st.text(min_size=1), FACTS, max_size=4))
def test_the_four_kinds_of_fact_stay_four(facts: dict[str, ReportedFact]) -> None:
    made = report(hardware={"memory": facts})
    again = from_plain(HardwareReport, json.loads(json.dumps(to_plain(made))))
    assert again.hardware["memory"] == facts


@pytest.mark.parametrize(
    ("status", "value", "reason"),
    [("detected", None, ""), ("unknown", 3, ""), ("unknown", None, ""), ("asserted", 3, "why")],
)
def test_a_fact_has_a_value_or_a_reason(status: Any, value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match="a value or a reason"):
        ReportedFact(status=status, value=value, reason=reason)


def test_complete_means_that_nothing_required_is_missing() -> None:
    gap = (Missing(field="calibration", reason="not asked for", is_required=True),)
    with pytest.raises(ValueError, match="something required"):
        report(missing=gap)
    with pytest.raises(ValueError, match="something required"):
        report(complete=False)
    assert not report(complete=False, missing=gap).complete


def test_the_published_schema_is_that_of_the_types_and_accepts_a_report(tmp_path: Path) -> None:
    text = (SCHEMA_DIR / "hardware-1.0.json").read_text(encoding="utf-8")
    assert text == schema_text("hardware-1.0")
    data = json.loads(written(tmp_path, report()).read_text(encoding="utf-8"))
    jsonschema.validate(data, json_schema("hardware-1.0"))
    assert list(data)[:2] == ["schema", "schema_version"]


def test_the_schema_refuses_a_report_without_its_parts() -> None:
    data = to_plain(report())
    for name in ("targets", "schema", "census", "complete"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(
                {key: value for key, value in data.items() if key != name},
                json_schema("hardware-1.0"),
            )


def test_keys_of_a_later_minor_version_are_ignored_inside_the_census_too(tmp_path: Path) -> None:
    def add(data: Any) -> None:
        data["later"] = 1

    assert load_hardware_report(written(tmp_path, report(), add)) == report()


# Damaged documents


def drop_entry(data: Any) -> None:
    del data["census"]["entries"][0]


def speed_up(data: Any) -> None:
    data["census"]["entries"][0]["metrics"]["tpot.p50"]["value"] = 0.001


def drop_sample(data: Any) -> None:
    data["census"]["entries"][0]["metrics"]["tpot.p50"]["blocks"].pop()


def other_workload(data: Any) -> None:
    data["census"]["workload"]["digest"] = "00" * 32


def forge_digest(data: Any) -> None:
    data["census"]["digest"] = "0" * 64


@pytest.mark.parametrize(
    "change", [drop_entry, speed_up, drop_sample, other_workload, forge_digest]
)
def test_a_census_that_is_not_the_one_sealed_is_refused(
    tmp_path: Path, change: Callable[[Any], None]
) -> None:
    path = written(tmp_path, report(), change)
    with pytest.raises(UsageError, match=r"census in .* is not the one that was written") as caught:
        load_hardware_report(path)
    assert caught.value.exit_code == 2
    assert str(path) in str(caught.value)


def next_version(data: Any) -> None:
    data["schema_version"] = "2.0"


def run_schema(data: Any) -> None:
    data["schema"] = "autotune.run"


def no_targets(data: Any) -> None:
    del data["targets"]


def wrong_rate(data: Any) -> None:
    data["calibration"]["devices"][0]["rates"][0]["best"] *= 2


def hidden_gap(data: Any) -> None:
    data["missing"].append({"field": "targets", "reason": "x", "is_required": True})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (next_version, "schema version '2.0', this autotune reads '1.0'"),
        (run_schema, "schema 'autotune.run', expected 'autotune.hardware'"),
        (no_targets, "targets"),
        (wrong_rate, "follow from its samples"),
        (hidden_gap, "complete unless something required is missing"),
    ],
)
def test_a_document_of_another_form_is_refused_with_what_is_wrong(
    tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        load_hardware_report(written(tmp_path, report(), change))


@given(share=st.floats(0, 0.999))
def test_a_truncated_report_is_no_whole_document(
    share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = written(tmp_path_factory.mktemp("cut"), report())
    whole = path.read_bytes().rstrip()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UsageError, match="no whole JSON document"):
        load_hardware_report(path)


# For people


def test_the_terminal_shows_every_part_within_a_hundred_columns() -> None:
    text = text_of(report())
    assert max(map(len, text.splitlines())) <= 100
    for part in (
        "edge <box> (Some CPU, 2 usable cores); runs cpu; grade A",
        "l2 2.1 MB, l3 273 MB",
        "no group limits it",
        "fell back",
        "26 GB/s",
        "195 Gop/s",
        "MatMul bf16 1x2x3: NotImplemented: no kernel",
        "1.3%: the same work twice",
        "13.1 ms (2.9x floor)",
        "fails at its first run",
        "Energy per request: not measurable here",
        "processor.max_frequency_hz",
        "commit a9087c5",
    ):
        assert part in text, part


def test_zero_is_a_value_and_not_a_gap() -> None:
    assert re.search(r"memory\.swap_total_bytes +0 B +detected", text_of(report()))


def test_a_device_is_shown_with_the_libraries_that_ran_on_it() -> None:
    device = {"name": "NVIDIA H100", "cuda": "13.0", "cudnn": "9.13.0", "number": "0"}
    target = replace(report().targets[0], devices=({"type": "CPU"}, device))
    text = " ".join(text_of(report(targets=(target,))).split())
    assert "NVIDIA H100, CUDA 13.0, cuDNN 9.13.0" in text


def test_a_conflict_is_shown_with_its_commands() -> None:
    conflict = FlavourConflict(
        module="onnxruntime",
        distributions=("onnxruntime", "onnxruntime-gpu"),
        keep="onnxruntime-gpu",
        commands=("pip uninstall -y onnxruntime onnxruntime-gpu", "pip install onnxruntime-gpu"),
    )
    text = " ".join(text_of(report(conflicts=(conflict,))).split())
    assert "Packages that exclude each other" in text
    assert "onnxruntime, onnxruntime-gpu" in text


def test_the_page_stands_alone_and_shows_what_the_terminal_shows() -> None:
    page = hardware_page(report())
    assert not re.search(r"https?://|<script|<link|src=|url\(", page)
    assert "edge &lt;box&gt;" in page
    assert "<box>" not in page
    for part in ("prefers-color-scheme: dark", "@media print", "13.1 ms (2.9x floor)", "26 GB/s"):
        assert part in page


def test_devices_beside_the_processor_are_listed_fact_by_fact() -> None:
    gpu = {
        "index": 0,
        "name": to_plain(known("NVIDIA L4")),
        "memory_bytes": to_plain(known(24 * 2**30)),
        "mig": to_plain(ReportedFact(status="unknown", reason="NVML: code 999")),
    }
    text = text_of(report(accelerators={"nvidia": known([gpu])}))
    assert re.search(r"nvidia 0\.name +NVIDIA L4", text)
    assert re.search(r"nvidia 0\.memory_bytes +25\.8 GB", text)
    assert re.search(r"nvidia 0\.mig +unknown: NVML: code 999", text)


def test_a_census_beside_other_work_says_so_whatever_the_calibration_saw() -> None:
    hog = SessionNoise(grade="C", reasons=("a hog",), shares={"waited": 0.502})
    made = report()
    assert made.census is not None
    beside = replace(made, census=sealed(replace(made.census, noise=hog)))
    assert "Noise while timing: grade C, noisy (a hog; waited 50.2%)." in text_of(beside)
    assert of_hardware(beside).origin.noisy == "a hog"
    quiet = replace(hog, grade="B")
    calm = replace(made, census=replace(made.census, noise=quiet))
    assert of_hardware(calm).origin.noisy == ""
    # What an A/A test of the machine showed is not undone by a session without one.
    assert made.calibration is not None
    loud = replace(made.calibration, grade="C", grade_reasons=("15 % between equals",))
    assert of_hardware(replace(calm, calibration=loud)).origin.noisy == "15 % between equals"
    assert from_plain(HardwareReport, to_plain(beside)) == beside
