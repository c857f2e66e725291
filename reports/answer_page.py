"""The answer of a run: which model, why, and what it costs against the others."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from html import escape

from autotune.constraint import Verdict

from .delta import delta_of
from .evidence import number_of
from .front_plot import export_command, quality_of
from .levers import lever_table
from .page_parts import paragraphs, section, table
from .run_models import TriedModel
from .run_report import Metric, ReportedModel, RunReport
from .terminal import HEADLINES
from .wording import (
    adapter_text,
    bound_text,
    metric_text,
    metric_title,
    miss_text,
    unmeasured_lines,
)

__all__ = ["answer_section"]

_COMPARED = (
    *("perplexity", "accuracy", "macro_f1", "latency.p50", "latency.p95", "ttft.p50", "tpot.p50"),
    *("memory", "device_memory", "energy", "energy_per_token", "size", "load"),
)
_MOST_OTHERS = 3
_LEAST_SHARE = 0.001


def answer_section(report: RunReport, models: Sequence[TriedModel], *, run: str) -> str:
    """Return the top of the page; ``run`` names the folder in commands."""
    chosen, miss = report.chosen, report.nearest_miss
    if chosen is None:
        parts = [f'<p class="answer">{escape(HEADLINES[report.outcome])}</p>']
        if miss is not None:
            parts += [_named("Nearest miss", miss), _bounds(miss)]
        parts += [_why(report), _noise(report), lever_table(report)]
        return section("Answer", *parts, anchor="answer")
    return section(
        "Answer",
        f'<p class="answer">{escape(_sentence(report, chosen))}</p>',
        _named("Chosen", chosen),
        _why(report),
        _noise(report),
        _bounds(chosen),
        _against_baseline(report, chosen),
        _against_others(models, run),
        lever_table(report),
        paragraphs(unmeasured_lines(chosen.unmeasured)),
        _how_to_use(report, chosen, run),
        anchor="answer",
    )


def _sentence(report: RunReport, chosen: ReportedModel) -> str:
    """Return accuracy and time of the choice in a sentence."""
    told = []
    if perplexity := chosen.metrics.get("perplexity"):
        told.append(f"has a perplexity of {metric_text(perplexity)}")
    elif accuracy := chosen.metrics.get("accuracy"):
        told.append(
            f"is right on {accuracy.value:.1%} of {accuracy.n} {accuracy.split or ''} rows"
            f" ({_percents(accuracy)})".replace("  ", " ")
        )
    for name in ("latency.p95", "latency.p50"):
        if name in chosen.metrics:
            part = "95" if name.endswith("95") else "50"
            told.append(f"answers {part} % of requests within {metric_text(chosen.metrics[name])}")
            break
    start = "Confirm it first: t" if report.outcome == "unconfirmed" else "T"
    return f"{start}he chosen model {' and '.join(told) or 'was not measured'}."


def _percents(metric: Metric) -> str:
    if metric.ci95 is None:
        return "no interval"
    return f"95 % interval {metric.ci95[0]:.1%} to {metric.ci95[1]:.1%}"


def _named(role: str, model: ReportedModel) -> str:
    how = escape(adapter_text(model))
    recipe = escape(model.recipe_name)
    return f"<p>{role}: <strong>{escape(model.name)}</strong> ({how}; built as {recipe})</p>"


def _why(report: RunReport) -> str:
    return paragraphs([f"Why: {report.decision}"] if report.decision else []) + paragraphs(
        report.notes
    )


def _noise(report: RunReport) -> str:
    if report.noise is None or not report.noise.warning:
        return ""
    return (
        f'<p class="warning">No time here is certain, the machine was noisy:'
        f" {escape(report.noise.warning)}.</p>"
    )


def _bounds(model: ReportedModel) -> str:
    rows = [(bound_text(b), _verdict(b.verdict), miss_text(b, model)) for b in model.bounds]
    return table(("bound", "verdict", "measured"), rows)


def _verdict(verdict: Verdict | None) -> str:
    """Return the verdict with a sign that needs no colour."""
    if verdict is None:
        return "not measured"
    signs = {Verdict.PASS: "✓ pass", Verdict.FAIL: "✗ fail", Verdict.UNCERTAIN: "? uncertain"}
    return signs[verdict]


def _against_baseline(report: RunReport, chosen: ReportedModel) -> str:
    baseline = report.baseline
    if baseline is None or baseline.name == chosen.name:
        return ""
    rows = [
        (
            f"{metric_title(name)}{f' ({metric.split})' if metric.split else ''}",
            metric_text(metric),
            metric_text(baseline.metrics[name]),
            _difference(name, baseline.metrics[name], metric),
        )
        for name, metric in _compared(chosen)
        if name in baseline.metrics
    ]
    head = f"<h3>Against the baseline, {escape(baseline.name)}</h3>"
    return head + table(("", "chosen", "baseline", "chosen against it"), rows)


def _compared(model: ReportedModel) -> Iterator[tuple[str, Metric]]:
    return ((name, model.metrics[name]) for name in _COMPARED if name in model.metrics)


def _against_others(models: Sequence[TriedModel], run: str) -> str:
    """Compare with the alternatives on what the search saw of all of them alike."""
    mine = next((one.model for one in models if one.role == "chosen"), None)
    others = _alternatives(mine, models) if mine else []
    if mine is None or not others:
        return ""
    rows = [
        (
            f"{metric_title(name)}{f' ({metric.split})' if metric.split else ''}",
            metric_text(metric),
            *(_beside(name, metric, one.model.metrics.get(name)) for one in others),
        )
        for name, metric in _compared(mine)
    ]
    rows.append(("bounds", "", *(_verdict(one.verdict) for one in others)))
    rows.append(("build it", "", *(export_command(run, one.trial) for one in others)))
    columns = ("", "chosen", *(one.model.name for one in others))
    note = "In brackets the difference from the chosen model; ~ where the intervals allow none."
    return f"<h3>Against the nearest alternatives</h3>{table(columns, rows)}{paragraphs([note])}"


def _alternatives(mine: ReportedModel, models: Sequence[TriedModel]) -> list[TriedModel]:
    """Return the models that could be had instead, those of the front and of like accuracy first.

    One that may break a bound comes after all that meet them, an untrained one after all that
    are trained: some of those are on the front, since nothing is smaller, and nobody's choice.
    """
    quality = quality_of(models)
    own = mine.metrics.get(quality)
    if own is None:
        return []
    known = [m for m in models if m.role in ("front", "other") and quality in m.model.metrics]
    fair = [m for m in known if m.role == "front" or m.verdict is Verdict.PASS]

    def nearness(one: TriedModel) -> tuple[bool, bool, bool, float, int]:
        gap = abs(one.model.metrics[quality].value - own.value)
        is_untrained = one.model.adapter is None
        breaks = one.verdict is not Verdict.PASS
        return breaks, is_untrained, one.role != "front", gap, one.trial

    return sorted(fair, key=nearness)[:_MOST_OTHERS]


def _beside(name: str, mine: Metric, other: Metric | None) -> str:
    if other is None:
        return "-"
    return f"{metric_text(other)} ({_difference(name, mine, other)})"


def _difference(name: str, first: Metric, second: Metric) -> str:
    """Return ``second`` against ``first``: ``+12 %``, and ``~`` before what may be nothing."""
    if first.value == second.value:
        return "the same"
    delta = delta_of(number_of(name, first), number_of(name, second))
    if delta.value is None:
        return "not comparable"
    unsure = delta.ci95 is None or delta.ci95[0] <= 0 <= delta.ci95[1]
    if delta.relative and abs(delta.value) < _LEAST_SHARE:
        return "the same within 0.1 %"
    if delta.relative:
        text = f"{delta.value:+.1%}"
    elif first.unit == "1":
        text = f"{delta.value * 100:+.1f} points"
    else:
        text = f"{delta.value:+.3g} {first.unit}"
    return f"~ {text}" if unsure else text


def _how_to_use(report: RunReport, chosen: ReportedModel, run: str) -> str:
    if chosen.model_dir is None:
        return ""
    folder = f"{run}/{chosen.model_dir}"
    fields = dict.fromkeys(report.task.fields[:-1])
    words = " ".join(f"{field}=..." for field in fields) if len(fields) > 1 else "TEXT"
    lines = [
        f"{shlex.join(['python', f'{folder}/run.py'])} {words}",
        shlex.join(["autotune", "chat", run]),
        shlex.join(["autotune", "validate", folder]),
    ]
    if report.outcome == "unconfirmed":
        lines.append(shlex.join(["autotune", "measure", folder, "--into", run]))
    return f"<h3>Use it</h3><pre>{escape(chr(10).join(lines))}</pre>"
