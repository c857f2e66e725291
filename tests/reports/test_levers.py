"""What levers bought: in the report, on the terminal and on the page."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.plain import from_plain, to_plain
from autotune.reports import (
    ReportedLever,
    ReportedModel,
    RunReport,
    build_report,
    make_console,
    run_summary,
)
from autotune.steps import Lever, LeverResult

from .record import CHOSE, TUNED_INT4, context, events

BOUGHT = LeverResult(lever="quantiser", best_with=TUNED_INT4, best_without=None)
LEFT: dict[Lever, str] = {"depth": "no bound on time, memory or size"}


@pytest.fixture(scope="module")
def report() -> RunReport:
    told = replace(context(decision=replace(CHOSE, levers=(BOUGHT,))), levers_left=LEFT)
    return build_report(told, events())


def test_a_lever_has_the_best_models_with_and_without_it_by_numbers_of_the_search(
    report: RunReport,
) -> None:
    quantiser, depth = report.levers
    assert quantiser.lever == "quantiser"
    assert quantiser.best_with is not None
    assert quantiser.best_with.metrics["accuracy"].split == "validation"
    assert quantiser.best_with.metrics["latency.p95"].value == 0.048
    assert quantiser.best_without is None
    assert depth == ReportedLever(lever="depth", reason="no bound on time, memory or size")
    assert from_plain(RunReport, to_plain(report)) == report


def test_a_report_from_before_there_were_levers_is_read() -> None:
    plain = to_plain(build_report(context(), events()))
    del plain["levers"]
    assert from_plain(RunReport, plain).levers == ()


def _printed(report: RunReport) -> str:
    stream = io.StringIO()
    make_console(stream).print(run_summary(report, run_dir=Path("run")))
    return " ".join(stream.getvalue().split())


def test_the_terminal_tells_of_levers_that_were_pulled(report: RunReport) -> None:
    printed = _printed(report)
    assert f"Lever: Quantiser in training: with {TUNED_INT4.name} (accuracy 0.940" in printed
    assert "request latency p95 48 ms" in printed
    assert "; without none meets the bounds" in printed
    assert "Fewer layers" not in printed


def test_a_model_is_said_to_be_cut_and_trained_with_its_quantiser(report: RunReport) -> None:
    chosen = report.chosen
    assert isinstance(chosen, ReportedModel)
    assert chosen.adapter is not None
    adapter = replace(chosen.adapter, method="qat-lora", quantiser="int4-b32", layers=20)
    printed = _printed(replace(report, chosen=replace(chosen, adapter=adapter)))
    assert "qat-lora for int4-b32 of 20 layers, rank" in printed
