"""Every model that a run scored, with its trial and its numbers; and the axes they are drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune.candidate import Candidate
from autotune.constraint import Constraint, Verdict
from autotune.steps import Event, OutcomeStatus

from .assemble import search_models
from .run_report import ReportedModel, RunReport
from .trials import Trial, TrialOrigin, trials_of

__all__ = ["Role", "TriedModel", "cost_axis", "failed_trials", "tried_models"]

_TIMINGS = ("latency.p95", "latency.p50", "ttft.p50", "tpot.p50", "size")
Role = str
_ROLES = ("chosen", "baseline", "front", "other")


@dataclass(frozen=True, kw_only=True)
class TriedModel:
    """A scored model.

    Attributes:
        trial: number of its trial, as ``autotune export --trial`` takes it.
        model: its numbers during the search (accuracy on the validation split).
        role: ``chosen``, ``baseline``, ``front`` or ``other``.
        verdict: on all bounds together; pass where there are none.
    """

    trial: int
    model: ReportedModel
    role: Role
    verdict: Verdict


def _trials(report: RunReport, events: Sequence[Event]) -> list[Trial]:
    origin = TrialOrigin(versions=report.versions, device=report.device, seed=report.seed)
    return trials_of(events, origin)


def tried_models(report: RunReport, events: Sequence[Event]) -> tuple[TriedModel, ...]:
    """Return the scored models: the chosen one, the baseline, the front, then the others."""
    numbers: dict[str, int] = {}
    candidates: dict[str, Candidate] = {}
    for trial in _trials(report, events):
        if trial.recipe is not None and trial.outcome is OutcomeStatus.MEASURED:
            one = Candidate(adapter=trial.adapter, fraction=trial.fraction, recipe=trial.recipe)
            numbers.setdefault(one.name, trial.number)
            candidates[one.name] = one
    constraints = [
        Constraint(metric=bound.metric_name, op=bound.op, bound=bound.value)
        for bound in report.constraints
    ]
    models = search_models(candidates.values(), events, constraints)
    found = [
        TriedModel(
            trial=numbers[model.name],
            model=model,
            role=_role(report, model.name),
            verdict=_overall(model),
        )
        for model in models
    ]
    return tuple(sorted(found, key=lambda one: (_ROLES.index(one.role), one.trial)))


def failed_trials(report: RunReport, events: Sequence[Event]) -> tuple[Trial, ...]:
    """Return the trials without numbers, in order."""
    return tuple(t for t in _trials(report, events) if t.outcome is not OutcomeStatus.MEASURED)


def _role(report: RunReport, name: str) -> Role:
    if report.chosen is not None and report.chosen.name == name:
        return "chosen"
    if report.baseline is not None and report.baseline.name == name:
        return "baseline"
    return "front" if any(model.name == name for model in report.front) else "other"


def _overall(model: ReportedModel) -> Verdict:
    verdicts = {bound.verdict for bound in model.bounds}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if verdicts <= {Verdict.PASS} else Verdict.UNCERTAIN


def cost_axis(report: RunReport, models: Sequence[TriedModel]) -> str | None:
    """Return the cost that most models have: a bounded timing first, else the latency."""
    bounded = [b.metric_name for b in report.constraints if b.metric in ("latency", "ttft", "tpot")]
    names = list(dict.fromkeys((*bounded, *_TIMINGS)))
    counts = {name: sum(name in one.model.metrics for one in models) for name in names}
    best = max(names, key=lambda name: counts[name])  # the first of equals
    return best if counts[best] else None
