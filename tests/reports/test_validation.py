"""Times taken again against published ones: slower for sure fails, everything else does not."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from autotune.plain import from_plain, to_plain
from autotune.reports import SCHEMA_DIR, Check, Metric, Validation, judge_times, validation_lines


def timed(value: float, spread: float | None = 0.05) -> Metric:
    ends = None if spread is None else (value * (1 - spread), value * (1 + spread))
    return Metric(value=value, unit="s", n=96, ci95=ends)


@pytest.mark.parametrize(
    ("now", "noisy", "status"),
    [
        (timed(0.050), "", "pass"),
        (timed(0.052), "", "pass"),  # within what both intervals allow
        (timed(0.065), "", "fail"),
        (timed(0.0555, spread=0.01), "", "uncertain"),  # as sessions of one model differ
        (timed(0.030), "", "pass"),  # faster is no failure
        (timed(0.065), "another process ran", "uncertain"),
        (timed(0.065, spread=None), "", "uncertain"),
        (timed(0.051, spread=0.001), "", "pass"),
    ],
)
def test_only_slower_for_sure_fails(now: Metric, noisy: str, status: str) -> None:
    published = {"latency.p50": timed(0.050), "accuracy": Metric(value=0.9, unit="1", n=10)}
    (check,) = judge_times(
        published, {"latency.p50": now, "accuracy": published["accuracy"]}, noisy=noisy
    )
    assert check.status == status
    assert check.name == "Request latency p50"
    assert "published 50 ms [47.5, 52.5], now " in check.detail


def test_a_difference_of_less_than_two_per_cent_is_none() -> None:
    published = timed(0.050, spread=1e-4)
    for now, status in ((0.0508, "pass"), (0.0512, "uncertain"), (0.0548, "uncertain")):
        again = {"latency.p95": timed(now, spread=1e-4)}
        assert [one.status for one in judge_times({"latency.p95": published}, again)] == [status]
    (check,) = judge_times({"latency.p95": published}, {"latency.p95": timed(0.0552, spread=1e-4)})
    assert check.status == "fail"


def test_the_document_is_of_its_published_form_and_reads_back() -> None:
    checks = tuple(
        Check(name="n", status=status, detail="d")
        for status in ("pass", "fail", "uncertain", "not_checked")
    )
    made = Validation(created="2026-11-26T00:00:00+00:00", folder="model", checks=checks)
    schema = json.loads(Path(SCHEMA_DIR / "validation-1.0.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema).validate(to_plain(made))
    assert from_plain(Validation, to_plain(made)) == made
    assert not made.holds
    assert Validation(created="", folder="", checks=(checks[0], *checks[2:])).holds
    signs = [line[0] for line in validation_lines(made)][1:]
    assert signs == ["✓", "✗", "?", "-"]
