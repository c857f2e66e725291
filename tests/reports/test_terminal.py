"""What a run prints, letter by letter, without colour and within 100 columns."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import RenderableType

from autotune.calibration import SessionNoise
from autotune.candidate import AdapterConfig, Candidate
from autotune.reports import (
    Metric,
    PlanRow,
    RunOutcome,
    RunReport,
    build_report,
    front_table,
    make_console,
    nearest_miss,
    plan_table,
    run_summary,
)

from .record import BASE_FP32, BASE_INT4, CHOSE_NONE, FP32, context, events, measured

REPORT = build_report(context(), events())
RUN_DIR = Path("results/run")


def _rendered(renderable: RenderableType, *, width: int | None = None) -> list[str]:
    stream = io.StringIO()
    make_console(stream, width=width).print(renderable)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def _summary(report: RunReport, *, run_dir: Path = RUN_DIR) -> str:
    stream = io.StringIO()
    make_console(stream).print(run_summary(report, run_dir=run_dir))
    return stream.getvalue()


def _missed() -> RunReport:
    decision = replace(CHOSE_NONE, front=(BASE_INT4, BASE_FP32))
    bounds = ("latency<=40ms", "accuracy>=0.9", "size<=118MB", "ttft<=1s")
    return build_report(context(decision=decision, bounds=bounds), events()[:3])


def test_the_front_shows_values_over_intervals_and_marks_the_choice() -> None:
    assert _rendered(front_table(REPORT)) == [
        "  Training                          Accuracy      Latency p95",
        "  Recipe                        (validation)  [95 % interval]    Size  Memory  Bounds",
        "─" * 85,
        "* lora-r8-a2-lr0.002-443bd6            0.940            48 ms  117 MB  410 MB  pass",
        "  cpu-int4-b32-k_quant_mixed  [0.900, 0.980]     [45.6, 50.4]",
        "  untrained                            0.250            49 ms  117 MB  410 MB  pass",
        "  cpu-int4-b32-k_quant_mixed  [0.210, 0.290]     [46.6, 51.5]",
    ]


def test_failed_bounds_are_named_in_the_front() -> None:
    text = "\n".join(_rendered(front_table(_missed())))
    for words in ("fail latency", "fail accuracy", "fail size", "unmeasured ttft"):
        assert words in text
    assert "*" not in text


def test_a_number_that_was_not_measured_is_a_dash() -> None:
    scored_only = build_report(context(), [event for event in events() if event.number == 6])
    row = _rendered(front_table(scored_only))[3]
    assert row.split()[2:] == ["0.940", "-", "117", "MB", "-", "unmeasured", "latency"]


@pytest.mark.parametrize("width", [100, 80, 60])
def test_no_table_is_wider_than_the_console(width: int) -> None:
    long = AdapterConfig(rank=64, alpha_ratio=0.25, learning_rate=1.23e-4)
    candidate = Candidate(adapter=long, fraction=1 / 3, recipe=FP32)
    decision = replace(CHOSE_NONE, front=(candidate,), nearest_miss=candidate)
    report = build_report(context(decision=decision, bounds=("tpot<=1ms",)), events())
    plan = [PlanRow(what="w " * 40, estimate="2 min 10 s", basis="b " * 60)]
    for renderable in (front_table(report), nearest_miss(report), plan_table(plan)):
        assert max(map(len, _rendered(renderable, width=width))) <= width


def test_numbers_stay_whole_where_names_must_fold() -> None:
    text = "\n".join(_rendered(front_table(REPORT), width=76))
    assert "[0.900, 0.980]" in text
    assert "[45.6, 50.4]" in text


def test_a_stream_that_is_no_terminal_gets_100_columns_and_no_escapes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    assert make_console(stream).width == 100
    assert "\x1b" not in _summary(REPORT)


def test_the_summary_shows_the_published_numbers_and_where_everything_lies() -> None:
    lines = [line.rstrip() for line in _summary(REPORT).splitlines()]
    for line in (
        "Chosen: lora-r8-a2-lr0.002-443bd6/cpu-int4-b32-k_quant_mixed",
        "Accuracy                 0.925 [0.895, 0.955]  0.260 [0.210, 0.310]        160 test rows",
        "  latency.p95 <= 100 ms: pass (48 ms [45.6, 50.4])",
        "Why:    The most accurate model that meets the bound.",
        "Model:  results/run/model",
        "Try it: python results/run/model/run.py TEXT",
        "Ask it: autotune chat results/run",
        "Report: results/run/report.json",
    ):
        assert line in lines
    places = [next(n for n, line in enumerate(lines) if word in line) for word in ("Accur", "Size")]
    assert places == sorted(places)


def test_several_fields_are_asked_for_by_name() -> None:
    report = replace(REPORT, task=replace(REPORT.task, fields=("who", "what", "who", "tone")))
    assert "run.py who=... what=...\n" in _summary(report)


def test_a_long_path_is_printed_whole() -> None:
    folder = Path("/".join(["a long folder name"] * 12))
    assert f"Report: {folder / 'report.json'}\n" in _summary(REPORT, run_dir=folder)
    assert f"python '{folder / 'model' / 'run.py'}' TEXT\n" in _summary(REPORT, run_dir=folder)


def test_prose_wraps_between_words() -> None:
    text = _summary(replace(REPORT, decision="word " * 60))
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("word") == 60


def test_the_nearest_miss_says_how_far_each_bound_is() -> None:
    assert _rendered(nearest_miss(_missed())) == [
        "Nearest miss: untrained/cpu-int4-b32-k_quant_mixed",
        "  latency.p95 <= 40 ms: fail (50 ms [47.5, 52.5], 25 % over the bound)",
        "  accuracy >= 0.900: fail (0.250 [0.210, 0.290], 0.650 under the bound)",
        "  size <= 118 MB: pass (117 MB)",
        "  ttft.p95 <= 1.0 s: unmeasured (not measured)",
    ]


def test_a_median_over_the_bound_decides_where_a_percentile_has_too_few_requests() -> None:
    timed = events()[2]
    taken = timed.outcome.measurements
    only_median = {
        name: {"latency.p50": replace(found["latency.p95"], metric="latency.p50")}
        for name, found in taken.items()
        if "latency.p95" in found
    }
    assert only_median
    first = replace(timed, outcome=replace(timed.outcome, measurements=only_median))
    for bound, line in (
        ("latency<=1ms", "latency.p95 <= 1 ms: fail (p50 "),
        ("latency<=100ms", "latency.p95 <= 100 ms: unmeasured (p50 "),
    ):
        report = build_report(context(decision=CHOSE_NONE, bounds=(bound,)), [first])
        text = " ".join(_rendered(nearest_miss(report)))
        assert line in text
        assert text.endswith("; too few requests for p95)")
        assert ("50 times the bound" in text) == ("fail" in line)


@pytest.mark.parametrize(
    ("outcome", "words", "shows_miss"),
    [
        ("infeasible", "No model meets the bounds", True),
        ("uncertain", "No model is known to meet the bounds", True),
        ("failed", "The run failed", False),
        ("interrupted", "The run was interrupted", False),
    ],
)
def test_every_end_without_a_model_has_its_own_words(
    outcome: RunOutcome, words: str, shows_miss: bool
) -> None:
    text = _summary(replace(_missed(), outcome=outcome))
    assert words in text
    assert ("Nearest miss" in text) == shows_miss
    assert "Try it" not in text


def test_brackets_in_texts_are_no_markup() -> None:
    report = replace(REPORT, decision="because [bold]n[/bold] = 3 [red]")
    assert "because [bold]n[/bold] = 3 [red]" in _summary(report)


def test_the_plan_gives_each_estimate_with_its_basis() -> None:
    rows = [PlanRow(what="Census", estimate="2 min", basis="8 recipes")]
    assert _rendered(plan_table(rows)) == [
        "Plan    Estimate  Based on",
        "───────────────────────────",
        "Census     2 min  8 recipes",
    ]


def test_a_noisy_run_says_so_and_a_number_that_is_missing_has_its_reason() -> None:
    hog = SessionNoise(grade="C", reasons=("a process waited for a core",))
    assert REPORT.chosen is not None
    chosen = replace(
        REPORT.chosen,
        unmeasured={
            "energy": "not measurable here: no counters",
            "device_memory": "not applicable, the provider works in main memory",
        },
    )
    text = _summary(replace(REPORT, noise=hog, chosen=chosen))
    assert "Noisy:  a process waited for a core; no time of this run is certain" in text
    assert "Energy per request: not measurable here: no counters\n" in text
    assert "not applicable" not in text
    assert "Noisy" not in _summary(replace(REPORT, noise=replace(hog, grade="B")))


def test_energy_has_a_column_where_it_was_measured() -> None:
    assert "Energy" not in "".join(_rendered(front_table(REPORT)))
    joules = Metric(value=0.12, unit="J", n=4, ci95=(0.11, 0.13))
    front = tuple(replace(m, metrics={**m.metrics, "energy": joules}) for m in REPORT.front)
    lines = _rendered(front_table(replace(REPORT, front=front)))
    assert max(map(len, lines)) <= 100
    assert "Energy" in lines[0]
    assert sum("120 mJ" in line for line in lines) == len(front)


def test_of_plain_text_the_front_shows_the_perplexity() -> None:
    told = context(kind="generation")
    told = replace(told, task=replace(told.task, kind="perplexity"))
    scored = [event for event in events() if event.number == 6]
    outcome = scored[0].outcome
    ((name, found),) = outcome.measurements.items()
    text = measured("perplexity", 26.7, spread=1.0)
    outcome = replace(outcome, measurements={name: {**found, "perplexity": text}})
    lines = _rendered(front_table(build_report(told, [replace(scored[0], outcome=outcome)])))
    assert "Perplexity" in lines[0]
    assert lines[3].split()[2] == "26.700"
    assert "[25.700, 27.700]" in lines[4]
