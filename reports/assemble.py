"""From the events of a run and its context to the run report.

Which number is published for which model is decided here and nowhere else:
answers of the chosen model and the baseline come from the test split, timings
from the latest confirmation (else recheck, else census).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autotune.calibration import SessionNoise
from autotune.candidate import UNTRAINED, Candidate
from autotune.constraint import Constraint, Verdict
from autotune.measurement import Measurement
from autotune.steps import (
    Done,
    Event,
    Lever,
    MeasureStep,
    OutcomeStatus,
    Purpose,
    ScoreStep,
    TestStep,
    TrainStep,
)

from .redact import redact_command, redact_text
from .run_report import (
    BoundVerdict,
    Metric,
    ModelFacts,
    RefusedRecipe,
    ReportedLever,
    ReportedModel,
    RunOutcome,
    RunReport,
    Split,
    TaskFacts,
    TimelineEntry,
    WorkloadFacts,
)
from .wording import in_reading_order

__all__ = ["RunContext", "build_report", "search_models", "untrained_twin"]

# Later purposes are better evidence: more rounds, finalists interleaved.
_PURPOSE_RANK: dict[Purpose, int] = {"census": 1, "recheck": 2, "confirm": 3}
_SCORE_RANK = 0
_TEST_RANK = 4


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What a report needs besides the events; fields as in ``RunReport``.

    Attributes:
        constraints: the bounds of the run.
        decision: how the planner ended, or None where it did not.
        levers_left: why levers were not offered to the search, by lever.
        baseline: model to compare with; None takes the one of the test step.
        model_dir: folder of the chosen model relative to the report.
    """

    outcome: RunOutcome
    command: tuple[str, ...]
    seed: int
    created: str
    versions: dict[str, str]
    model: ModelFacts
    task: TaskFacts
    workload: WorkloadFacts
    constraints: tuple[Constraint, ...]
    device: str
    hardware: dict[str, Any]
    refused: tuple[RefusedRecipe, ...] = ()
    decision: Done | None = None
    levers_left: Mapping[Lever, str] = field(default_factory=dict)
    baseline: Candidate | None = None
    model_dir: str = "model"
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """A measurement with where it came from."""

    measurement: Measurement
    model: str
    event: int
    rank: int
    split: Split | None

    def as_metric(self) -> Metric:
        taken = self.measurement
        return Metric(
            value=taken.value,
            unit=taken.unit,
            n=taken.n,
            ci95=taken.ci95,
            split=self.split,
            measured_on=self.model,
            event=self.event,
            method=taken.method,
        )


_OF_ANSWERS = ("accuracy", "macro_f1", "perplexity", "nll", "answer_tokens")


def _rank_and_split(event: Event) -> tuple[int, Split | None]:
    match event.step:
        case MeasureStep(purpose=purpose):
            return _PURPOSE_RANK[purpose], None
        case TestStep():
            return _TEST_RANK, "test"
        case _:
            return _SCORE_RANK, "validation"


def _readings(events: Iterable[Event]) -> list[_Reading]:
    readings = []
    for event in events:
        rank, split = _rank_and_split(event)
        for model, by_metric in event.outcome.measurements.items():
            for measurement in by_metric.values():
                is_of_answers = measurement.metric.partition(".")[0] in _OF_ANSWERS
                readings.append(
                    _Reading(
                        measurement=measurement,
                        model=model,
                        event=event.number,
                        rank=rank,
                        split=split if is_of_answers else None,
                    )
                )
    return readings


def untrained_twin(candidate: Candidate) -> Candidate:
    """Return the untrained model built with the same recipe: it runs equally fast."""
    return Candidate(adapter=None, fraction=0, recipe=candidate.recipe)


def _best_readings(
    readings: Sequence[_Reading], candidate: Candidate, *, is_final: bool
) -> dict[str, _Reading]:
    """Return the strongest reading per metric; the twin's timings where it has none."""
    own = [r for r in readings if r.model == candidate.name]
    twin = untrained_twin(candidate).name
    borrowed = [r for r in readings if r.model == twin and r.rank in _PURPOSE_RANK.values()]
    best: dict[str, _Reading] = {}
    for reading in sorted(own, key=lambda r: (r.rank, r.event)):
        if is_final or reading.rank != _TEST_RANK:
            best[reading.measurement.metric] = reading
    for reading in sorted(borrowed, key=lambda r: (-r.rank, -r.event)):
        best.setdefault(reading.measurement.metric, reading)
    return best


def _verdicts(
    constraints: Sequence[Constraint], readings: dict[str, _Reading]
) -> tuple[BoundVerdict, ...]:
    verdicts = []
    for constraint in constraints:
        reading = readings.get(constraint.metric)
        verdict = (
            constraint.verdict(reading.measurement)
            if reading
            else _verdict_by_median(constraint, readings)
        )
        verdicts.append(BoundVerdict.of(constraint, verdict))
    return tuple(verdicts)


def _verdict_by_median(constraint: Constraint, readings: dict[str, _Reading]) -> Verdict | None:
    """Return fail where the median breaks the maximum of a percentile that was not measured.

    No higher percentile lies below the median. Nothing else follows from it.
    """
    metric, _, statistic = constraint.metric.partition(".")
    median = readings.get(f"{metric}.p50")
    if median is None or not statistic or constraint.op != "<=":
        return None
    is_broken = constraint.verdict(median.measurement) is Verdict.FAIL
    return Verdict.FAIL if is_broken else None


def _reported(
    candidate: Candidate | None,
    readings: Sequence[_Reading],
    constraints: Sequence[Constraint],
    *,
    is_final: bool = False,
) -> ReportedModel | None:
    """Return a candidate with its numbers; ``is_final`` counts the test split too."""
    if candidate is None:
        return None
    best = _best_readings(readings, candidate, is_final=is_final)
    return ReportedModel(
        name=candidate.name,
        training=candidate.training,
        recipe_name=candidate.recipe.name,
        recipe=candidate.recipe,
        adapter=candidate.adapter,
        fraction=candidate.fraction,
        metrics=in_reading_order({name: reading.as_metric() for name, reading in best.items()}),
        bounds=_verdicts(constraints, best),
    )


def search_models(
    candidates: Iterable[Candidate], events: Sequence[Event], constraints: Sequence[Constraint]
) -> tuple[ReportedModel, ...]:
    """Return ``candidates`` as the search saw them: numbers of the test split left out."""
    readings = _readings(events)
    return tuple(filter(None, (_reported(one, readings, constraints) for one in candidates)))


def _with_gaps(model: ReportedModel | None, events: Sequence[Event]) -> ReportedModel | None:
    """Return ``model`` with the reasons for numbers that timing it, or its twin, did not bring."""
    if model is None:
        return None
    names = (f"{UNTRAINED}/{model.recipe_name}", model.name)
    gaps = {
        metric: reason
        for name in names
        for event in events
        for metric, reason in event.outcome.unmeasured.get(name, {}).items()
    }
    missing = {metric: reason for metric, reason in gaps.items() if metric not in model.metrics}
    return replace(model, unmeasured=missing)


def _with_confusion(model: ReportedModel | None, events: Sequence[Event]) -> ReportedModel | None:
    """Return ``model`` with the confusion matrix of the scoring that its accuracy comes from."""
    accuracy = model.metrics.get("accuracy") if model else None
    if model is None or accuracy is None:
        return model
    found = [e.outcome.confusion.get(model.name) for e in events if e.number == accuracy.event]
    return replace(model, confusion=next(iter(found), None))


def _noisiest(
    models: Iterable[ReportedModel | None], events: Iterable[Event]
) -> SessionNoise | None:
    """Return the noise of the noisiest session that a metric of ``models`` comes from."""
    numbers = {m.event for model in models if model for m in model.metrics.values()}
    found = [e.outcome.noise for e in events if e.number in numbers and e.outcome.noise]
    return max(found, key=lambda noise: noise.grade, default=None)


def _timeline_entry(event: Event) -> TimelineEntry:
    models: tuple[str, ...]
    match event.step:
        case TrainStep(adapter=adapter, fraction=fraction):
            name, models = f"train to {fraction:.0%} of the steps", (adapter.name,)
        case ScoreStep(candidate=candidate):
            name, models = "merge, build and score", (candidate.name,)
        case MeasureStep(candidates=candidates, rounds=rounds, purpose=purpose):
            name, models = f"{purpose}, {rounds} rounds", tuple(c.name for c in candidates)
        case TestStep(chosen=chosen, baseline=baseline):
            name, models = "test split", (chosen.name, baseline.name)
    return TimelineEntry(
        number=event.number,
        kind=event.step.kind,
        name=name,
        models=models,
        started_s=event.started_s,
        elapsed_s=event.elapsed_s,
        cost_s=event.outcome.cost_s,
        status=event.outcome.status,
        reused=event.outcome.reused,
        why=event.why,
        reason=redact_text(event.outcome.reason),
        replayed=event.replayed,
        noise=event.outcome.noise,
    )


def _tested_baseline(events: Iterable[Event]) -> Candidate | None:
    for event in events:
        if isinstance(event.step, TestStep) and event.outcome.status is OutcomeStatus.MEASURED:
            return event.step.baseline
    return None


def build_report(context: RunContext, events: Sequence[Event]) -> RunReport:
    """Return the report of a run from its events; pure, so a record can be reported again.

    The verdicts in ``constraints`` are those on the chosen model's published
    numbers, or else on the nearest miss, or else null.
    """
    readings, bounds = _readings(events), context.constraints
    done = context.decision or Done(chosen=None, reason="")

    def shown(candidate: Candidate | None, *, is_final: bool = False) -> ReportedModel | None:
        model = _reported(candidate, readings, bounds, is_final=is_final)
        return _with_confusion(_with_gaps(model, events), events)

    baseline = shown(context.baseline or _tested_baseline(events), is_final=True)
    chosen = shown(done.chosen, is_final=True)
    if chosen is not None:
        chosen = replace(chosen, model_dir=context.model_dir)
    miss = shown(done.nearest_miss)
    front = tuple(filter(None, map(shown, done.front)))
    levers = [
        ReportedLever(
            lever=one.lever,
            best_with=shown(one.best_with),
            best_without=shown(one.best_without),
            reason=one.reason,
        )
        for one in done.levers
    ]
    left = (ReportedLever(lever=name, reason=why) for name, why in context.levers_left.items())
    judged = chosen or miss
    return RunReport(
        outcome=context.outcome,
        command=tuple(redact_command(context.command)),
        seed=context.seed,
        created=context.created,
        versions=context.versions,
        model=replace(context.model, spec=redact_text(context.model.spec)),
        task=replace(context.task, source=redact_text(context.task.source)),
        workload=context.workload,
        constraints=judged.bounds if judged else _verdicts(bounds, {}),
        device=context.device,
        hardware=context.hardware,
        refused=context.refused,
        baseline=baseline,
        chosen=chosen,
        nearest_miss=miss,
        front=front,
        levers=(*levers, *left),
        decision=redact_text(done.reason),
        timeline=tuple(_timeline_entry(event) for event in events),
        notes=tuple(redact_text(note) for note in context.notes),
        noise=_noisiest((chosen, miss, baseline, *front), events),
    )
