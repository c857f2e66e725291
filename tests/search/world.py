"""A world without models: outcomes and costs of steps as plain functions, in simulated time.

It is the seam through which a planner is replayed. Everything is deterministic:
noise is drawn from a hash of what is asked. Accuracy of a trained candidate falls
with the distance of its learning rate from the best one and with the recipe's
rounding; loss falls along the training as a power law. Cut models lose and save by the
share of layers that is left out; a quantiser in the loop wins part of its rounding back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

from autotune.candidate import AdapterConfig, Algorithm, Candidate, Precision, Recipe
from autotune.measurement import Measurement
from autotune.search import PlannerState, StagedPlanner
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

ROWS = 190
_BLOCK = 32


@dataclass(frozen=True, kw_only=True)
class RecipeFacts:
    """How a recipe behaves: seconds, bytes, nats."""

    latency_s: float
    size: float
    rounding: float
    build_s: float = 6.0
    base_nll: float = 2.0


def _recipe(precision: Precision, block: int | None, algorithm: Algorithm | None = None) -> Recipe:
    level = None if precision is Precision.FP32 else 4
    return Recipe(
        provider="cpu",
        precision=precision,
        block_size=block,
        algorithm=algorithm,
        accuracy_level=level,
    )


INT4_B128 = _recipe(Precision.INT4, 128, Algorithm.DEFAULT)
INT4_B32 = _recipe(Precision.INT4, 32, Algorithm.DEFAULT)
INT4_B16 = _recipe(Precision.INT4, 16, Algorithm.DEFAULT)
INT4_MIXED = _recipe(Precision.INT4, 32, Algorithm.K_QUANT_MIXED)
INT8 = _recipe(Precision.INT8, 32)
FP32 = _recipe(Precision.FP32, None)
RECIPES = (INT4_B128, INT8, INT4_B32, INT4_MIXED, INT4_B16, FP32)

# Shaped after the prototype's figures for a 135M model on two cores.
FACTS: Mapping[Recipe, RecipeFacts] = {
    INT4_B128: RecipeFacts(latency_s=0.042, size=80e6, rounding=0.05, base_nll=2.4),
    INT8: RecipeFacts(latency_s=0.048, size=270e6, rounding=0.001, base_nll=2.01),
    INT4_B32: RecipeFacts(latency_s=0.050, size=86e6, rounding=0.04, base_nll=2.3),
    INT4_MIXED: RecipeFacts(latency_s=0.052, size=102e6, rounding=0.01, build_s=28.0, base_nll=2.1),
    INT4_B16: RecipeFacts(latency_s=0.066, size=112e6, rounding=0.03, base_nll=2.2),
    FP32: RecipeFacts(latency_s=0.081, size=544e6, rounding=0.0, base_nll=2.0),
}


@dataclass(kw_only=True)
class World:
    """Answers steps.

    Attributes:
        facts: by recipe.
        best_rate: learning rate that trains best.
        training_s: seconds of a full training.
        failures: status by candidate name, adapter name or recipe name; a recipe's
            name fails its builds, ``measure:NAME`` its timings.
        confirm_factor: latencies at the confirmation over those of the census, by recipe.
        noise: relative half-width of latency intervals with 64 requests.
        score_s, merge_s, block_s: seconds.
        layers: of the whole model.
        cut_loss: what leaving out all layers would add to a final loss, over it; half
            as many add a quarter of that.
        healed: share of the rounding that training with its quantiser wins back.
    """

    facts: Mapping[Recipe, RecipeFacts] = field(default_factory=lambda: dict(FACTS))
    best_rate: float = 1e-3
    training_s: float = 90.0
    failures: Mapping[str, OutcomeStatus] = field(default_factory=dict)
    confirm_factor: Mapping[Recipe, float] = field(default_factory=dict)
    noise: float = 0.03
    score_s: float = 8.0
    merge_s: float = 2.0
    block_s: float = 3.0
    layers: int = 30
    cut_loss: float = 2.0
    healed: float = 0.8
    trained: dict[str, float] = field(default_factory=dict)
    depths: set[int] = field(default_factory=set)

    def run(self, step: Step) -> Outcome:
        """Return what ``step`` brings."""
        match step:
            case TrainStep():
                return self._train(step)
            case ScoreStep():
                return self._score(step.candidate)
            case MeasureStep():
                return self._measure(step)
            case TestStep():
                return self._test(step)

    def share(self, layers: int | None) -> float:
        """Return the share of the layers that is kept."""
        return 1.0 if layers is None else layers / self.layers

    def of(self, recipe: Recipe) -> RecipeFacts:
        """Return how ``recipe`` behaves; a cut model's follows from the whole one's."""
        if recipe in self.facts:
            return self.facts[recipe]
        whole, share = self.facts[replace(recipe, layers=None)], self.share(recipe.layers)
        takes = 0.1 + 0.9 * share  # embeddings and head stay
        latency_s, size = takes * whole.latency_s, takes * whole.size
        return replace(whole, latency_s=latency_s, size=size, base_nll=9.0)

    def loss(self, adapter: AdapterConfig, fraction: float) -> float:
        """Return the loss on the fixed subset, with what is in the loop."""
        return self._exact_loss(adapter, fraction) + self._rounding(adapter, adapter.quantiser)

    def _exact_loss(self, adapter: AdapterConfig, fraction: float) -> float:
        distance = math.log(adapter.learning_rate / self.best_rate) ** 2
        final = 0.1 * (1 + 0.4 * distance + 0.1 * abs(math.log2(adapter.rank / 16)))
        final *= 1 + self.cut_loss * (1 - self.share(adapter.layers)) ** 2
        wobble = 0.02 * _noise("loss", adapter.name)
        return float(final * (1 + wobble) * fraction**-0.35)

    def _rounding(self, adapter: AdapterConfig, quantiser: str | None) -> float:
        """Return what rounding with ``quantiser`` adds to the loss of a training."""
        if quantiser is None:
            return 0.0
        known = {recipe.quantiser: facts.rounding for recipe, facts in self.facts.items()}
        left = 1 - self.healed if quantiser == adapter.quantiser else 1.0
        return left * known[quantiser]

    def accuracy(self, candidate: Candidate) -> float:
        """Return the share right on the validation split."""
        if candidate.adapter is None:
            return 0.215
        loss = self._exact_loss(candidate.adapter, candidate.fraction)
        rounding = self._rounding(candidate.adapter, candidate.recipe.quantiser)
        return max(0.0, 0.98 - max(0.0, loss - 0.1) * 0.4 - rounding)

    def _failed(self, *names: str, cost_s: float) -> Outcome | None:
        status = next((self.failures[name] for name in names if name in self.failures), None)
        return None if status is None else Outcome(status=status, reason="told to", cost_s=cost_s)

    def _train(self, step: TrainStep) -> Outcome:
        name = step.adapter.name
        seconds = (step.fraction - self.trained.get(name, 0.0)) * self.training_s
        seconds *= self.share(step.adapter.layers) * (1.4 if step.adapter.quantiser else 1.0)
        self.trained[name] = step.fraction
        stages = self._base(step.adapter.layers)
        if failed := self._failed(name, "training", cost_s=seconds / 2):
            return failed
        loss = _single("nll", "nat", self.loss(step.adapter, step.fraction))
        return _measured({name: {"nll": loss}}, stages | {"finetune": seconds})

    def _base(self, layers: int | None) -> dict[str, float]:
        """Return what the base of a training takes: a cut one is healed once."""
        if layers is None or layers in self.depths:
            return {}
        self.depths.add(layers)
        return {"heal": (self.share(layers) + 0.5) * self.training_s}

    def _score(self, candidate: Candidate) -> Outcome:
        facts = self.of(candidate.recipe)
        if failed := self._failed(candidate.name, candidate.recipe.name, cost_s=facts.build_s):
            return failed
        stages = {"build": facts.build_s, "score": self.score_s}
        if candidate.adapter is not None:
            stages["merge"] = self.merge_s
        right = round(self.accuracy(candidate) * ROWS)
        nll = facts.base_nll
        if candidate.adapter is not None:
            nll = self._exact_loss(candidate.adapter, candidate.fraction)
            nll += self._rounding(candidate.adapter, candidate.recipe.quantiser)
        measurements = {
            "accuracy": _single("accuracy", "1", right / ROWS, n=ROWS),
            "nll": _single("nll", "nat", nll, n=ROWS),
            "size": _single("size", "B", facts.size),
        }
        # Nested errors: whoever is less accurate errs where the others do, and elsewhere.
        correct = "1" * right + "0" * (ROWS - right)
        return _measured({candidate.name: measurements}, stages, {candidate.name: correct})

    def _measure(self, step: MeasureStep) -> Outcome:
        seconds = self.block_s * step.rounds * len(step.candidates)
        names = [f"measure:{candidate.recipe.name}" for candidate in step.candidates]
        if failed := self._failed(*names, cost_s=seconds):
            return failed
        measured = {c.name: self._timing(c, step) for c in step.candidates}
        return _measured(measured, {"measure": seconds})

    def _timing(self, candidate: Candidate, step: MeasureStep) -> dict[str, Measurement]:
        recipe = candidate.recipe
        n = _BLOCK * step.rounds
        half = self.noise * math.sqrt(2 * _BLOCK / n)
        shift = 1 + 0.3 * half * _noise("timing", candidate.name, step.purpose, step.rounds)
        p95 = self.of(recipe).latency_s * shift
        if step.purpose == "confirm":
            p95 *= self.confirm_factor.get(recipe, 1.0)
        timings = {"latency.p50": _timed("latency.p50", p95 * 0.93, half, n)}
        if n >= 59:
            timings["latency.p95"] = _timed("latency.p95", p95, half, n)
        memory = _single("memory", "B", 2 * self.of(recipe).size)
        return timings | {"memory": memory}

    def _test(self, step: TestStep) -> Outcome:
        if failed := self._failed("test", cost_s=self.score_s):
            return failed
        models = dict.fromkeys((step.chosen.name, step.baseline.name))
        accuracies = {name: {"accuracy": _single("accuracy", "1", 0.9)} for name in models}
        return _measured(accuracies, {"score": self.score_s * len(models)})


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a simulated run did: (step, outcome, elapsed before, elapsed after)."""

    events: list[tuple[Step, Outcome, float, float]]
    done: Done
    elapsed_s: float
    planner: StagedPlanner

    @property
    def steps(self) -> list[Step]:
        return [step for step, *_ in self.events]

    def of(self, kind: type[Step]) -> list[Step]:
        """Return the steps of one kind."""
        return [step for step in self.steps if isinstance(step, kind)]

    def fractions(self) -> dict[str, float]:
        """Return how far each adapter was trained."""
        trainings = [step for step in self.steps if isinstance(step, TrainStep)]
        return {step.adapter.name: step.fraction for step in trainings}


def simulate(world: World, planner: StagedPlanner, *, most_steps: int = 3000) -> Run:
    """Drive ``planner`` to its end."""
    events: list[tuple[Step, Outcome, float, float]] = []
    elapsed = 0.0
    for _ in range(most_steps):
        decision = planner.next(PlannerState(elapsed_s=elapsed))
        if isinstance(decision, Done):
            return Run(events=events, done=decision, elapsed_s=elapsed, planner=planner)
        assert not isinstance(decision, Wait)  # nothing runs
        outcome = world.run(decision)
        before, elapsed = elapsed, elapsed + outcome.cost_s
        planner.observe(decision, outcome)
        events.append((decision, outcome, before, elapsed))
    raise AssertionError(f"no end after {most_steps} steps")


def _noise(*key: object) -> float:
    """Return a number in [-1, 1] that depends on ``key`` only."""
    return Random(repr(key)).uniform(-1, 1)


def _single(metric: str, unit: str, value: float, *, n: int = 1) -> Measurement:
    return Measurement(metric=metric, unit=unit, value=value, n=n)


def _timed(metric: str, value: float, half: float, n: int) -> Measurement:
    interval = (value * (1 - half), value * (1 + half))
    return Measurement(metric=metric, unit="s", value=value, n=n, ci95=interval)


def _measured(
    measurements: dict[str, dict[str, Measurement]],
    stages: dict[str, float],
    correct: dict[str, str] | None = None,
) -> Outcome:
    return Outcome(
        status=OutcomeStatus.MEASURED,
        measurements=measurements,
        correct=correct or {},
        stage_s=stages,
        cost_s=sum(stages.values()),
    )
