"""What compare calls different, what it only shows a direction of, and what it refuses."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.compare import run_compare
from autotune.errors import UsageError
from autotune.measurement import Measurement
from autotune.plain import to_plain
from autotune.recipe import read_recipe
from autotune.reports import (
    Comparison,
    MeasuredModel,
    RunReport,
    build_report,
    compare,
    comparison_view,
    delta_of,
    labelled,
    make_console,
    of_run,
)

from .evidence_cases import document, model, number
from .record import CHOSE_NONE, context, events


def _shown(comparison: Comparison) -> str:
    stream = io.StringIO()
    make_console(stream).print(comparison_view(comparison))
    return stream.getvalue()


def _ab(before: float, after: float, spread: float = 0.05, **changes: object) -> Comparison:
    first = document(model("m", latency=before, spread=spread))
    second = document(model("m", latency=after, spread=spread), label="B", **changes)
    return compare([first, second])


def _built(name: str) -> MeasuredModel:
    recipe = read_recipe(name)
    weights = f"untrained/{recipe.weights}"
    one = model(f"untrained/{name}", latency=0.05)
    return replace(one, provider=recipe.provider, weights=weights)


def test_builds_of_the_same_weights_are_compared_across_providers() -> None:
    edge = document(*map(_built, ("cpu-int4-b32", "cpu-int4-b32-acc1", "cpu-int4-b128")))
    names = ("cuda-fp16", "cuda-int4-b32-acc0", "cuda-int4-b32-acc0-graph")
    cloud = document(*map(_built, names), label="B")
    found = compare([edge, cloud])
    assert {(one.model, one.other_model) for one in found.changes} == {
        ("untrained/cpu-int4-b32", "untrained/cuda-int4-b32-acc0"),
        ("untrained/cpu-int4-b32-acc1", "untrained/cuda-int4-b32-acc0"),
    }
    assert found.documents[0].unmatched == ("untrained/cpu-int4-b128",)
    assert found.documents[1].unmatched == ("untrained/cuda-fp16",)


def test_of_one_provider_only_the_same_build_is_compared() -> None:
    first = document(*map(_built, ("cpu-int4-b32", "cpu-int4-b32-acc1")))
    second = document(_built("cpu-int4-b32"), label="B")
    found = compare([first, second])
    assert {one.model for one in found.changes} == {"untrained/cpu-int4-b32"}
    assert found.documents[0].unmatched == ("untrained/cpu-int4-b32-acc1",)


# value and interval of a positive number, and how it is measured
_VALUES = st.floats(1e-2, 1e2)
_ARMS = st.floats(0, 0.9)


@st.composite
def _numbers(draw: st.DrawFn) -> Measurement:
    value, low, high = draw(_VALUES), draw(_ARMS), draw(_ARMS)
    metric = draw(st.sampled_from(["latency.p95", "accuracy", "memory"]))
    return replace(number(metric, value, None)[1], ci95=(value * (1 - low), value * (1 + high)))


@given(_numbers())
def test_a_number_never_differs_from_itself(one: Measurement) -> None:
    delta = delta_of(one, one)
    assert delta.value == 0
    assert delta.ci95 is not None
    assert delta.ci95[0] <= 0 <= delta.ci95[1]


@given(_numbers(), _numbers())
def test_swapping_both_numbers_turns_the_difference_round(
    one: Measurement, other: Measurement
) -> None:
    other = replace(other, metric=one.metric, unit=one.unit)
    there, back = delta_of(one, other), delta_of(other, one)
    assert there.value is not None
    assert back.value is not None
    assert there.ci95 is not None
    assert back.ci95 is not None
    if there.relative:
        assert math.isclose((1 + there.value) * (1 + back.value), 1, rel_tol=1e-9)
        assert math.isclose((1 + there.ci95[0]) * (1 + back.ci95[1]), 1, rel_tol=1e-9)
    else:
        assert math.isclose(there.value, -back.value, abs_tol=1e-9)
        assert math.isclose(there.ci95[0], -back.ci95[1], abs_tol=1e-9)


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.001, 0.3))
def test_the_verdict_is_the_same_from_either_side(
    before: float, after: float, spread: float
) -> None:
    opposite = {"better": "worse", "worse": "better", "same": "same"}
    there, back = _ab(before, after, spread), _ab(after, before, spread)
    assert opposite[there.changes[0].verdict] == back.changes[0].verdict


@pytest.mark.parametrize("decision", [None, CHOSE_NONE])
def test_a_report_does_not_differ_from_itself(decision: Any) -> None:
    record = context() if decision is None else context(decision=decision)
    one = of_run(build_report(record, events()))
    comparison = compare(labelled([one, one]), fail_on=0.001)
    assert {change.verdict for change in comparison.changes} <= {"same", "unjudged"}
    assert comparison.changes
    assert (comparison.facts, comparison.directional, comparison.regressions) == ((), (), ())


@pytest.mark.parametrize(
    ("before", "after", "spread", "verdict"),
    [
        (0.050, 0.060, 0.01, "worse"),
        (0.060, 0.050, 0.01, "better"),
        (0.050, 0.060, 0.20, "same"),  # the intervals are wide
        (0.050, 0.0508, 0.0001, "same"),  # certain, and below the practical margin
        (0.050, 0.0512, 0.0001, "worse"),
    ],
)
def test_a_verdict_takes_the_whole_interval_beyond_two_percent(
    before: float, after: float, spread: float, verdict: str
) -> None:
    assert _ab(before, after, spread).changes[0].verdict == verdict


def test_the_noise_floor_of_either_machine_widens_the_margin() -> None:
    assert _ab(0.050, 0.055, 0.01).changes[0].verdict == "worse"
    change = _ab(0.050, 0.055, 0.01, noise_floor=0.12).changes[0]
    assert (change.verdict, change.margin) == ("same", 0.12)


def test_energy_of_the_same_counters_is_judged_and_of_others_only_shown() -> None:
    def told(joules: float, method: str) -> MeasuredModel:
        key, one = number("energy", joules)
        return MeasuredModel(key="m", name="m", numbers={key: replace(one, method=method)})

    host, device = "gross; counters: package-0", "gross; counters: NVIDIA device 0"
    first = document(told(1.0, host))
    taken_elsewhere = f"measured on edge, untrained; {host}"
    same = compare([first, document(told(2.0, taken_elsewhere), label="B")]).changes[0]
    assert same.verdict == "worse"
    other = compare([first, document(told(2.0, device), label="B")]).changes[0]
    assert other.verdict == "directional"
    assert other.reason == "A and B read other counters, package-0 and NVIDIA device 0"
    noisy = compare([first, document(told(2.0, host), label="B", noisy="a hog")]).changes[0]
    assert noisy.is_noisy


def test_more_accuracy_is_better_and_told_in_its_own_unit() -> None:
    first = document(model("m", accuracy=0.70))
    second = document(model("m", accuracy=0.90), label="B")
    change = compare([first, second]).changes[0]
    assert (change.metric, change.verdict) == ("accuracy@validation", "better")
    assert change.delta.value == pytest.approx(0.2)
    assert not change.delta.relative


def test_bytes_are_readings_and_a_single_timing_is_not_judged() -> None:
    first = model("m", size=100e6)
    second = model("m", size=120e6)
    timed = [
        replace(m, numbers={**m.numbers, **dict([number("load", 1.0, None)])})
        for m in (first, second)
    ]
    changes = compare([document(timed[0]), document(timed[1], label="B")]).changes
    assert [(c.metric, c.verdict) for c in changes] == [("load", "unjudged"), ("size", "worse")]
    assert "no interval" in changes[0].reason


@pytest.mark.parametrize(
    ("changes", "metrics", "words"),
    [
        ({"workload": "e" * 64}, {"latency.p95"}, "different requests"),
        ({"task": "e" * 64}, {"accuracy@validation"}, "different data"),
        (
            {"model": "n" * 40, "model_name": "owner/other"},
            {"latency.p95", "accuracy@validation", "size"},
            "owner/tiny and owner/other",
        ),
    ],
)
def test_what_was_not_taken_alike_shows_a_direction_only(
    changes: dict[str, str], metrics: set[str], words: str
) -> None:
    one = model("m", latency=0.05, accuracy=0.5, size=1e8, spread=0.01)
    two = model("m", latency=0.15, accuracy=0.9, size=3e8, spread=0.01)
    comparison = compare([document(one), document(two, label="B", **changes)])
    assert {c.metric for c in comparison.changes if c.verdict == "directional"} == metrics
    assert words in comparison.directional[0]
    assert "Directional only" in _shown(comparison)


def test_fail_on_counts_only_what_is_certain_to_exceed_it() -> None:
    first = document(model("m", latency=0.100, spread=0.01))
    for after, n in ((0.104, 0), (0.106, 0), (0.112, 1), (0.080, 0)):
        second = document(model("m", latency=after, spread=0.01), label="B")
        assert len(compare([first, second], fail_on=0.05).regressions) == n, after


def test_fail_on_with_nothing_to_judge_is_no_pass() -> None:
    first, other = document(model("m", latency=0.1)), model("m", latency=0.9)
    with pytest.raises(UsageError, match=r"judges nothing.*different requests"):
        compare([first, document(other, label="B", workload="e" * 64)], fail_on=0.05)


def test_models_pair_by_role_and_else_by_name() -> None:
    first = document(model("a/int4", latency=0.05, key="chosen"), model("base/fp32", latency=0.1))
    second = document(
        model("b/int4", latency=0.05, key="chosen"),
        model("base/fp32", latency=0.1, key="baseline"),
        model("c/int8", latency=0.2),
        label="B",
    )
    comparison = compare([first, second])
    pairs = {(change.model, change.other_model) for change in comparison.changes}
    assert pairs == {("a/int4", "b/int4"), ("base/fp32", "base/fp32")}
    assert comparison.documents[1].unmatched == ("c/int8",)
    assert "Only in B: c/int8." in _shown(comparison)


@pytest.mark.parametrize("n", [0, 1])
def test_a_comparison_takes_two(n: int) -> None:
    with pytest.raises(UsageError, match="at least two"):
        compare([document(model("m", latency=1.0))] * n)


def test_reports_without_a_common_model_are_refused_with_all_names() -> None:
    first, second = document(model("a", latency=1.0)), document(model("b", latency=1.0), label="B")
    with pytest.raises(UsageError, match=r"'a\.json' has a; 'b\.json' has b"):
        compare([first, second])


def test_only_the_facts_that_differ_stand_above_the_numbers() -> None:
    facts = {"processor.model": "AMD EPYC", "memory.total_bytes": 25e9, "processor.isa": ["avx2"]}
    other = facts | {"memory.total_bytes": 8e9, "processor.isa": ["avx2", "amx"]}
    comparison = compare(
        [
            document(model("m", latency=0.1), facts=facts),
            document(model("m", latency=0.2), label="B", facts=other),
        ]
    )
    assert [row.name for row in comparison.facts] == ["memory.total_bytes", "processor.isa"]
    text = _shown(comparison)
    assert "25 GB" in text
    assert "8 GB" in text
    assert "also amx" in text
    assert "processor.model" not in text


def test_a_table_of_several_reports_fits_in_100_columns() -> None:
    long = "lora-r16-a2-lr0.001-abcdef@0.33/cpu-int4-b32-k_quant_mixed"
    documents = [
        document(model(long, latency=0.048 * (i + 1), accuracy=0.9, size=1e8, key="chosen"))
        for i in range(4)
    ]
    text = _shown(compare(labelled(documents)))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert text.index("Accuracy") < text.index("Request latency") < text.index("Size on disk")
    assert "+300.0 % [+" in text
    assert "~" in text


# The command, on files


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, RunReport], Path]:
    def put(name: str, report: RunReport) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(to_plain(report)), encoding="utf-8")
        return path

    return put


def _slower(report: RunReport, factor: float) -> RunReport:
    assert report.chosen is not None
    metric = report.chosen.metrics["latency.p95"]
    low, high = metric.ci95 or (0, 0)
    slow = replace(metric, value=metric.value * factor, ci95=(low * factor, high * factor))
    metrics = report.chosen.metrics | {"latency.p95": slow}
    return replace(report, chosen=replace(report.chosen, metrics=metrics))


def test_the_command_compares_files_and_folders(
    write: Callable[[str, RunReport], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = build_report(context(), events())
    first = write("report.json", report)
    second = write("b.json", _slower(report, 1.5))
    assert run_compare([tmp_path, second], as_json=False) == 0
    text = capsys.readouterr().out
    assert "+50.0 %" in text
    assert run_compare([first, second], fail_on="5%", as_json=True) == 1
    plain = json.loads(capsys.readouterr().out)
    assert plain["schema"] == "autotune.comparison"
    regressed = [change for change in plain["changes"] if change["is_regression"]]
    assert [change["metric"] for change in regressed] == ["latency.p95"]
    assert run_compare([second, first], fail_on="5%", as_json=True) == 0
