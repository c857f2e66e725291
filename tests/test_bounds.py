"""Bounds that nothing here can judge are refused before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from autotune.bounds import check_bounds_on_target, check_bounds_on_task, check_measurable
from autotune.constraint import parse_constraint
from autotune.errors import HardwareError, UsageError
from autotune.evaluators import unmeasurable
from autotune.kinds import KINDS, Kind
from autotune.target_report import load_target_report

from .edge_box import INT4, edge_box, entry, number, written

ENERGY = parse_constraint("energy<=0.5J")
NO_COUNTERS = "not measurable here: no counters"


@pytest.fixture
def why_not(tmp_path: Path) -> Callable[[str, str], str]:
    """The real answer on a machine without any counter."""
    return partial(unmeasurable, root=tmp_path, nvml="")


def test_energy_without_counters_is_a_matter_of_hardware(
    why_not: Callable[[str, str], str], tmp_path: Path
) -> None:
    with pytest.raises(
        HardwareError, match=r"energy <= 500 mJ cannot be judged.*virtual"
    ) as caught:
        check_measurable([ENERGY], ["cpu"], why_not=why_not)
    assert caught.value.exit_code == 3
    assert "Leave the bound out" in str(caught.value)
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0")
    (zone / "energy_uj").write_text("1")
    check_measurable([ENERGY], ["cpu"], why_not=why_not)


def test_one_provider_that_measures_is_enough_and_all_reasons_are_told(
    why_not: Callable[[str, str], str],
) -> None:
    bound = parse_constraint("device_memory<=8GB")
    with pytest.raises(HardwareError, match=r"cpu: not applicable.*; cuda: .*nvidia-ml-py"):
        check_measurable([bound], ["cpu", "cuda"], why_not=why_not)
    check_measurable([bound], ["cpu", "cuda"], why_not=lambda _, name: "x" * (name == "cpu"))
    every = [parse_constraint(text) for text in ("latency<=1s", "size<=1GB", "accuracy>=0.5")]
    check_measurable(every, ["cpu"], why_not=why_not)


@pytest.mark.parametrize("text", ["tpot<=5ms", "energy_per_token<=1mJ"])
def test_a_classification_has_no_further_tokens(text: str) -> None:
    check_bounds_on_task([parse_constraint(text)], "generation")
    with pytest.raises(UsageError, match=r"no further tokens.*instead, or ask for --task"):
        check_bounds_on_task([parse_constraint(text)], "classification")


def test_a_target_report_without_the_number_is_refused_with_its_own_reason(tmp_path: Path) -> None:
    silent = entry(INT4, unmeasured={"energy": NO_COUNTERS})
    machine = load_target_report(written(edge_box(entries=(silent,)), tmp_path / "edge.json"))
    with pytest.raises(UsageError, match=f"'edge.json' .{NO_COUNTERS}.; leave the bound out"):
        check_bounds_on_target([ENERGY], machine, [INT4])
    # A percentile that the census was too short for can be had there, and only there.
    with pytest.raises(UsageError, match=r"it has latency.p50, latency.p95.; take it again"):
        check_bounds_on_target([parse_constraint("latency.p90<=1s")], machine, [INT4])
    check_bounds_on_target([parse_constraint("size<=1GB")], machine, [INT4])
    told = replace(silent, metrics={**silent.metrics, "energy": number("energy", 0.2)})
    machine = load_target_report(written(edge_box(entries=(told,)), tmp_path / "edge.json"))
    check_bounds_on_target([ENERGY], machine, [INT4])
    assert machine.costs()[INT4.name]["energy"].value == 0.2


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("perplexity<=20", "generation", "needs plain text"),
        ("perplexity<=20", "choice", "needs plain text"),
        ("accuracy>=0.9", "perplexity", "'perplexity<=20'"),
        ("macro_f1>=0.9", "choice", "needs labels"),
        ("tpot<=5ms", "choice", "a choice makes no further tokens"),
    ],
)
def test_a_bound_on_what_the_task_has_no_number_for_is_refused(
    text: str, kind: Kind, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        check_bounds_on_task([parse_constraint(text)], kind)


def test_each_kind_may_bound_its_own_quality() -> None:
    for kind in KINDS:
        text = "perplexity<=20" if kind == "perplexity" else "accuracy>=0.9"
        check_bounds_on_task([parse_constraint(text)], kind)
