"""How near its floor a model runs: the arithmetic, the machine it is asked of, and the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import UsageError
from autotune.known_machine import calibrated_for, remember
from autotune.plain import to_plain
from autotune.reports import (
    HardwareReport,
    Metric,
    RunReport,
    build_report,
    check_machine,
    floors_of,
    near_floors,
    run_page,
    write_json_atomic,
)

from .hardware_record import device, known
from .hardware_record import report as hardware_report
from .record import INT4, context, events

# The device of the record: 1.04 GB read in 40 ms, 2 * 256 * 1024 * 4096 operations in 11 ms.
BYTES_PER_S = 1.04e9 / 0.04
OPERATIONS_PER_S = 2 * 256 * 1024 * 4096 / 0.011
WEIGHTS, TOKENS = 135_000_000, 24.4


def run(kind: str = "classification", **latency: float) -> RunReport:
    """Return a run on the machine of the hardware record, with medians added to the choice."""
    made = build_report(context(kind=kind), events())
    assert made.chosen is not None
    medians = {
        name.replace("_", "."): Metric(value=value, unit="s", n=96)
        for name, value in latency.items()
    }
    processor = {"model": {"value": "CPU"}, "usable_cores": {"value": 2.0}}
    return replace(
        made,
        hardware={"processor": processor},
        model=replace(made.model, parameters=WEIGHTS),
        workload=replace(made.workload, prompt_tokens=TOKENS),
        chosen=replace(made.chosen, metrics={**made.chosen.metrics, **medians}),
    )


def hardware(model: str = "CPU", **changes: Any) -> HardwareReport:
    processor = {"model": known(model), "usable_cores": known(2.0)}
    return replace(hardware_report(), hardware={"processor": processor}, **changes)


def test_a_classification_is_held_up_by_arithmetic_alone() -> None:
    (near,) = near_floors(run(latency_p50=0.050), hardware())
    assert near.metric == "latency.p50"
    assert near.floor_s == pytest.approx(2 * WEIGHTS * 24 / OPERATIONS_PER_S)
    assert near.times == pytest.approx(0.050 / near.floor_s)


def test_a_generated_token_reads_every_weight() -> None:
    first, later = near_floors(run("generation", ttft_p50=0.1, tpot_p50=0.009), hardware())
    assert (first.metric, later.metric) == ("ttft.p50", "tpot.p50")
    assert later.floor_s == pytest.approx(1.17e8 / BYTES_PER_S)
    assert later.times == pytest.approx(2.0, rel=1e-3)


def test_what_is_not_known_gives_no_floor() -> None:
    facts: dict[str, Any] = {"kind": "generation", "weights": None, "prompt_tokens": 9.0}
    assert floors_of(device(), INT4, **facts, size_bytes=None) == {}
    assert near_floors(run(latency_p50=0.05), hardware(calibration=None)) == ()
    elsewhere = replace(device(), provider="DmlExecutionProvider")
    made = hardware()
    assert made.calibration is not None
    other = replace(made.calibration, devices=(elsewhere,))
    assert near_floors(run(latency_p50=0.05), replace(made, calibration=other)) == ()


def test_another_machine_and_a_report_without_calibration_are_refused() -> None:
    check_machine(run(), hardware())
    with pytest.raises(UsageError, match=r"on \['CPU', 2\.0\], .* is of \['Xeon', 2\.0\]"):
        check_machine(run(), hardware("Xeon"))
    bare = hardware(calibration=None)
    with pytest.raises(UsageError, match="this one has no calibration"):
        check_machine(run(), bare)


def test_the_last_calibration_of_the_same_machine_and_runtime_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_CACHE", str(tmp_path / "cache"))
    ours = replace(hardware(), versions={"onnxruntime": "1.32.0"})
    same = replace(run(), versions={"onnxruntime": "1.32.0"})
    assert calibrated_for(same) is None
    remember(replace(ours, calibration=None))
    assert calibrated_for(same) is None, "it has nothing to tell"
    remember(ours)
    assert calibrated_for(same) == ours
    assert calibrated_for(replace(run(), versions={"onnxruntime": "1.30.0"})) is None
    remember(replace(hardware("Xeon"), versions=ours.versions))
    assert calibrated_for(same) is None, "it is another machine's"
    # What a model was chosen on comes first, and outlives the cache.
    (tmp_path / "model").mkdir()
    write_json_atomic(tmp_path / "model" / "hardware.json", to_plain(ours))
    assert calibrated_for(same, folder=tmp_path) == ours


def test_the_page_says_how_near_or_what_would_tell() -> None:
    told = run_page(run(latency_p50=0.050), events(), run="r", hardware=hardware())
    (near,) = near_floors(run(latency_p50=0.050), hardware())
    assert f"is {near.times:.1f} times the shortest that this device allows" in told
    assert "autotune hardware, once; then autotune show" in run_page(run(), events(), run="r")
    unknown = replace(run(latency_p50=0.05), workload=build_report(context(), events()).workload)
    assert "does not tell the lengths" in run_page(unknown, events(), run="r", hardware=hardware())
