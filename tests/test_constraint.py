"""Bounds: how they are written, and when a measurement meets them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.constraint import Constraint, Verdict, parse_constraint
from autotune.errors import UnitError, UsageError
from autotune.measurement import METRIC_UNITS, Measurement, metric_unit

positive = st.floats(min_value=1e-9, max_value=1e12)


def _measured(
    value: float, ci95: tuple[float, float] | None = None, *, metric: str = "latency.p95"
) -> Measurement:
    return Measurement(metric=metric, unit=metric_unit(metric), value=value, n=64, ci95=ci95)


@pytest.mark.parametrize(
    ("text", "metric", "op", "bound"),
    [
        ("latency<=100ms", "latency.p95", "<=", 0.1),
        ("latency.p50 <= 50ms", "latency.p50", "<=", 0.05),
        (" tpot.p95<=50ms ", "tpot.p95", "<=", 0.05),
        ("ttft<=1s", "ttft.p95", "<=", 1.0),
        ("memory<=4GiB", "memory", "<=", 2.0**32),
        ("size<=100MB", "size", "<=", 1e8),
        ("energy<=0.5J", "energy", "<=", 0.5),
        ("energy_per_token<=2mJ", "energy_per_token", "<=", 0.002),
        ("device_memory<=8GB", "device_memory", "<=", 8e9),
        ("accuracy>=0.9", "accuracy", ">=", 0.9),
        ("perplexity<=20.5", "perplexity", "<=", 20.5),
        ("macro_f1>=85%", "macro_f1", ">=", 0.85),
    ],
)
def test_the_general_form_is_read_with_the_units_of_its_metric(
    text: str, metric: str, op: str, bound: float
) -> None:
    constraint = parse_constraint(text)
    assert (constraint.metric, constraint.op, constraint.bound) == (metric, op, bound)


@pytest.mark.parametrize(
    ("text", "error", "rule", "way_out"),
    [
        ("latency<100ms", UsageError, "METRIC<=BOUND", "'tpot.p95<=50ms'"),
        ("latency", UsageError, "METRIC<=BOUND", "'tpot.p95<=50ms'"),
        ("latency<=", UsageError, "METRIC<=BOUND", "'tpot.p95<=50ms'"),
        ("<=5ms", UsageError, "METRIC<=BOUND", "'tpot.p95<=50ms'"),
        ("speed>=5ms", UsageError, "Nothing measures 'speed'", "latency, ttft, tpot"),
        ("nll<=1", UsageError, "Nothing measures 'nll'", "choose from"),
        ("latency.mean<=5ms", UsageError, "statistics p50, p90, p95", "'mean'"),
        ("memory.p95<=4GB", UsageError, "no statistics", "leave it out"),
        ("latency<=100", UnitError, "needs a unit", "100ms or 100s"),
        ("latency<=4GB", UnitError, "no unit 'GB'", "ms"),
        ("latency<=0ms", UnitError, "greater than zero", "'0ms'"),
        ("memory<=-4GB", UnitError, "greater than zero", "'-4GB'"),
        ("accuracy>=90", UnitError, "fraction", "90%"),
        ("perplexity<=0.5", UnitError, "1 or more", "0.5"),
        ("perplexity<=20ms", UnitError, "without unit", "20ms"),
    ],
)
def test_refusals_name_the_rule_the_value_and_a_way_out(
    text: str, error: type[Exception], rule: str, way_out: str
) -> None:
    with pytest.raises(error) as caught:
        parse_constraint(text)
    message = str(caught.value)
    assert rule in message
    assert way_out in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("op", "value", "ci95", "verdict"),
    [
        ("<=", 0.08, (0.07, 0.09), Verdict.PASS),
        ("<=", 0.08, (0.07, 0.10), Verdict.PASS),
        ("<=", 0.08, (0.07, 0.11), Verdict.UNCERTAIN),
        ("<=", 0.12, (0.09, 0.15), Verdict.UNCERTAIN),
        ("<=", 0.12, (0.11, 0.15), Verdict.FAIL),
        ("<=", 0.10, None, Verdict.PASS),
        ("<=", 0.1001, None, Verdict.FAIL),
        (">=", 0.12, (0.11, 0.15), Verdict.PASS),
        (">=", 0.12, (0.09, 0.15), Verdict.UNCERTAIN),
        (">=", 0.08, (0.07, 0.09), Verdict.FAIL),
        (">=", 0.10, None, Verdict.PASS),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(
    op: str, value: float, ci95: tuple[float, float] | None, verdict: Verdict
) -> None:
    constraint = Constraint(metric="latency.p95", op="<=" if op == "<=" else ">=", bound=0.1)
    assert constraint.verdict(_measured(value, ci95)) is verdict


@given(positive, positive)
def test_a_value_is_feasible_exactly_on_its_side_of_the_bound(value: float, bound: float) -> None:
    most = Constraint(metric="latency.p95", op="<=", bound=bound)
    least = Constraint(metric="latency.p95", op=">=", bound=bound)
    assert (most.normalized(value) <= 0) == (value <= bound)
    assert (least.normalized(value) <= 0) == (value >= bound)
    assert most.normalized(value) == -least.normalized(value)


@given(positive, positive, st.sampled_from([1e-3, 1e3, 1e9]))
def test_the_unit_does_not_change_a_normalised_value(
    value: float, bound: float, scale: float
) -> None:
    here = Constraint(metric="size", op="<=", bound=bound)
    there = Constraint(metric="size", op="<=", bound=bound * scale)
    assert there.normalized(value * scale) == pytest.approx(here.normalized(value))


@given(positive, positive, positive, positive)
def test_tightening_a_bound_never_helps(a: float, b: float, c: float, bound: float) -> None:
    low, value, high = sorted((a, b, c))
    order = [Verdict.PASS, Verdict.UNCERTAIN, Verdict.FAIL]
    measurement = _measured(value, (low, high))
    loose = Constraint(metric="latency.p95", op="<=", bound=bound * 2).verdict(measurement)
    tight = Constraint(metric="latency.p95", op="<=", bound=bound).verdict(measurement)
    assert order.index(tight) >= order.index(loose)


@pytest.mark.parametrize(
    "text", ["latency.p95 <= 100 ms", "size <= 100 MB", "accuracy >= 0.900", "tpot.p50 <= 1.5 s"]
)
def test_a_constraint_is_shown_as_it_may_be_typed(text: str) -> None:
    assert str(parse_constraint(text)) == text


@pytest.mark.parametrize(
    ("text", "median", "verdict"),
    [
        ("latency<=100ms", 0.2, Verdict.FAIL),
        ("latency<=100ms", 0.05, None),
        ("latency<=100ms", 0.1, None),  # its interval spans the bound
        ("ttft<=100ms", 0.2, None),
        ("memory<=1GB", 0.2, None),
    ],
)
def test_a_percentile_that_was_refused_is_at_least_the_median(
    text: str, median: float, verdict: Verdict | None
) -> None:
    measured = replace(_measured(median, (0.9 * median, 1.1 * median)), metric="latency.p50")
    assert parse_constraint(text).judge({"latency.p50": measured}) is verdict


def test_what_was_measured_is_judged_and_its_median_is_not() -> None:
    metrics = {"latency.p95": _measured(0.05), "latency.p50": _measured(0.2)}
    assert parse_constraint("latency<=100ms").judge(metrics) is Verdict.PASS


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_measurement_is_finite(value: float) -> None:
    with pytest.raises(ValueError, match=r"finite, got latency\.p95 = "):
        _measured(value)


def test_a_measurement_has_samples() -> None:
    with pytest.raises(ValueError, match="at least one sample, got n = 0"):
        Measurement(metric="accuracy", unit="1", value=0.5, n=0)


def test_statistics_have_the_unit_of_their_metric() -> None:
    assert {metric_unit(f"{name}.p95") for name in ("latency", "ttft", "tpot")} == {"s"}
    assert {metric_unit(name) for name in METRIC_UNITS} == {"s", "B", "J", "1", "nat"}
