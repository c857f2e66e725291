"""report.html: the answer first, every plot with its table, nothing loaded, nothing left out."""

from __future__ import annotations

import itertools
import re
import time
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.reports import RunReport, build_report, run_page, tried_models
from autotune.steps import Event

from .long_record import LABELS, MISTAKES, RECIPES, chosen, long_context, long_events
from .record import CHOSE_NONE, context, events, measured

EVENTS = long_events()
REPORT = build_report(long_context(), EVENTS)
_VOID = {"meta", "br"}


class _Reader(HTMLParser):
    """Checks that tags close in order, and gathers what a test asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tips: list[str] = []
        self.commands: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in _VOID:
            self.open.append(tag)
        if (tip := given.get("data-tip")) is not None:
            self.tips.append(tip)
        if (command := given.get("data-command")) is not None:
            self.commands.append(command)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass  # SVG's marks close themselves

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def page() -> str:
    return run_page(REPORT, EVENTS, run="results/one", mistakes=MISTAKES)


def test_a_run_of_sixty_trials_is_a_small_page_made_at_once() -> None:
    assert len(tried_models(REPORT, EVENTS)) == 60
    began = time.process_time()
    made = run_page(REPORT, EVENTS, run="results/one", mistakes=MISTAKES)
    assert time.process_time() - began < 2
    assert len(made.encode()) < 600_000  # a tenth of what people still open gladly


def test_the_alternatives_are_trained_models_where_there_are_any() -> None:
    models = {one.model.name: one.model for one in tried_models(REPORT, EVENTS)}
    untrained = [one for one in models.values() if one.adapter is None]
    # As nothing is smaller, untrained models are often on a front.
    report = replace(REPORT, front=(*untrained, *REPORT.front))
    page = run_page(report, EVENTS, run="results/one", mistakes=())
    start = page.index("Against the nearest alternatives")
    head = page[start : page.index("</thead>", start)]
    names = [name for name in re.findall(r"<th[^>]*>([^<]*)", head) if name in models]
    assert len(names) == 3
    assert all(models[name].adapter is not None for name in names)


def test_the_page_refers_to_nothing_outside_itself(page: str) -> None:
    assert "default-src 'none'" in page
    assert not re.search(r"<link|\bsrc=|url\((?!#)|@import|<img|<iframe", page)
    assert "https://" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)


def test_the_answer_comes_first_then_what_speaks_for_it(page: str) -> None:
    _read(page)
    titles = [unescape(title) for title in re.findall(r"<h2>(.*?)</h2>", page)]
    assert titles == [
        "Answer",
        "Accuracy against cost",
        "Request latency of the finalists",
        "Answers on the test split",
        "Training",
        "What the run did",
        "The machine",
        "Method, and how to repeat it",
    ]
    answer = page.partition('<section id="answer">')[2].partition("</section>")[0]
    assert "right on 90.0% of 160 test rows (95 % interval 87.0% to 93.0%)" in answer
    assert chosen().name in answer
    assert "✓ pass" in answer
    # Against the untrained model 64 points more; against int8 slower by about a third.
    assert "+64.0 points" in answer
    assert f"autotune export results/one --trial {_trial(1)}" in answer


def _trial(recipe: int) -> int:
    """Return the trial of the chosen training with another recipe."""
    name = replace(chosen(), recipe=RECIPES[recipe]).name
    return next(one.trial for one in tried_models(REPORT, EVENTS) if one.model.name == name)


def test_every_scored_model_can_be_pointed_at_and_built_again(page: str) -> None:
    reader = _read(page)
    models = tried_models(REPORT, EVENTS)
    commands = {f"autotune export results/one --trial {one.trial}" for one in models}
    assert set(reader.commands) == commands
    assert sum(tip.startswith(f"{chosen().name} (chosen)") for tip in reader.tips) == 1
    broken = [tip for tip in reader.tips if "breaks a bound" in tip.partition("\n")[0]]
    # Medians of 30 to 130 ms under a bound of 100 ms on the 95th percentile.
    assert {tip.partition(" ")[0] for tip in broken} == {f"untrained/{r.name}" for r in RECIPES[3:]}


def test_the_line_of_the_plot_never_turns_back(page: str) -> None:
    found = re.search(r'class="frontline" points="([^"]*)"', page)
    assert found is not None
    points = [tuple(map(float, pair.split(","))) for pair in found[1].split()]
    # Dearer to the right, more accurate upwards, which is a smaller number.
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in itertools.pairwise(points))
    assert len(points) > 1


def test_every_plot_has_its_table(page: str) -> None:
    for part in page.split("<section")[1:]:
        assert ('class="plot"' in part) <= ("<table>" in part)
    assert page.count('class="plot"') == 4


def test_texts_of_the_user_stay_texts(page: str) -> None:
    assert "<script>alert" not in page
    assert "<b>odd" not in page
    shown = "".join(_read(page).text)
    assert "<script>alert(1)</script>" in shown
    assert LABELS[3] in shown
    assert "long ..." in shown
    assert "long " * 150 not in shown


def test_without_the_wrong_answers_no_row_of_the_data_is_on_the_page() -> None:
    made = run_page(REPORT, EVENTS, run="r")
    assert "Wrong examples" not in made
    assert "Confusion matrix" in made
    assert "answered rightly" in run_page(REPORT, EVENTS, run="r", mistakes=())


def _cases() -> list[tuple[str, RunReport, list[Event]]]:
    few, none = events(), replace(context(decision=None), outcome="failed")
    return [
        ("small", build_report(context(), few), few),
        ("generation", build_report(context(kind="generation"), few), few),
        ("miss", build_report(context(decision=CHOSE_NONE, bounds=("size<=1MB",)), few), few),
        ("empty", build_report(none, []), []),
        ("first step", build_report(none, few[:1]), few[:1]),
        ("no bound", build_report(context(bounds=()), few), few),
    ]


@pytest.mark.parametrize(("report", "record"), [case[1:] for case in _cases()])
def test_a_run_that_ended_anyhow_has_a_page(report: RunReport, record: list[Event]) -> None:
    reader = _read(run_page(report, record, run="r"))
    words = "".join(reader.text)
    assert "Answer" in words
    assert "nan" not in words
    if report.chosen is None and report.nearest_miss is not None:
        assert "Nearest miss" in words
        assert "✗ fail" in words


@settings(max_examples=20, deadline=None)
@given(length=st.integers(min_value=0, max_value=len(EVENTS)))
def test_a_run_cut_off_anywhere_has_a_page(length: int) -> None:
    cut = EVENTS[:length]
    report = build_report(replace(long_context(), decision=None, outcome="interrupted"), cut)
    _read(run_page(report, cut, run="r"))


def test_every_step_is_on_the_timeline_and_reused_work_is_told_from_new(page: str) -> None:
    part = page.partition('<section id="timeline">')[2].partition("</section>")[0]
    assert len(re.findall(r'class="mark step', part)) == len(EVENTS)
    assert "done" in part
    record = [replace(event, replayed=True) for event in EVENTS]
    replayed = run_page(build_report(long_context(), record), record, run="r")
    assert f"{len(EVENTS)} found all of their work" in replayed


def test_of_plain_text_the_page_ranks_by_perplexity() -> None:
    told = []
    for event in EVENTS:
        numbers = {
            name: {**found, "perplexity": measured("perplexity", 20.0 + 5 * found["nll"].value)}
            if "nll" in found
            else found
            for name, found in event.outcome.measurements.items()
        }
        told.append(replace(event, outcome=replace(event.outcome, measurements=numbers)))
    report = build_report(long_context(), told)
    page = run_page(report, told, run="r", mistakes=())
    text = " ".join(_read(page).text)
    assert "Perplexity against cost" in text
    assert "Perplexity (validation)" in text
    assert "Accuracy against cost" not in text
    assert "has a perplexity of" in text
