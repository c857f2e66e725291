"""The per-class table of a run: on the terminal, in the model card and in the record."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from autotune.confusion import Confusion
from autotune.plain import from_plain, to_plain
from autotune.reports import RunReport, build_report, make_console, model_card, run_summary
from autotune.steps import Event

from .record import BASE_INT4, TUNED_INT4, context, events

# Of four labels: three rows each, one mistake in "sadness" and two in "sad surprise".
TUNED = Confusion.of([0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 1, 0, 2, 2, 2, 2], n_labels=4)
UNTRAINED = Confusion.of([0, 0, 1, 1, 2, 2, 3, 3], [0] * 8, n_labels=4)


def _tested(events: list[Event], **confusion: Confusion) -> list[Event]:
    """Return ``events`` with matrices in the test step, the last one."""
    named = {{"tuned": TUNED_INT4, "base": BASE_INT4}[key].name: m for key, m in confusion.items()}
    outcome = replace(events[-1].outcome, confusion=named)
    return [*events[:-1], replace(events[-1], outcome=outcome)]


def _summary(report: RunReport) -> str:
    stream = io.StringIO()
    make_console(stream).print(run_summary(report, run_dir=Path("run")))
    return stream.getvalue()


def test_the_report_keeps_the_matrices_of_choice_and_baseline() -> None:
    report = build_report(context(), _tested(events(), tuned=TUNED, base=UNTRAINED))
    assert report.chosen is not None
    assert report.baseline is not None
    assert (report.chosen.confusion, report.baseline.confusion) == (TUNED, UNTRAINED)
    assert from_plain(RunReport, to_plain(report)) == report
    assert report.front[0].confusion is None, "its accuracy is of another scoring, without matrix"


def test_the_summary_shows_the_worst_class_first_beside_the_untrained_model() -> None:
    text = _summary(build_report(context(), _tested(events(), tuned=TUNED, base=UNTRAINED)))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    start = lines.index("Class Precision Recall F1 Rows F1 untrained")
    assert lines[start + 2 : start + 6] == [
        "sad surprise - 0.000 0.000 2 0.000",
        "sadness 1.000 0.500 0.667 2 0.000",
        "surprise 0.500 1.000 0.667 2 0.000",
        "joy 0.667 1.000 0.800 2 0.400",
    ]
    assert "mistake: 'sad surprise' taken for 'surprise' in 2 of 2 rows" in text


def test_the_model_card_has_the_same_table_and_no_label_breaks_it() -> None:
    told = context()
    labels = ("joy", "sad|ness", "sur\nprise", "sad surprise")
    told = replace(told, task=replace(told.task, labels=labels))
    card = model_card(build_report(told, _tested(events(), tuned=TUNED)), fields=("phrase",))
    assert "| class | precision | recall | F1 | rows |" in card
    assert r"| sad\|ness | 1.000 | 0.500 | 0.667 | 2 |" in card
    assert "| sur prise | 0.500 |" in card
    assert "Most frequent mistakes: 'sad surprise' taken for" in card


def test_a_generation_has_no_classes() -> None:
    report = build_report(context(kind="generation"), events())
    assert "Precision" not in _summary(report)


def test_many_classes_show_the_worst_twelve() -> None:
    told = context()
    labels = tuple(f"label {n:02}" for n in range(20))
    told = replace(told, task=replace(told.task, labels=labels))
    perfect = Confusion.of(range(20), range(20), n_labels=20)
    text = _summary(build_report(told, _tested(events(), tuned=perfect)))
    assert "and 8 better ones in report.json" in text
    assert "label 11" in text
    assert "label 12" not in text
