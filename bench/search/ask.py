"""What deciding costs after many trials, the study file included.

    python -m bench.search.ask [--trials 1000] [--asks 20] [--recipes 1] [--json OUT]

Trials are observed with made-up losses and no trained model: only the planner's own time
is measured. Every decision is timed on the wall clock, its record in the study as well.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from autotune.candidate import AdapterConfig, Candidate, Precision, Recipe
from autotune.measurement import Measurement, metric_unit
from autotune.search import (
    PlannerState,
    SearchSettings,
    SearchSpace,
    StagedPlanner,
    StudyRecord,
)
from autotune.steps import (
    MeasureStep,
    Outcome,
    OutcomeStatus,
    ScoreStep,
    Step,
    TrainStep,
)

__all__ = ["main", "timed"]


def _outcome(name: str, stage: str, **values: float) -> Outcome:
    metrics = {
        metric: Measurement(metric=metric, unit=metric_unit(metric), value=value, n=64)
        for metric, value in values.items()
    }
    return Outcome(
        status=OutcomeStatus.MEASURED,
        measurements={name: metrics},
        stage_s={stage: 1.0},
        cost_s=1.0,
    )


def _train(step: TrainStep) -> Outcome:
    return _outcome(step.adapter.name, "finetune", nll=_loss(step.adapter))


def _score(candidate: Candidate) -> Outcome:
    loss = _loss(candidate.adapter) if candidate.adapter else 2.0
    return _outcome(candidate.name, "build", nll=loss, accuracy=math.exp(-loss), size=1e8)


def _loss(adapter: AdapterConfig) -> float:
    distance = math.log(adapter.learning_rate / 6e-4)
    return 0.1 + 0.02 * distance**2 + 0.01 * abs(math.log2(adapter.rank / 16))


@dataclass(kw_only=True)
class _Driver:
    """Feeds a planner, and times what it is told to time."""

    planner: StagedPlanner
    n_steps: int = 0
    seconds: list[float] = field(default_factory=list)
    record_s: list[float] = field(default_factory=list)

    def observe(self, step: Step, outcome: Outcome) -> None:
        self.planner.observe(step, outcome)
        self.n_steps += 1

    def census(self, recipes: tuple[Recipe, ...]) -> None:
        bases = [Candidate(adapter=None, fraction=0.0, recipe=recipe) for recipe in recipes]
        for base in bases:
            self.observe(ScoreStep(candidate=base), _score(base))
        timings: dict[str, dict[str, Measurement]] = {}
        for number, base in enumerate(bases):
            value = 0.05 * (1 + number)
            timings |= _outcome(base.name, "measure", **{"latency.p95": value}).measurements
        step = MeasureStep(candidates=tuple(bases), rounds=2)
        status = OutcomeStatus.MEASURED
        outcome = Outcome(status=status, measurements=timings, stage_s={"measure": 1.0}, cost_s=1.0)
        self.observe(step, outcome)

    def train_and_score(self, adapter: AdapterConfig, recipes: tuple[Recipe, ...]) -> None:
        began = time.perf_counter()
        step = TrainStep(adapter=adapter, fraction=1.0)
        self.observe(step, _train(step))
        for recipe in recipes:
            candidate = Candidate(adapter=adapter, fraction=1.0, recipe=recipe)
            self.observe(ScoreStep(candidate=candidate), _score(candidate))
        self.record_s.append(time.perf_counter() - began)

    def ask(self) -> TrainStep:
        """Time one decision."""
        began = time.perf_counter()
        step = self.planner.next(PlannerState(elapsed_s=float(self.n_steps)))
        self.seconds.append(time.perf_counter() - began)
        if not isinstance(step, TrainStep):
            raise TypeError(f"expected a training, got {step}")
        return step


def timed(
    *, trials: int, asks: int, n_recipes: int, folder: Path
) -> tuple[list[float], list[float]]:
    """Return seconds of ``asks`` decisions after ``trials`` trials, and of their records.

    A record is what the study file takes for a training and all of its scores.
    """
    recipes = tuple(
        Recipe(provider=f"r{number}", precision=Precision.FP32) for number in range(n_recipes)
    )
    space = SearchSpace()
    settings = SearchSettings(
        recipes=recipes,
        max_trials=100 * trials,
        space=space,
        rungs=(1.0,),
        compares_damage=False,
        min_gain=0.0,
        patience=10**9,
    )
    with StudyRecord(folder / "study.journal") as study:
        driver = _Driver(planner=StagedPlanner(settings, study=study))
        driver.census(recipes)
        drawn = dict.fromkeys(space.draw(seed) for seed in range(10 * trials))
        for adapter in list(drawn)[: math.ceil(trials / n_recipes)]:
            driver.train_and_score(adapter, recipes)
        for _ in range(asks):
            step = driver.ask()
            driver.train_and_score(step.adapter, recipes)
    return driver.seconds, driver.record_s[-asks:]


def main() -> None:
    """Time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--asks", type=int, default=20)
    parser.add_argument("--recipes", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        seconds, records = timed(
            trials=options.trials,
            asks=options.asks,
            n_recipes=options.recipes,
            folder=Path(folder),
        )
        whole = time.perf_counter() - began
    figures = {
        "trials": options.trials,
        "recipes": options.recipes,
        "asks": options.asks,
        # Every second decision is taken near the best config, without the sampler.
        "sampler_median_ms": 1e3 * median(sorted(seconds)[len(seconds) // 2 :]),
        "median_ms": 1e3 * median(seconds),
        "worst_ms": 1e3 * max(seconds),
        "record_median_ms": 1e3 * median(records),
        "rebuild_and_asks_s": whole,
    }
    print(
        f"after {options.trials} trials: {figures['median_ms']:.0f} ms for a decision (median of"
        f" {options.asks}; {figures['sampler_median_ms']:.0f} ms in the slower half, which asks"
        f" the sampler; worst {figures['worst_ms']:.0f} ms) and"
        f" {figures['record_median_ms']:.0f} ms for its record; {whole:.1f} s in all"
    )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
