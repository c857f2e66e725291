"""The record of a small run: every kind of step once, with numbers that are easy to recognise."""

from __future__ import annotations

from autotune.candidate import AdapterConfig, Algorithm, Candidate, Precision, Recipe
from autotune.constraint import parse_constraint
from autotune.measurement import Measurement, metric_unit
from autotune.reports import ModelFacts, RefusedRecipe, RunContext, TaskFacts, WorkloadFacts
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

ADAPTER = AdapterConfig(rank=8, learning_rate=2e-3)
DIVERGING = AdapterConfig(rank=64, learning_rate=0.1)
INT4 = Recipe(
    provider="cpu",
    precision=Precision.INT4,
    block_size=32,
    algorithm=Algorithm.K_QUANT_MIXED,
    accuracy_level=4,
)
FP32 = Recipe(provider="cpu", precision=Precision.FP32)
FP16 = Recipe(provider="cpu", precision=Precision.FP16)
BASE_INT4 = Candidate(adapter=None, fraction=0, recipe=INT4)
BASE_FP32 = Candidate(adapter=None, fraction=0, recipe=FP32)
TUNED_INT4 = Candidate(adapter=ADAPTER, fraction=1, recipe=INT4)
TUNED_FP32 = Candidate(adapter=ADAPTER, fraction=1 / 3, recipe=FP32)


def measured(
    metric: str,
    value: float,
    *,
    spread: float = 0.0,
    n: int = 64,
    blocks: tuple[tuple[float, ...], ...] = (),
) -> Measurement:
    interval = (value - spread, value + spread) if spread else None
    return Measurement(
        metric=metric, unit=metric_unit(metric), value=value, n=n, ci95=interval, blocks=blocks
    )


def named(*measurements: Measurement) -> dict[str, Measurement]:
    return {measurement.metric: measurement for measurement in measurements}


def scores(accuracy: float, size: float, *, n: int = 80) -> dict[str, Measurement]:
    return named(
        measured("accuracy", accuracy, spread=0.04, n=n),
        measured("nll", 1 - accuracy, n=n),
        measured("size", size, n=1),
    )


def timings(latency: float) -> dict[str, Measurement]:
    return named(
        measured("latency.p95", latency, spread=latency / 20, blocks=((latency, latency),)),
        measured("memory", 4.1e8, n=3),
        measured("load", 0.9, n=3),
    )


def _outcome(status: OutcomeStatus = OutcomeStatus.MEASURED, **fields: object) -> Outcome:
    return Outcome(status=status, cost_s=5.0, **fields)  # type: ignore[arg-type]  # fields of Outcome


def _steps() -> list[tuple[Step, Outcome]]:
    leak = "downloading https://me:hunter2@host/x?sig=abc failed"
    return [
        (
            ScoreStep(candidate=BASE_INT4),
            _outcome(measurements={BASE_INT4.name: scores(0.25, 1.17e8)}),
        ),
        (
            ScoreStep(candidate=BASE_FP32),
            _outcome(measurements={BASE_FP32.name: scores(0.31, 5.44e8)}),
        ),
        (
            MeasureStep(candidates=(BASE_INT4, BASE_FP32), rounds=2),
            _outcome(measurements={BASE_INT4.name: timings(0.050), BASE_FP32.name: timings(0.130)}),
        ),
        (TrainStep(adapter=DIVERGING, fraction=1 / 3), _outcome(OutcomeStatus.DIVERGED)),
        (
            TrainStep(adapter=ADAPTER, fraction=1 / 3),
            _outcome(measurements={ADAPTER.name: named(measured("nll", 0.4))}),
        ),
        (
            ScoreStep(candidate=TUNED_FP32),
            _outcome(OutcomeStatus.OUT_OF_MEMORY, reason=leak),
        ),
        (
            ScoreStep(candidate=TUNED_INT4),
            _outcome(
                measurements={TUNED_INT4.name: scores(0.94, 1.17e8)}, reused=("finetune", "merge")
            ),
        ),
        (
            MeasureStep(candidates=(TUNED_INT4, BASE_INT4), rounds=4, purpose="confirm"),
            _outcome(
                measurements={TUNED_INT4.name: timings(0.048), BASE_INT4.name: timings(0.049)}
            ),
        ),
        (
            TestStep(chosen=TUNED_INT4, baseline=BASE_INT4),
            _outcome(
                measurements={
                    TUNED_INT4.name: named(measured("accuracy", 0.925, spread=0.03, n=160)),
                    BASE_INT4.name: named(measured("accuracy", 0.26, spread=0.05, n=160)),
                }
            ),
        ),
    ]


def events() -> list[Event]:
    return [
        Event(
            number=number,
            step=step,
            outcome=outcome,
            started_s=5.0 * number,
            elapsed_s=5.0 * (number + 1),
            at=f"2026-11-23T10:00:{number:02d}+00:00",
            why=f"reason {number}",
        )
        for number, (step, outcome) in enumerate(_steps())
    ]


CHOSE = Done(
    chosen=TUNED_INT4,
    reason="The most accurate model that meets the bound.",
    front=(TUNED_INT4, BASE_INT4),
)
CHOSE_NONE = Done(chosen=None, reason="Nothing meets the bound.", nearest_miss=BASE_INT4)


def context(
    *,
    decision: Done | None = CHOSE,
    bounds: tuple[str, ...] = ("latency<=100ms", "size<=1GB"),
    kind: str = "classification",
) -> RunContext:
    is_choice = kind == "classification"
    return RunContext(
        outcome="feasible" if decision and decision.chosen else "infeasible",
        command=("autotune", "--max-latency", "100ms", "--hub-token", "hf_abcdefghijklmnop"),
        seed=7,
        created="2026-11-23T10:00:00+00:00",
        versions={"autotune": "0.1.0", "onnxruntime-genai": "0.18.0", "torch": "2.13.0"},
        model=ModelFacts(
            spec="https://user:pw@host/tiny",
            revision_or_digest="0123456789abcdef0123",
            architecture="LlamaForCausalLM",
            license="apache-2.0",
            hub_id="owner/tiny",
        ),
        task=TaskFacts(
            kind="classification" if is_choice else "generation",
            template="### Text: {phrase}\n### Tone:\n{tone}",
            fields=("phrase", "tone"),
            labels=("joy", "sadness", "surprise", "sad surprise") if is_choice else (),
            counts={"train": 240, "validation": 80, "test": 160},
            digest="d" * 64,
            repeats_removed=3,
            warnings=("3 rows repeat",),
        ),
        workload=WorkloadFacts(
            digest="f" * 64,
            requests=64,
            kind="classification" if is_choice else "generation",
            statement="Tokenisation, prefill and the walk over the labels, batch 1.",
        ),
        constraints=tuple(parse_constraint(bound) for bound in bounds),
        device="AMD EPYC, 2 cores, cpu",
        hardware={"cpu_model": {"value": "AMD EPYC"}, "usable_cores": 2},
        refused=(
            RefusedRecipe(name=FP16.name, recipe=FP16, reason="fails at run time", source="facts"),
        ),
        decision=decision,
        notes=("Authorization: Bearer abc.def was not needed",),
    )
