"""The record of a search as long as people run them: 60 trials, raw samples and losses included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autotune.candidate import AdapterConfig, Algorithm, Candidate, Precision, Recipe
from autotune.confusion import Confusion
from autotune.measurement import Measurement
from autotune.reports import Mistake, RunContext
from autotune.steps import (
    Done,
    Event,
    MeasureStep,
    Outcome,
    OutcomeStatus,
    ScoreStep,
    Step,
    TestStep,
    TrainStep,
)

from .record import context, measured, named

N_TRAININGS = 27
STEPS = 600
LABELS = ("joy", "sadness", "surprise", "<b>odd & long label</b>")
RECIPES = (
    Recipe(provider="cpu", precision=Precision.FP32),
    Recipe(provider="cpu", precision=Precision.INT8, block_size=32, accuracy_level=4),
    *(
        Recipe(
            provider="cpu",
            precision=Precision.INT4,
            block_size=size,
            algorithm=Algorithm.DEFAULT,
            accuracy_level=4,
        )
        for size in (16, 32, 64, 128)
    ),
)
MISTAKES = (
    Mistake(row=3, prompt="### Text: <script>alert(1)</script>", reference="joy", answered="fear"),
    Mistake(row=9, prompt="long " * 400, reference="sadness", answered="joy"),
)


def _timed(recipe: Recipe, rng: np.random.Generator, *, rounds: int) -> dict[str, Measurement]:
    """Return 32 samples per process, around a median of the recipe's own."""
    median = 0.03 + 0.02 * RECIPES.index(recipe)
    blocks = tuple(tuple(rng.lognormal(np.log(median), 0.1, 32).tolist()) for _ in range(rounds))
    found = []
    for name, q in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95)):
        value = float(np.quantile(np.concatenate(blocks), q))
        found.append(measured(f"latency.{name}", value, spread=value / 15, n=32 * rounds))
    timings = {m.metric: replace(m, blocks=blocks) for m in found}
    return {**timings, **named(measured("memory", 4e8, n=rounds), measured("load", 0.5, n=rounds))}


def _scored(candidate: Candidate, accuracy: float) -> Outcome:
    nll = measured("nll", 1.2 - accuracy, n=184)
    nll = replace(nll, blocks=(tuple(float(n) / 184 for n in range(184)),))
    size = 6e8 / (1 + RECIPES.index(candidate.recipe))
    found = named(
        measured("accuracy", accuracy, spread=0.03, n=184), nll, measured("size", size, n=1)
    )
    return Outcome(
        status=OutcomeStatus.MEASURED,
        measurements={candidate.name: found},
        correct={candidate.name: "10" * 92},
        stage_s={"build": 4.0, "score": 2.0},
        cost_s=6.0,
    )


def _trained(adapter: AdapterConfig, rng: np.random.Generator) -> Outcome:
    steps = np.arange(STEPS)
    losses = 0.2 + 2 * np.exp(-steps / 80) + rng.normal(0, 0.05, STEPS).clip(-0.1)
    return Outcome(
        status=OutcomeStatus.MEASURED,
        measurements={adapter.name: named(measured("nll", float(losses[-1]), n=184))},
        losses=tuple(round(float(loss), 5) for loss in losses),
        stage_s={"finetune": 40.0},
        notes={"tokens_per_s": 210.0, "dtype": "float32"},
        cost_s=40.0,
    )


def _steps() -> list[tuple[Step, Outcome]]:
    rng = np.random.default_rng(0)
    base = [Candidate(adapter=None, fraction=0, recipe=recipe) for recipe in RECIPES]
    found: list[tuple[Step, Outcome]] = [
        (ScoreStep(candidate=one), _scored(one, 0.25 + rng.uniform(0, 0.1))) for one in base
    ]
    census = {one.name: _timed(one.recipe, rng, rounds=2) for one in base}
    found.append(
        (
            MeasureStep(candidates=tuple(base), rounds=2),
            Outcome(
                status=OutcomeStatus.MEASURED,
                measurements=census,
                stage_s={"measure": 60.0},
                cost_s=60.0,
            ),
        )
    )
    for number in range(N_TRAININGS):
        adapter = AdapterConfig(rank=2 ** (1 + number % 6), learning_rate=1e-3 * (1 + number))
        found.append((TrainStep(adapter=adapter, fraction=1), _trained(adapter, rng)))
        for recipe in RECIPES[:2]:
            one = Candidate(adapter=adapter, fraction=1, recipe=recipe)
            found.append(
                (
                    ScoreStep(candidate=one),
                    _scored(one, 0.6 + 0.012 * number + 0.01 * RECIPES.index(recipe)),
                )
            )
    return [*found, *_end(rng)]


def chosen() -> Candidate:
    """Return the model that the record ends with."""
    best = N_TRAININGS - 1
    adapter = AdapterConfig(rank=2 ** (1 + best % 6), learning_rate=1e-3 * (1 + best))
    return Candidate(adapter=adapter, fraction=1, recipe=RECIPES[0])


def _end(rng: np.random.Generator) -> list[tuple[Step, Outcome]]:
    """Return the confirmation of two finalists and the base, and the test."""
    best = chosen()
    second = replace(best, recipe=RECIPES[1])
    base = Candidate(adapter=None, fraction=0, recipe=RECIPES[0])
    three = (best, second, base)
    confirm = {one.name: _timed(one.recipe, rng, rounds=6) for one in three}
    references = [row % 4 for row in range(160)]
    answers = [(row % 4) if row % 9 else (row + 1) % 4 for row in range(160)]
    test = {
        best.name: named(measured("accuracy", 0.9, spread=0.03, n=160)),
        base.name: named(measured("accuracy", 0.26, spread=0.05, n=160)),
    }
    return [
        (
            MeasureStep(candidates=three, rounds=6, purpose="confirm"),
            Outcome(
                status=OutcomeStatus.MEASURED,
                measurements=confirm,
                stage_s={"measure": 90.0},
                cost_s=90.0,
            ),
        ),
        (
            TestStep(chosen=best, baseline=base),
            Outcome(
                status=OutcomeStatus.MEASURED,
                measurements=test,
                confusion={best.name: Confusion.of(references, answers, n_labels=4)},
                reused=("build",),
                stage_s={"score": 9.0},
                cost_s=9.0,
            ),
        ),
    ]


def long_events() -> list[Event]:
    """Return the events, one after the other without a pause."""
    events: list[Event] = []
    elapsed = 0.0
    for number, (step, outcome) in enumerate(_steps()):
        events.append(
            Event(
                number=number,
                step=step,
                outcome=outcome,
                started_s=elapsed,
                elapsed_s=elapsed + outcome.cost_s,
                at="2026-11-23T10:00:00+00:00",
                why=f"reason {number}",
            )
        )
        elapsed += outcome.cost_s
    return events


def long_context() -> RunContext:
    """Return the context: a bound on the latency that half of the recipes break."""
    base = context(bounds=("latency<=100ms",))
    second = replace(chosen(), recipe=RECIPES[1])
    done = Done(chosen=chosen(), reason="It is the most accurate.", front=(chosen(), second))
    hardware = {"processor": {"model": {"status": "detected", "value": "AMD EPYC", "reason": ""}}}
    task = replace(base.task, labels=LABELS)
    return replace(base, decision=done, hardware=hardware, task=task)
