"""What the planner is likely to train next, for whoever can train it before it is asked for.

A planner is a function of its record. A second one is fed the record, and then for every
further step the outcome that is believed: a training that comes out as the others did. What
it asks for is likely to be asked for in truth; where it is not, idle devices worked in vain
and nothing else happened.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import median

from autotune.measurement import Measurement
from autotune.steps import Event, Outcome, OutcomeStatus, ScoreStep, Step, TrainStep

from .contract import PlannerState
from .planner import StagedPlanner
from .settings import SearchSettings

__all__ = ["likely_trainings"]

# Steps that are imagined to find them: the first training to its end and its builds come first.
_MOST_IMAGINED = 24
_USUAL_LOSS = 1.0  # nats; where nothing was trained yet, all trainings are believed to be alike
_USUAL_ACCURACY = 0.5


def likely_trainings(
    settings: SearchSettings,
    events: Sequence[Event],
    step: Step,
    *,
    elapsed_s: float,
    most: int,
    known: Collection[TrainStep] = (),
) -> tuple[TrainStep, ...]:
    """Return trainings that are likely to be asked for after ``step``, the next one first.

    One of each adapter, and none that goes on from ``step``: it cannot begin before that ends.

    Args:
        settings: of the search.
        events: its record so far.
        step: that has just been asked for.
        elapsed_s: recorded seconds so far.
        most: how many are wanted.
        known: trainings that are no answer, since they are done or under way.
    """
    planner = StagedPlanner(settings)
    for event in events:
        planner.next(PlannerState(elapsed_s=event.started_s))
        planner.observe(event.step, event.outcome)
    losses = _losses(events)
    busy = {step.adapter.name} if isinstance(step, TrainStep) else set()
    found: dict[str, TrainStep] = {}
    for _ in range(_MOST_IMAGINED):
        asked = planner.next(PlannerState(elapsed_s=elapsed_s))
        if len(found) >= most or not isinstance(asked, TrainStep | ScoreStep):
            break
        if isinstance(asked, TrainStep) and asked.adapter.name not in busy and asked not in known:
            # Of a training that goes on the nearer end: the further one begins where that ends.
            found.setdefault(asked.adapter.name, asked)
        planner.observe(asked, _believed(asked, losses))
    return tuple(found.values())


def _losses(events: Sequence[Event]) -> dict[str, dict[float, float]]:
    """Return the losses of trainings by name and fraction."""
    found: dict[str, dict[float, float]] = {}
    for event in events:
        if isinstance(event.step, TrainStep):
            name = event.step.adapter.name
            if (loss := event.outcome.measurements.get(name, {}).get("nll")) is not None:
                found.setdefault(name, {})[event.step.fraction] = loss.value
    return found


def _believed(step: TrainStep | ScoreStep, losses: dict[str, dict[float, float]]) -> Outcome:
    """Return the outcome that is believed of ``step``, and remember its loss."""
    if isinstance(step, TrainStep):
        name = step.adapter.name
        loss = _believed_loss(name, step.fraction, losses)
        losses.setdefault(name, {})[step.fraction] = loss
        measured = {name: {"nll": _measurement("nll", "nat", loss)}}
    else:
        adapter = step.candidate.adapter
        own = losses.get(adapter.name, {}) if adapter else {}
        metrics = (
            _measurement("nll", "nat", min(own.values(), default=_USUAL_LOSS)),
            _measurement("accuracy", "1", _USUAL_ACCURACY),
        )
        measured = {step.candidate.name: {one.metric: one for one in metrics}}
    return Outcome(status=OutcomeStatus.MEASURED, measurements=measured)


def _believed_loss(name: str, fraction: float, losses: dict[str, dict[float, float]]) -> float:
    """Return the usual loss at that fraction; of one that is known, no more than it had."""
    usual = [one[fraction] for one in losses.values() if fraction in one]
    known = losses.get(name, {}).values()
    return min([*known, median(usual)] if usual else known, default=_USUAL_LOSS)


def _measurement(metric: str, unit: str, value: float) -> Measurement:
    return Measurement(metric=metric, unit=unit, value=value, n=1, ci95=None, method="believed")
