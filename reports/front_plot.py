"""Accuracy against cost: every scored model with its intervals, the front joined by a line."""

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

__all__ = ["export_command", "front_section", "tip_of"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 64, WIDTH - 16, 34, HEIGHT - 48
_SHAPES = {"chosen": "diamond", "baseline": "square", "front": "circle", "other": "circle"}
_COLUMNS = ("trial", "model", "accuracy (validation)", "", "size", "memory", "bounds")
_HINT = (
    "Point at a model, or tab to the plot and use the arrow keys: its configuration stands here."
)
_NOTE = (
    "Lines across a mark are 95 % intervals. Accuracy is on the validation split; untrained models"
    " are scored on its first rows only. A model that was not timed itself has the time of the"
    " untrained model that is built alike. The line joins what no model within the bounds beats in"
    " both; the front counts size and memory too."
)
_ACCURACY = "accuracy"


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
    names = ("accuracy", "macro_f1", "latency.p50", "latency.p95", "tpot.p50", "memory", "size")
    return {name: model.metrics[name] for name in names if name in model.metrics}


def _state(one: TriedModel) -> str:
    words = {Verdict.FAIL: "breaks a bound", Verdict.UNCERTAIN: "not sure to meet the bounds"}
    roles = {"chosen": "chosen", "baseline": "baseline", "front": "on the front", "other": "tried"}
    state = words.get(one.verdict)
    return f"{roles[one.role]}, {state}" if state else roles[one.role]


def front_section(report: RunReport, models: Sequence[TriedModel], *, run: str) -> str:
    """Return plot and table of all scored models; ``run`` names the folder in commands."""
    cost = cost_axis(report, models)
    drawn = [m for m in models if cost in m.model.metrics and _ACCURACY in m.model.metrics]
    if cost is None or not drawn:
        return ""
    hidden = len(models) - len(drawn)
    notes = [_NOTE]
    notes += [f"{hidden} models without that number stand in the table only."] if hidden else []
    return section(
        "Accuracy against cost",
        _plot(report, drawn, cost, run),
        _legend(),
        paragraphs(notes),
        details(f"Table: {len(models)} scored models", _table(models, cost)),
        anchor="front",
    )


def _table(models: Sequence[TriedModel], cost: str) -> str:
    columns = [name or metric_title(cost) for name in _COLUMNS]
    rows = [
        (
            str(one.trial),
            f"{one.model.name} ({_state(one)})",
            *(_text(one.model, name) for name in (_ACCURACY, cost, "size", "memory")),
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


def _plot(report: RunReport, models: Sequence[TriedModel], cost: str, run: str) -> str:
    bounds = [b for b in report.constraints if b.metric_name == cost]
    costs = [end for one in models for end in _ends(one.model.metrics[cost])]
    costs += [bound.value for bound in bounds]
    scores = [end for one in models for end in _ends(one.model.metrics[_ACCURACY])]
    unit = models[0].model.metrics[cost].unit
    frame = Frame(
        across=Scale.around(costs, start=_LEFT, stop=_RIGHT, may_log=True),
        up=Scale.around(scores, start=_BOTTOM, stop=_TOP),
        across_title=metric_title(cost),
        up_title="Accuracy (validation)",
        across_text=lambda value: format_quantity(value, unit),
        up_text=format_fraction,
    )
    parts = [frame.draw()]
    parts += [frame.limit(bound.value, bound_text(bound), y=_TOP + 12) for bound in bounds]
    parts.append(_front_line(models, cost, frame))
    # The important ones last: they lie above the others, and the first key press reaches them.
    parts += [_mark(one, cost, frame, run) for one in reversed(models)]
    label = f"{len(models)} models by {metric_title(cost)} and accuracy"
    return plot("".join(parts), label=label, hint=_HINT)


def _front_line(models: Sequence[TriedModel], cost: str, frame: Frame) -> str:
    """Join the models within the bounds that no other beats in accuracy and this cost.

    The front of the run has more objectives; drawn in two of them it would turn back on itself.
    """
    points = [
        (one.model.metrics[cost].value, one.model.metrics[_ACCURACY].value)
        for one in models
        if one.verdict is Verdict.PASS
    ]
    line: list[tuple[float, float]] = []
    for at_cost, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not line or accuracy > line[-1][1]:
            line.append((at_cost, accuracy))
    drawn = [(frame.across(at_cost), frame.up(accuracy)) for at_cost, accuracy in line]
    return polyline(drawn, "frontline") if len(drawn) > 1 else ""


def _mark(one: TriedModel, cost: str, frame: Frame, run: str) -> str:
    at_cost, at_score = one.model.metrics[cost], one.model.metrics[_ACCURACY]
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
        label=f"{one.model.name}: {_text(one.model, cost)}, accuracy {_text(one.model, _ACCURACY)}",
        tip=tip_of(one),
        command=export_command(run, one.trial),
    )
