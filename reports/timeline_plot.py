"""What a run did when: a bar per step in four lanes, hollow where the work was reused."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from autotune.steps import Event, OutcomeStatus
from autotune.units import format_duration

from .page_parts import details, paragraphs, section, table
from .run_report import RunReport, TimelineEntry
from .svg import WIDTH, Scale, fixed, mark, plot, word

__all__ = ["timeline_section"]

_LANES = {"train": "train", "score": "build, score", "measure": "time", "test": "test split"}
_LEFT, _RIGHT, _TOP, _LANE = 96, WIDTH - 16, 14, 34
_LEAST = 2.0  # pixels of a bar, so that a step of a moment can be seen
_HATCH = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse"'
    ' patternTransform="rotate(45)"><rect class="hatchline" width="3" height="6"/></pattern></defs>'
)
# Seconds between ticks that people count in.
_TICKS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_MOST_TICKS = 9
_HINT = "Point at a step, or tab to the plot and use the arrow keys: what it was stands here."


def timeline_section(report: RunReport, events: Sequence[Event]) -> str:
    """Return the timeline, and all steps as a table with their reasons."""
    if not report.timeline:
        return ""
    steps = report.timeline
    idle = {e.number for e in events if e.replayed or (e.outcome.reused and not e.outcome.stage_s)}
    reused = sum(one.number in idle for one in steps)
    failed = sum(one.status is not OutcomeStatus.MEASURED for one in steps)
    note = (
        f"{len(steps)} steps in {format_duration(steps[-1].elapsed_s)}; {reused} found all of"
        f" their work in the store or in an earlier record (hollow), {failed} ended without a"
        " number (hatched)."
    )
    return section(
        "What the run did",
        _plot(steps, idle),
        paragraphs([note]),
        details("Table: all steps", _table(steps)),
        anchor="timeline",
    )


def _kind(one: TimelineEntry, idle: Collection[int]) -> str:
    if one.status is not OutcomeStatus.MEASURED:
        return "failed"
    return "reused" if one.number in idle else "done"


def _plot(steps: Sequence[TimelineEntry], idle: Collection[int]) -> str:
    bottom = _TOP + _LANE * len(_LANES)
    across = Scale(low=0.0, high=max(steps[-1].elapsed_s, 1e-3), start=_LEFT, stop=_RIGHT)
    parts = [_HATCH]
    for number, name in enumerate(_LANES.values()):
        parts.append(word(_LEFT - 10, _TOP + _LANE * number + 21, name, anchor="end"))
    for second in _ticks(across.high):
        at = fixed(across(second))
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(word(across(second), bottom + 18, _clock(second), anchor="middle"))
    for one in steps:
        x = across(one.started_s)
        wide = max(across(one.elapsed_s) - x, _LEAST)
        y = _TOP + _LANE * list(_LANES).index(one.kind) + 5
        bar = f'<rect x="{fixed(x)}" y="{y}" width="{fixed(wide)}" height="24"/>'
        kind = f"step lane-{one.kind} {_kind(one, idle)}"
        parts.append(mark(bar, kind=kind, label=_label(one), tip=_tip(one)))
    label = f"{len(steps)} steps over time"
    return plot("".join(parts), label=label, height=bottom + 30, hint=_HINT)


def _ticks(end_s: float) -> list[int]:
    step = next((s for s in _TICKS_S if end_s / s <= _MOST_TICKS), _TICKS_S[-1])
    return list(range(0, int(end_s) + 1, step))


def _clock(second: int) -> str:
    """Return minutes and seconds, or hours and minutes of long runs.

    >>> _clock(150), _clock(7260)
    ('2:30', '2 h 01')
    """
    minutes, rest = divmod(second, 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d}"  # noqa: PLR2004 - minutes of an hour


def _label(one: TimelineEntry) -> str:
    return f"step {one.number}: {one.name}, {format_duration(one.cost_s)}"


def _reuse_text(one: TimelineEntry) -> str:
    if one.replayed:
        return "from the record of an identical run"
    counts = {stage: one.reused.count(stage) for stage in dict.fromkeys(one.reused)}
    return ", ".join(f"{stage}{f' x{n}' if n > 1 else ''}" for stage, n in counts.items())


def _tip(one: TimelineEntry) -> str:
    lines = [f"{_label(one)}, {one.status.value.replace('_', ' ')}", ", ".join(one.models)]
    lines += [f"Why: {one.why}"] if one.why else []
    lines += [f"Reused: {reused}"] if (reused := _reuse_text(one)) else []
    lines += [one.reason] if one.reason else []
    if one.noise is not None and one.noise.warning:
        lines.append(f"Noisy: {one.noise.warning}")
    return "\n".join(lines)


def _table(steps: Sequence[TimelineEntry]) -> str:
    rows = [
        (
            str(one.number),
            format_duration(one.started_s),
            format_duration(one.cost_s),
            one.name,
            ", ".join(one.models),
            one.status.value.replace("_", " "),
            _reuse_text(one) or "-",
            one.reason or one.why,
        )
        for one in steps
    ]
    columns = ("step", "began", "took", "what", "about", "end", "reused", "why")
    return table(columns, rows)
