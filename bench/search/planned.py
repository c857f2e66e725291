"""Drives the real planner through its protocol, with a table in the place of passes.

The census is paid: every recipe that it builds untrained costs what the table says. Timing
and the test split cost nothing, for any method, since tables do not record them.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from autotune.candidate import Candidate
from autotune.measurement import Measurement, metric_unit
from autotune.search import Experience, PlannerState, SearchSettings, StagedPlanner
from autotune.steps import (
    Done,
    MeasureStep,
    Outcome,
    OutcomeStatus,
    ScoreStep,
    Step,
    TestStep,
    TrainStep,
    Wait,
)

from .problem import Problem
from .trace import Find, Goal, Trace, speed_of

__all__ = ["TableRunner", "planned", "settings_for"]

_SAMPLES = 64  # requests that a table's percentile is taken to stand for


@dataclass(kw_only=True)
class TableRunner:
    """Answers steps from a problem's table."""

    problem: Problem
    trained: dict[str, float] = field(default_factory=dict)
    merged: set[str] = field(default_factory=set)

    def run(self, step: Step) -> Outcome:
        """Return what ``step`` brings."""
        match step:
            case TrainStep():
                return self._train(step)
            case ScoreStep():
                return self._score(step.candidate)
            case MeasureStep():
                return _measured({c.name: self._costs(c) for c in step.candidates}, {})
            case TestStep():
                names = (step.chosen.name, step.baseline.name)
                return _measured({name: {"accuracy": _one("accuracy", 0.0)} for name in names}, {})

    def _train(self, step: TrainStep) -> Outcome:
        name = step.adapter.name
        before = self.trained.get(name, 0.0)
        rungs = [rung for rung in self.problem.rungs if before < rung <= step.fraction]
        self.trained[name] = step.fraction
        seconds = 0.0
        for rung in rungs:
            found = self.problem.trainings.get((step.adapter, rung))
            if found is None:
                break
            seconds += found.cost_s
            if found.loss is None:
                return Outcome(status=found.status, reason="in the table", cost_s=seconds)
        last = self.problem.trainings.get((step.adapter, rungs[-1]))
        if last is None or last.loss is None:
            return Outcome(
                status=OutcomeStatus.CRASHED, reason="the table stops here", cost_s=seconds
            )
        return _measured({name: {"nll": _one("nll", last.loss)}}, {"finetune": seconds})

    def _score(self, candidate: Candidate) -> Outcome:
        if candidate.adapter is None:
            found = self.problem.untrained[candidate.recipe]
            if found.status is not OutcomeStatus.MEASURED:
                return Outcome(status=found.status, reason="in the table", cost_s=found.cost_s)
            # Where it is not recorded, no decision reads the untrained loss (see table.py).
            loss, accuracy = found.loss or 0.0, found.accuracy
            seconds = found.cost_s
        else:
            built = self.problem.built.get((candidate.adapter, candidate.recipe))
            if built is None or built.loss is None:
                status = built.status if built else OutcomeStatus.UNSUPPORTED
                seconds = built.cost_s if built else 0.0
                return Outcome(status=status, reason="in the table", cost_s=seconds)
            loss, accuracy, seconds = built.loss, built.accuracy, built.cost_s
            if candidate.training in self.merged:
                seconds -= built.merge_s
            self.merged.add(candidate.training)
        metrics = {
            "nll": _one("nll", loss),
            # A stand-in where the table has losses only: it orders candidates the same way.
            "accuracy": _one("accuracy", math.exp(-loss) if accuracy is None else accuracy),
        }
        recorded = self.problem.metrics[candidate.recipe]
        for name in ("size", "distortion"):
            if name in recorded:
                metrics[name] = _one(name, recorded[name])
        return _measured({candidate.name: metrics}, {"build": seconds})

    def _costs(self, candidate: Candidate) -> dict[str, Measurement]:
        recorded = self.problem.metrics[candidate.recipe]
        found = {name: _one(name, value) for name, value in recorded.items()}
        if "latency.p95" in found:
            found.setdefault("latency.p50", _one("latency.p50", recorded["latency.p95"]))
        # The ledger wants something of a model that was timed.
        return found or {"load": _one("load", 0.0)}


def settings_for(
    goal: Goal, *, seed: int, experience: Experience | None, sampler: str
) -> SearchSettings:
    """Return the request for a whole table: no end but the last config."""
    from autotune.search import SamplerName  # noqa: PLC0415 - one name

    problem = goal.problem
    has_latency = all(speed_of(problem, recipe) is not None for recipe in problem.recipes)
    return SearchSettings(
        recipes=problem.recipes,
        constraints=goal.limits,
        max_trials=len(problem.configs) * len(problem.recipes),
        space=problem.space,
        parameters=int(problem.parameters) if problem.parameters else None,
        experience=experience,
        objectives=("nll", "latency.p95") if has_latency else ("nll",),
        sampler=SamplerName(sampler),
        seed=seed,
        rungs=tuple(rung for rung in problem.rungs if rung >= 0.11),
        prior_costs_s={
            "finetune": problem.typical_training_s,
            "build": 0.1 * problem.typical_training_s,
            "merge": 0.0,
            "score": 0.0,
            "measure": 0.0,
        },
        model_layers=problem.layers,
        compares_damage=any("distortion" in found for found in problem.metrics.values()),
        min_gain=0.0,
        patience=10**6,
    )


def planned(goal: Goal, settings: SearchSettings, *, cap_s: float) -> Trace:
    """Run the planner until it is done or has spent ``cap_s``."""
    problem, trace = goal.problem, Trace()
    runner = TableRunner(problem=problem)
    began = time.process_time()
    planner = StagedPlanner(settings)
    while trace.spent_s < cap_s:
        decision = planner.next(PlannerState(elapsed_s=trace.spent_s))
        if isinstance(decision, Done):
            break
        assert not isinstance(decision, Wait), "nothing runs"
        outcome = runner.run(decision)
        trace.spent_s += outcome.cost_s
        _note(trace, goal, decision, outcome, runner)
        planner.observe(decision, outcome)
    trace.overhead_s = time.process_time() - began
    return trace


def _note(trace: Trace, goal: Goal, step: Step, outcome: Outcome, runner: TableRunner) -> None:
    """Write down what counts."""
    if isinstance(step, TrainStep):
        trace.trainings = len(runner.trained)
    if not isinstance(step, ScoreStep) or step.candidate.adapter is None:
        return
    candidate = step.candidate
    if not goal.problem.is_feasible(candidate.recipe, goal.limits):
        trace.wasted += 1
        trace.wasted_s += goal.problem.train_cost_s(step.candidate.adapter)
    elif outcome.status is OutcomeStatus.MEASURED:
        loss = outcome.measurements[candidate.name]["nll"].value
        speed = speed_of(goal.problem, candidate.recipe)
        trace.finds.append(Find(spent_s=trace.spent_s, loss=loss, speed=speed))


def _one(metric: str, value: float) -> Measurement:
    n = _SAMPLES if "." in metric else 1
    return Measurement(metric=metric, unit=metric_unit(metric), value=value, n=n)


def _measured(measurements: dict[str, dict[str, Measurement]], stages: dict[str, float]) -> Outcome:
    return Outcome(
        status=OutcomeStatus.MEASURED,
        measurements=measurements,
        stage_s=stages,
        cost_s=sum(stages.values()),
    )
