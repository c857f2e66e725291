"""Accuracy or perplexity against cost: every scored model with its intervals, and the front."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from autotune.constraint import Verdict
from autotune.units import format_fraction, format_quantity

from .page_parts import details, paragraphs, section, table
from .run_models import TriedModel, cost_axis
from .run_report import Metric, ReportedModel, RunReport
from .svg import HEIGHT, WIDTH, Frame, Scale, mark, plot, polyline, shape
from .wording import adapter_text, bound_text, metric_text, metric_title

__all__ = ["export_command", "front_section", "quality_of", "tip_of"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 64, WIDTH - 16, 34, HEIGHT - 48
_SHAPES = {"chosen": "diamond", "baseline": "square", "front": "circle", "other": "circle"}
_HINT = (
    "Point at a model, or tab to the plot and use the arrow keys: its configuration stands here."
)
_NOTE = (
    "Lines across a mark are 95 % intervals. {quality} is on the validation split; untrained models"
    " are scored on its first rows only. A model that was not timed itself has the time of the"
    " untrained model that is built alike. The line joins what no model within the bounds beats in"
    " both; the front counts size and memory too."
)


def quality_of(models: Sequence[TriedModel]) -> str:
    """Return what the models were ranked by: ``perplexity`` of plain text, else ``accuracy``."""
    is_text = any("perplexity" in one.model.metrics for one in models)
    return "perplexity" if is_text else "accuracy"


def export_command(run: str, trial: int) -> str:
    """Return the command that makes the deploy folder of a trial's model."""
    return shlex.join(["autotune", "export", run, "--trial", str(trial)])


def tip_of(one: TriedModel) -> str:
    """Return what is said of a model that is pointed at, a line each."""
    model = one.model
    lines = [f"{model.name} ({_state(one)})", f"Training: {adapter_text(model)}"]
    lines += [f"{metric_title(name)}: {metric_text(m)}" for name, m in _shown(model).items()]
    return "\n".join(
        [*lines, *(f"{bound_text(b)}: {b.verdict or 'not measured'}" for b in model.bounds)]
    )


def _shown(model: ReportedModel) -> dict[str, Metric]:
    names = (
        *("perplexity", "accuracy", "macro_f1"),
        *("latency.p50", "latency.p95", "tpot.p50", "memory", "size"),
    )
    return {name: model.metrics[name] for name in names if name in model.metrics}


def _state(one: TriedModel) -> str:
    words = {Verdict.FAIL: "breaks a bound", Verdict.UNCERTAIN: "not sure to meet the bounds"}
    roles = {"chosen": "chosen", "baseline": "baseline", "front": "on the front", "other": "tried"}
    state = words.get(one.verdict)
    return f"{roles[one.role]}, {state}" if state else roles[one.role]


def front_section(report: RunReport, models: Sequence[TriedModel], *, run: str) -> str:
    """Return plot and table of all scored models; ``run`` names the folder in commands."""
    cost = cost_axis(report, models)
    quality = quality_of(models)
    drawn = [m for m in models if cost in m.model.metrics and quality in m.model.metrics]
    if cost is None or not drawn:
        return ""
    hidden = len(models) - len(drawn)
    notes = [_NOTE.format(quality=quality.capitalize())]
    notes += [f"{hidden} models without that number stand in the table only."] if hidden else []
    return section(
        f"{quality.capitalize()} against cost",
        _plot(report, drawn, (quality, cost), run),
        _legend(),
        paragraphs(notes),
        details(f"Table: {len(models)} scored models", _table(models, (quality, cost))),
        anchor="front",
    )


def _table(models: Sequence[TriedModel], axes: tuple[str, str]) -> str:
    quality, cost = axes
    costs = (metric_title(cost), "size", "memory")
    columns = ("trial", "model", f"{quality} (validation)", *costs, "bounds")
    rows = [
        (
            str(one.trial),
            f"{one.model.name} ({_state(one)})",
            *(_text(one.model, name) for name in (quality, cost, "size", "memory")),
            ", ".join(f"{b.metric_name} {b.verdict or 'not measured'}" for b in one.model.bounds)
            or "none",
        )
        for one in models
    ]
    return table(columns, rows, marked=[n for n, m in enumerate(models) if m.role == "chosen"])


def _text(model: ReportedModel, name: str) -> str:
    metric = model.metrics.get(name)
    return metric_text(metric) if metric else "-"


def _legend() -> str:
    entries = (
        ("chosen", "diamond", "chosen"),
        ("baseline", "square", "baseline"),
        ("front", "circle", "on the front"),
        ("other", "circle", "other"),
        ("uncertain", "triangle", "not sure to meet the bounds"),
        ("infeasible", "cross", "breaks a bound"),
    )
    items = "".join(
        f'<li><svg class="key" viewBox="0 0 20 20" aria-hidden="true"><g class="mark {kind}">'
        f"{shape(name, 10, 10)}</g></svg>{text}</li>"
        for kind, name, text in entries
    )
    return f'<ul class="legend">{items}</ul>'


def _ends(metric: Metric) -> tuple[float, float]:
    return metric.ci95 or (metric.value, metric.value)


def _plot(report: RunReport, models: Sequence[TriedModel], axes: tuple[str, str], run: str) -> str:
    quality, cost = axes
    bounds = [b for b in report.constraints if b.metric_name == cost]
    costs = [end for one in models for end in _ends(one.model.metrics[cost])]
    costs += [bound.value for bound in bounds]
    scores = [end for one in models for end in _ends(one.model.metrics[quality])]
    units = tuple(models[0].model.metrics[name].unit for name in axes)
    frame = Frame(
        across=Scale.around(costs, start=_LEFT, stop=_RIGHT, may_log=True),
        up=Scale.around(scores, start=_BOTTOM, stop=_TOP),
        across_title=metric_title(cost),
        up_title=f"{quality.capitalize()} (validation)",
        across_text=lambda value: format_quantity(value, units[1]),
        up_text=format_fraction
        if quality == "accuracy"
        else lambda v: format_quantity(v, units[0]),
    )
    parts = [frame.draw()]
    parts += [frame.limit(bound.value, bound_text(bound), y=_TOP + 12) for bound in bounds]
    parts.append(_front_line(models, axes, frame))
    # The important ones last: they lie above the others, and the first key press reaches them.
    parts += [_mark(one, axes, frame, run) for one in reversed(models)]
    label = f"{len(models)} models by {metric_title(cost)} and {quality}"
    return plot("".join(parts), label=label, hint=_HINT)


def _front_line(models: Sequence[TriedModel], axes: tuple[str, str], frame: Frame) -> str:
    """Join the models within the bounds that no other beats in quality and this cost.

    The front of the run has more objectives; drawn in two of them it would turn back on itself.
    """
    quality, cost = axes
    way = -1.0 if quality == "perplexity" else 1.0
    points = [
        (one.model.metrics[cost].value, way * one.model.metrics[quality].value)
        for one in models
        if one.verdict is Verdict.PASS
    ]
    line: list[tuple[float, float]] = []
    for at_cost, goodness in sorted(points, key=lambda point: (point[0], -point[1])):
        if not line or goodness > line[-1][1]:
            line.append((at_cost, goodness))
    drawn = [(frame.across(at_cost), frame.up(way * goodness)) for at_cost, goodness in line]
    return polyline(drawn, "frontline") if len(drawn) > 1 else ""


def _mark(one: TriedModel, axes: tuple[str, str], frame: Frame, run: str) -> str:
    quality, cost = axes
    at_cost, at_score = one.model.metrics[cost], one.model.metrics[quality]
    x, y = frame.across(at_cost.value), frame.up(at_score.value)
    (west, east), (low, high) = _ends(at_cost), _ends(at_score)
    bars = polyline([(frame.across(west), y), (frame.across(east), y)], "bar")
    bars += polyline([(x, frame.up(low)), (x, frame.up(high))], "bar")
    name, kind = _SHAPES[one.role], one.role
    if one.verdict is not Verdict.PASS and one.role != "baseline":
        is_failed = one.verdict is Verdict.FAIL
        name, kind = ("cross", "infeasible") if is_failed else ("triangle", "uncertain")
    return mark(
        bars + shape(name, x, y),
        kind=kind,
        label=f"{one.model.name}: {_text(one.model, cost)}, {quality} {_text(one.model, quality)}",
        tip=tip_of(one),
        command=export_command(run, one.trial),
    )
