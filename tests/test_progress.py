"""What a person sees of a run: the live view, plain lines, the log, and the models so far."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.front_so_far import FrontSoFar
from autotune.measurement import Measurement
from autotune.progress import Progress
from autotune.steps import Event, MeasureStep, Outcome, OutcomeStatus, ScoreStep

from .reports.record import (
    BASE_FP32,
    BASE_INT4,
    TUNED_FP32,
    TUNED_INT4,
    events,
    measured,
    named,
)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_time_best_and_the_models_so_far_without_colour_if_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "40")
    stream = Terminal()
    progress = Progress(stream=stream)
    progress.best, progress.front = "0.936 some model", ("accuracy  p95", "   0.936  56 ms")
    progress.ends_in(250)
    progress.working("train lora-r8 to 33%")
    progress.rest()
    shown = stream.getvalue()
    assert re.search(r"0:00 elapsed · at most 4:\d\d left · best 0\.936 some model · train", shown)
    assert "   0.936  56 ms" in shown
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", shown), "a colour"
    # Beside a measurement nothing is redrawn, so the lines below would stay and mislead.
    stream.truncate(0)
    progress.ends_in(250, is_limit=False)
    progress.working("measure", silent=True)
    assert "about 4:" in stream.getvalue()
    assert "56 ms" not in stream.getvalue()


def test_elsewhere_there_are_plain_lines_and_the_log_has_no_secrets(tmp_path: Path) -> None:
    stream, log = io.StringIO(), tmp_path / "run.log"
    progress = Progress(stream=stream, log_path=log)
    progress.front = ("accuracy",)
    progress.working("train")
    progress.line("data https://me:hunter2@host/rows.csv?sig=abc [red]kept[/red]")
    progress.rest()
    assert stream.getvalue() == "data https://me:hunter2@host/rows.csv?sig=abc [red]kept[/red]\n"
    written = log.read_text("utf-8")
    assert re.fullmatch(r"\d\d:\d\d:\d\d data https://\*\*\*@host/rows.*\n", written)
    assert "hunter2" not in written
    assert "abc" not in written


def _event(step: ScoreStep | MeasureStep, **found: dict[str, Measurement]) -> Event:
    named_so = {"base_int4": BASE_INT4, "base_fp32": BASE_FP32}
    named_so |= {"tuned_int4": TUNED_INT4, "tuned_fp32": TUNED_FP32}
    measurements = {named_so[key].name: value for key, value in found.items()}
    outcome = Outcome(status=OutcomeStatus.MEASURED, measurements=measurements, cost_s=1.0)
    return replace(events()[0], step=step, outcome=outcome)


def _score(accuracy: float, size: float) -> dict[str, Measurement]:
    return named(measured("accuracy", accuracy), measured("size", size))


def test_the_front_holds_what_nothing_beats_with_the_times_of_its_recipe() -> None:
    front = FrontSoFar()
    assert front.lines() == []
    front.take(_event(ScoreStep(candidate=BASE_INT4), base_int4=_score(0.3, 90e6)))
    front.take(_event(ScoreStep(candidate=BASE_FP32), base_fp32=_score(0.4, 540e6)))
    timed = MeasureStep(candidates=(BASE_INT4, BASE_FP32), rounds=2)
    times = [named(measured("latency.p95", seconds)) for seconds in (0.04, 0.06)]
    front.take(_event(timed, base_int4=times[0], base_fp32=times[1]))
    front.take(_event(ScoreStep(candidate=TUNED_INT4), tuned_int4=_score(0.9, 90e6)))
    front.take(_event(ScoreStep(candidate=TUNED_FP32), tuned_fp32=_score(0.85, 540e6)))
    heading, *rows = [line.split() for line in front.lines()]
    assert heading == ["accuracy", "p95", "size", "best", "so", "far"]
    assert rows == [["0.900", "40", "ms", "90", "MB", TUNED_INT4.name]]
    front.take(_event(ScoreStep(candidate=TUNED_FP32), tuned_fp32=_score(0.95, 540e6)))
    assert [line.split()[-1] for line in front.lines()[1:]] == [TUNED_FP32.name, TUNED_INT4.name]
    assert [line.split()[-1] for line in front.lines(most=1)[1:]] == [TUNED_FP32.name]
