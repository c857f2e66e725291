"""A run on the terminal: the plan before, the Pareto front and the choice after.

Everything is rendered from the run report. Nothing relies on colour, and every
table fits in 100 columns; a stream that is no terminal gets that width.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from autotune.constraint import Verdict
from autotune.kinds import quality_of
from autotune.units import format_quantity

from .classes import class_table, mistake_lines
from .levers import lever_lines
from .plain_table import plain_table
from .run_report import BoundVerdict, ReportedModel, RunOutcome, RunReport
from .wording import (
    adapter_text,
    bound_text,
    interval_text,
    metric_text,
    metric_title,
    miss_text,
    unmeasured_lines,
)

__all__ = [
    "HEADLINES",
    "PAGE_FILE",
    "PLAIN_WIDTH",
    "PlanRow",
    "front_table",
    "make_console",
    "nearest_miss",
    "plan_table",
    "run_summary",
]

PAGE_FILE = "report.html"
PLAIN_WIDTH = 100
_NOT_CERTAIN = "no time of this run is certain, take it again on a quiet machine"
_CHOSEN_MARK = "*"
_NONE = "-"
_COSTS = {"size": "Size", "memory": "Memory"}
# Columns of the front that are shown where some model has the number.
_COUNTED = {"device_memory": "Device\nmemory", "energy": "Energy\n(request)"}
_VERDICT_STYLE = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.UNCERTAIN: "yellow"}


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """A line of the plan.

    Attributes:
        what: the thing that will be done or needed.
        estimate: how long or how much, with its unit.
        basis: what the estimate rests on.
    """

    what: str
    estimate: str
    basis: str


def make_console(stream: IO[str], *, width: int | None = None) -> Console:
    """Return a console on ``stream``; 100 columns where it is no terminal.

    NO_COLOR is honoured (https://no-color.org). Lines outside tables are wrapped only
    where their text asks for it: a path broken by a newline cannot be copied.
    """
    if width is None and not stream.isatty():
        width = PLAIN_WIDTH
    return Console(file=stream, width=width, highlight=False, soft_wrap=True)


def _prose(*parts: str | tuple[str, str]) -> Text:
    """Return text that wraps between words."""
    return Text.assemble(*parts, no_wrap=False, overflow="fold")


def plan_table(rows: Iterable[PlanRow]) -> Table:
    """Return the plan: what will be done, for how long, and why that is believed."""
    table = plain_table()
    table.add_column("Plan")
    table.add_column("Estimate", justify="right", no_wrap=True)
    table.add_column("Based on")
    for row in rows:
        table.add_row(Text(row.what), Text(row.estimate), Text(row.basis))
    return table


def _timing(report: RunReport) -> str:
    """Return the timing that the table shows: the bounded one, else request latency."""
    bounded = [b.metric_name for b in report.constraints if b.metric in ("latency", "ttft", "tpot")]
    return bounded[0] if bounded else "latency.p95"


def _value(model: ReportedModel, name: str) -> Text:
    metric = model.metrics.get(name)
    return Text(format_quantity(metric.value, metric.unit) if metric else _NONE)


def _value_over_interval(model: ReportedModel, name: str) -> Text:
    text = _value(model, name)
    if name in model.metrics and (interval := interval_text(model.metrics[name])):
        text.append(f"\n{interval}", style="dim")
    return text


def _overall(bounds: Sequence[BoundVerdict]) -> Text:
    """Return the verdict on all bounds; each failed or uncertain one by its metric."""
    if not bounds:
        return Text(_NONE)
    text = Text()
    for verdict in (Verdict.FAIL, Verdict.UNCERTAIN, None):
        for bound in bounds:
            if bound.verdict is verdict:
                word = verdict or "unmeasured"
                style = _VERDICT_STYLE[verdict] if verdict else ""
                text.append(f"{word} {bound.metric}\n", style=style)
    text.rstrip()
    return text or Text("pass", style=_VERDICT_STYLE[Verdict.PASS])


def _names(model: ReportedModel, *, mark: str) -> Text:
    return Text.assemble(f"{mark} ", (model.training, "bold"), f"\n  {model.recipe_name}")


def front_table(report: RunReport) -> Table:
    """Return the Pareto front, two lines a model: training over recipe, value over interval."""
    timing = _timing(report)
    table = plain_table()
    # Names fold where the terminal is narrow; numbers never do.
    table.add_column("  Training\n  Recipe", overflow="fold", min_width=16)
    timed = timing.replace(".", " ").capitalize()
    quality = quality_of(report.task.kind)
    headers = [f"{quality.capitalize()}\n(validation)", f"{timed}\n[95 % interval]"]
    told = {name for model in report.front for name in model.metrics}
    costs = _COSTS | {name: header for name, header in _COUNTED.items() if name in told}
    for header in [*headers, *costs.values()]:
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("Bounds", no_wrap=True)
    chosen = report.chosen.name if report.chosen else None
    for model in report.front:
        table.add_row(
            _names(model, mark=_CHOSEN_MARK if model.name == chosen else " "),
            _value_over_interval(model, quality),
            _value_over_interval(model, timing),
            *(_value(model, name) for name in costs),
            _overall(model.bounds),
        )
    return table


def _comparison(report: RunReport, model: ReportedModel) -> Table:
    """Return the published metrics of ``model`` beside the baseline's."""
    baseline = report.baseline
    table = plain_table()
    table.add_column("")
    table.add_column("This model", no_wrap=True)
    if baseline is not None:
        table.add_column(f"Untrained\n{baseline.recipe_name}", no_wrap=True)
    table.add_column("Samples")
    for name, metric in model.metrics.items():
        cells = [metric_title(name), metric_text(metric)]
        if baseline is not None:
            other = baseline.metrics.get(name)
            cells.append(metric_text(other) if other else _NONE)
        rows = f" {metric.split} rows" if metric.split else ""
        table.add_row(*map(Text, [*cells, f"{metric.n}{rows}"]))
    return table


def _bound_lines(model: ReportedModel) -> Iterator[Text]:
    for bound in model.bounds:
        style = _VERDICT_STYLE[bound.verdict] if bound.verdict else ""
        verdict = str(bound.verdict or "unmeasured")
        yield _prose(f"  {bound_text(bound)}: ", (verdict, style), f" ({miss_text(bound, model)})")


def nearest_miss(report: RunReport) -> Group:
    """Return why there is no model: the closest one, and how far from each bound it is."""
    miss = report.nearest_miss
    if miss is None:
        return Group(Text("No model was measured on every bound, so there is no nearest miss."))
    how = f" ({adapter_text(miss)})" if miss.adapter else ""
    return Group(_prose("Nearest miss: ", (miss.name, "bold"), how), *_bound_lines(miss))


HEADLINES: dict[RunOutcome, str] = {
    "feasible": "A model meets the bounds, but none was handed over.",
    "infeasible": "No model meets the bounds; nothing is handed over.",
    "uncertain": "No model is known to meet the bounds: an interval still spans one.",
    "unconfirmed": "A model awaits confirmation on the target machine.",
    "failed": "The run failed; the record up to there is kept.",
    "interrupted": "The run was interrupted; the record up to there is kept.",
}


def _choice(report: RunReport, chosen: ReportedModel) -> Group:
    classes = class_table(report, chosen)
    return Group(
        _prose("Chosen: ", (chosen.name, "bold")),
        _prose(f"        {adapter_text(chosen)}"),
        Padding(_comparison(report, chosen), (1, 0)),
        *([Padding(classes, (0, 0, 1, 0))] if classes else []),
        *(_prose(f"  mistake: {line}") for line in mistake_lines(report, chosen)),
        *_bound_lines(chosen),
        *map(_prose, unmeasured_lines(chosen.unmeasured)),
    )


def _places(report: RunReport, run_dir: Path) -> Iterator[str]:
    """Yield where everything lies, in lines that can be copied whole."""
    if report.chosen is not None and report.chosen.model_dir is not None:
        folder = run_dir / report.chosen.model_dir
        fields = dict.fromkeys(report.task.fields[:-1])
        words = [f"{field}=..." for field in fields] if len(fields) > 1 else ["TEXT"]
        if report.task.kind == "choice":
            words = [*(f"{field}=..." for field in fields), "-- OPTION OPTION ..."]
        yield f"Model:  {folder}"
        yield f"Try it: {shlex.join(['python', str(folder / 'run.py')])} {' '.join(words)}"
        yield f"Ask it: {shlex.join(['autotune', 'chat', str(run_dir)])}"
    yield f"Page:   {run_dir / PAGE_FILE}"
    yield f"Report: {run_dir / 'report.json'}"
    if report.outcome == "unconfirmed":
        words = ["autotune", "measure", str(run_dir / "model"), "--into", str(run_dir)]
        yield f"Confirm on the target: {shlex.join(words)}"


def run_summary(report: RunReport, *, run_dir: Path) -> Group:
    """Return the end of a run: front, choice or nearest miss, and where everything lies."""
    parts: list[RenderableType] = []
    if report.front:
        mark = f" ({_CHOSEN_MARK} chosen)" if report.chosen is not None else ""
        parts += [Text(f"Pareto front{mark}", style="bold"), front_table(report), Text()]
    if report.chosen is not None:
        if report.outcome == "unconfirmed":
            parts.append(Text(HEADLINES["unconfirmed"], style="bold"))
        parts.append(_choice(report, report.chosen))
    else:
        parts.append(Text(HEADLINES[report.outcome], style="bold"))
        if report.outcome in ("infeasible", "uncertain"):
            parts.append(nearest_miss(report))
    if report.decision:
        parts.append(_prose(f"Why:    {report.decision}"))
    parts += [_prose(f"Lever:  {line}") for line in lever_lines(report)]
    if report.outcome == "unconfirmed":
        parts += [_prose(f"Note:   {note}") for note in report.notes]
    if report.noise is not None and report.noise.warning:
        parts.append(_prose(("Noisy:  ", "yellow"), f"{report.noise.warning}; {_NOT_CERTAIN}."))
    parts += [Text(line) for line in _places(report, run_dir)]
    return Group(*parts)
