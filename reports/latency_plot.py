"""How the finalists' request times are spread: the share of requests answered within a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from autotune.measurement import Measurement
from autotune.steps import Event, MeasureStep
from autotune.units import format_quantity

from .page_parts import details, paragraphs, section, table
from .run_report import RunReport
from .svg import WIDTH, Frame, Scale, plot, polyline
from .wording import bound_text, metric_title

__all__ = ["latency_section"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 64, WIDTH - 16, 34, 272
_HEIGHT = 320
_MOST_CURVES = 6  # as many as colours and dashes tell apart
_MOST_POINTS = 120
_STATISTICS = ("p50", "p90", "p95")


@dataclass(frozen=True, kw_only=True)
class _Timed:
    """One model in the session that timed it last."""

    name: str
    event: int
    purpose: str
    found: dict[str, Measurement]

    def samples(self, metric: str) -> list[float]:
        return sorted(s for block in self.found[f"{metric}.p50"].blocks for s in block)


def _sessions(report: RunReport, events: Sequence[Event]) -> list[_Timed]:
    """Return the models of the confirmation, else those of the front and the baseline."""
    latest: dict[str, _Timed] = {}
    confirmed: set[str] = set()
    for event in events:
        if isinstance(event.step, MeasureStep):
            for name, found in event.outcome.measurements.items():
                timed = _Timed(
                    name=name, event=event.number, purpose=event.step.purpose, found=found
                )
                latest[name] = timed
                if event.step.purpose == "confirm":
                    confirmed.add(name)
    models = [report.chosen, report.baseline, report.nearest_miss, *report.front]
    first = [m.name for m in models if m is not None]
    twins = [f"untrained/{m.recipe_name}" for m in models if m is not None]
    order = list(dict.fromkeys((*first, *sorted(confirmed), *twins)))
    wanted = [name for name in order if name in (confirmed or latest)]
    return [latest[name] for name in wanted if name in latest][:_MOST_CURVES]


def latency_section(report: RunReport, events: Sequence[Event]) -> str:
    """Return the spread of the finalists' times, and their percentiles as a table."""
    metric = "tpot" if any(b.metric == "tpot" for b in report.constraints) else "latency"
    timed = [
        one
        for one in _sessions(report, events)
        if f"{metric}.p50" in one.found and one.samples(metric)
    ]
    if not timed:
        return ""
    requests = {len(one.samples(metric)) for one in timed}
    processes = {len(one.found[f"{metric}.p50"].blocks) for one in timed}
    note = (
        f"Each curve rises by one step per request ({_range(requests)} requests a model, in"
        f" {_range(processes)} fresh processes); further left is faster. {_workload(report)}"
    )
    return section(
        f"{metric_title(metric)} of the finalists",
        plot(_curves(report, timed, metric), label="Share of requests by time", height=_HEIGHT),
        _legend(timed),
        paragraphs([note]),
        details("Table: percentiles", _table(timed, metric)),
        anchor="latency",
    )


def _workload(report: RunReport) -> str:
    words = report.workload.statement.rstrip(".")
    return f"What is timed: {words}; workload {report.workload.digest[:12]}."


def _range(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _legend(timed: Sequence[_Timed]) -> str:
    items = "".join(
        f'<li><svg class="key" viewBox="0 0 20 20" aria-hidden="true">'
        f"{polyline([(0, 10), (20, 10)], f'curve s{number}')}</svg>{escape(one.name)}</li>"
        for number, one in enumerate(timed)
    )
    return f'<ul class="legend">{items}</ul>'


def _thinned(samples: Sequence[float]) -> list[tuple[float, float]]:
    """Return (time, share of requests within it), at most ``_MOST_POINTS`` of them."""
    count = len(samples)
    kept = {round(i * (count - 1) / (_MOST_POINTS - 1)) for i in range(_MOST_POINTS)}
    return [(samples[i], (i + 1) / count) for i in sorted(kept)]


def _curves(report: RunReport, timed: Sequence[_Timed], metric: str) -> str:
    bounds = [b for b in report.constraints if b.metric == metric]
    every = [s for one in timed for s in one.samples(metric)]
    across = Scale.around(
        [*every, *(b.value for b in bounds)], start=_LEFT, stop=_RIGHT, may_log=True
    )
    frame = Frame(
        across=across,
        up=Scale(low=0.0, high=1.0, start=_BOTTOM, stop=_TOP),
        across_title=f"{metric_title(metric)}, at most",
        up_title="Share of requests",
        across_text=lambda value: format_quantity(value, "s"),
        up_text=lambda value: f"{value:.0%}",
    )
    parts = [frame.draw()]
    parts += [frame.limit(bound.value, bound_text(bound), y=_BOTTOM - 8) for bound in bounds]
    for number, one in enumerate(timed):
        points, before = [], 0.0
        for second, share in _thinned(one.samples(metric)):
            points += [(across(second), frame.up(before)), (across(second), frame.up(share))]
            before = share
        parts.append(polyline(points, f"curve s{number}"))
    return "".join(parts)


def _table(timed: Sequence[_Timed], metric: str) -> str:
    rows = []
    for one in timed:
        samples = one.samples(metric)
        cells = [_number(one.found.get(f"{metric}.{name}")) for name in _STATISTICS]
        ends = f"{format_quantity(samples[0], 's')} to {format_quantity(samples[-1], 's')}"
        rows.append((one.name, *cells, ends, f"{one.purpose}, step {one.event}"))
    return table(("model", *_STATISTICS, "shortest to longest", "session"), rows)


def _number(taken: Measurement | None) -> str:
    if taken is None:
        return "too few requests"
    text = format_quantity(taken.value, taken.unit)
    if taken.ci95 is None:
        return text
    low, high = (format_quantity(end, taken.unit) for end in taken.ci95)
    return f"{text} [{low}, {high}]"
