"""How the trainings went: loss over the steps of each, and where they were stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from autotune.steps import Event, OutcomeStatus, TrainStep
from autotune.units import format_duration

from .page_parts import details, paragraphs, section, table
from .run_report import RunReport
from .svg import WIDTH, Frame, Scale, mark, plot, polyline

__all__ = ["training_section"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 64, WIDTH - 16, 34, 272
_HEIGHT = 320
_MOST_POINTS = 150
_HINT = "Point at a curve, or tab to the plot and use the arrow keys."


@dataclass(kw_only=True)
class _Training:
    """One adapter config from its first rung to its last."""

    name: str
    fraction: float = 0.0
    losses: tuple[float, ...] = ()
    nll: dict[float, float] = field(default_factory=dict)
    notes: dict[str, float | str] = field(default_factory=dict)
    seconds: float = 0.0
    status: OutcomeStatus = OutcomeStatus.MEASURED
    is_reused: bool = False

    def take(self, step: TrainStep, event: Event) -> None:
        outcome = event.outcome
        self.status = outcome.status
        self.seconds += outcome.recorded_s.get("finetune", outcome.cost_s)
        if outcome.status is OutcomeStatus.MEASURED:
            self.fraction = step.fraction
            self.nll[step.fraction] = outcome.measurements[self.name]["nll"].value
            self.losses, self.notes = outcome.losses or self.losses, outcome.notes
        self.is_reused = event.replayed or "finetune" in outcome.reused


def _trainings(events: Sequence[Event]) -> list[_Training]:
    found: dict[str, _Training] = {}
    for event in events:
        if isinstance(event.step, TrainStep):
            name = event.step.adapter.name
            found.setdefault(name, _Training(name=name)).take(event.step, event)
    return list(found.values())


def training_section(report: RunReport, events: Sequence[Event]) -> str:
    """Return the curves of all trainings, the chosen model's in front, and their table."""
    trainings = _trainings(events)
    if not trainings:
        return ""
    chosen = report.chosen.training.partition("@")[0] if report.chosen else ""
    curves = [one for one in trainings if len(one.losses) > 1]
    notes = ["Losses are nats per answer token, each point a mean over neighbouring steps."]
    if not curves:
        notes = ["This record keeps no losses per step: it is of an earlier version."]
    return section(
        "Training",
        _plot(curves, chosen) if curves else "",
        paragraphs(notes),
        details(f"Table: {len(trainings)} trainings", _table(trainings, chosen)),
        anchor="training",
    )


def _smoothed(losses: Sequence[float]) -> list[tuple[float, float]]:
    """Return (step, loss): means over as many steps as leave a legible curve."""
    width = max(1, -(-len(losses) // _MOST_POINTS), len(losses) // 40)
    groups = [losses[at : at + width] for at in range(0, len(losses), width)]
    return [
        (number * width + (len(group) + 1) / 2, sum(group) / len(group))
        for number, group in enumerate(groups)
    ]


def _plot(curves: Sequence[_Training], chosen: str) -> str:
    points = {one.name: _smoothed(one.losses) for one in curves}
    frame = Frame(
        across=Scale(
            low=0.0, high=float(max(len(one.losses) for one in curves)), start=_LEFT, stop=_RIGHT
        ),
        up=Scale.around(
            [loss for line in points.values() for _, loss in line],
            start=_BOTTOM,
            stop=_TOP,
            may_log=True,
        ),
        across_title="Step",
        up_title="Loss, nats per answer token",
        across_text=lambda value: f"{value:g}",
        up_text=lambda value: f"{value:g}",
    )
    parts = [frame.draw()]
    for one in sorted(curves, key=lambda one: one.name == chosen):
        line = [(frame.across(step), frame.up(loss)) for step, loss in points[one.name]]
        kind = "chosen" if one.name == chosen else "other"
        parts.append(
            mark(polyline(line, "curve"), kind=f"training {kind}", label=one.name, tip=_tip(one))
        )
    label = f"Loss of {len(curves)} trainings by step"
    return plot("".join(parts), label=label, height=_HEIGHT, hint=_HINT)


def _tip(one: _Training) -> str:
    rungs = ", ".join(f"{nll:.3f} at {share:.0%}" for share, nll in sorted(one.nll.items()))
    lines = [
        one.name,
        f"{len(one.losses)} steps, loss {one.losses[0]:.3f} to {one.losses[-1]:.3f}",
        f"Validation loss per answer: {rungs} of the steps" if rungs else "",
    ]
    return "\n".join(filter(None, lines))


def _table(trainings: Sequence[_Training], chosen: str) -> str:
    rows = []
    for one in trainings:
        speed, dtype = one.notes.get("tokens_per_s"), one.notes.get("dtype", "-")
        ends = f"{one.losses[0]:.3f} to {one.losses[-1]:.3f}" if one.losses else "not recorded"
        rungs = ", ".join(f"{nll:.3f} at {share:.0%}" for share, nll in sorted(one.nll.items()))
        end = f"stopped at {one.fraction:.0%}" if one.fraction < 1 else "to the end"
        if one.status is not OutcomeStatus.MEASURED:
            end = one.status.value.replace("_", " ")
        rows.append(
            (
                one.name,
                f"{end}{', reused' if one.is_reused else ''}",
                ends,
                rungs or "-",
                f"{speed:.0f}" if isinstance(speed, float) else "-",
                str(dtype),
                format_duration(one.seconds),
            )
        )
    columns = (
        *("training", "end", "loss, first to last step", "validation loss per answer"),
        *("tokens/s", "type", "time"),
    )
    return table(columns, rows, marked=[n for n, t in enumerate(trainings) if t.name == chosen])
