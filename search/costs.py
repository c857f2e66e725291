"""What the next steps will cost, learned from what the last ones did.

Means per stage (and per recipe where one was seen), seconds per unit of training;
before anything was seen, the caller's estimates. Stages that the store already
held say nothing about cost and are left out.

Trainings of another arm than those seen are taken to cost by the share of the layers that
they keep, and more with a quantiser in the loop; the first one of an arm replaces that. The
first training at a depth pays for healing the cut model.
"""

from __future__ import annotations

from collections.abc import Sequence

from autotune.candidate import AdapterConfig, Candidate, Recipe
from autotune.steps import (
    MeasureStep,
    Outcome,
    OutcomeStatus,
    ScoreStep,
    Step,
    TestStep,
    TrainStep,
)

from .arms import WHOLE, Arm, arms_of
from .settings import DEFAULT_PRIOR_COSTS_S, SearchSettings

__all__ = ["CostModel", "minimum_budget_s", "one_training_s", "reserve_s"]


# A step with a quantiser in the loop over one without: rounding every weight once per step
# (1.15 to 1.4 on two cores, docs/LOG.md).
_QUANTISER_SLOWDOWN = 1.25
# What running the whole model beside the cut one takes of a training of the whole one: weights are
# frozen, so that forwards is as much as backwards.
_WHOLE_BESIDE = 0.5
_MAKING_A_BASE = ("prune", "heal")


class _Mean:
    """A ratio of sums: seconds over units."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._units = 0.0

    def add(self, seconds: float, units: float = 1.0) -> None:
        self._seconds += seconds
        self._units += units

    @property
    def value(self) -> float:
        return self._seconds / self._units


class CostModel:
    """Seconds that steps are expected to take."""

    def __init__(self, settings: SearchSettings) -> None:
        self._prior = dict(DEFAULT_PRIOR_COSTS_S) | dict(settings.prior_costs_s)
        self._typical_epochs = sum(settings.space.epochs) / len(settings.space.epochs)
        rows = (settings.n_validation_rows, settings.n_test_rows)
        self._test_ratio = rows[1] / rows[0] if all(rows) else 1.0
        self._model_layers = settings.model_layers
        self._first_provider = settings.recipes[0].provider
        self._means: dict[str, _Mean] = {}
        self._trained: dict[str, float] = {}
        self._healed: set[int] = set()

    def observe(self, step: Step, outcome: Outcome) -> None:
        """Learn from a step that succeeded."""
        if outcome.status is not OutcomeStatus.MEASURED:
            return
        match step:
            case TrainStep():
                self._observe_training(step, outcome)
            case ScoreStep():
                self._observe_score(step.candidate.recipe, outcome)
            case MeasureStep():
                if "measure" in outcome.stage_s and not self._is_a_look_elsewhere(step):
                    blocks = len(step.candidates) * step.rounds
                    self._add("measure", outcome.cost_s, units=blocks)
            case TestStep():
                pass  # the last step of a search

    def _is_a_look_elsewhere(self, step: MeasureStep) -> bool:
        """Whether ``step`` is the first look at a provider that later blocks may well not use."""
        return step.rounds == 1 and all(
            candidate.recipe.provider != self._first_provider for candidate in step.candidates
        )

    def _observe_training(self, step: TrainStep, outcome: Outcome) -> None:
        before = self._trained.get(step.adapter.name, 0.0)
        self._trained[step.adapter.name] = step.fraction
        arm = Arm.of(step.adapter)
        if arm.layers is not None:
            self._healed.add(arm.layers)
            if "heal" in outcome.stage_s:
                self._add("heal", outcome.stage_s["heal"], units=self._heal_units(arm.layers))
        if "finetune" in outcome.stage_s and step.fraction > before:
            units = (step.fraction - before) * self._size(step.adapter)
            base = sum(outcome.stage_s.get(stage, 0.0) for stage in _MAKING_A_BASE)
            seconds = max(0.0, outcome.cost_s - base)
            self._add("finetune", seconds, units=units * self._factor(arm))
            self._add(_of_arm(arm), seconds, units=units)

    def _observe_score(self, recipe: Recipe, outcome: Outcome) -> None:
        for stage in ("merge", "build", "score"):
            if stage in outcome.stage_s:
                self._add(stage, outcome.stage_s[stage])
                self._add(f"{stage}:{recipe.name}", outcome.stage_s[stage])
        if not outcome.reused:
            self._add("overhead", max(0.0, outcome.cost_s - sum(outcome.stage_s.values())))

    def _add(self, key: str, seconds: float, *, units: float = 1.0) -> None:
        self._means.setdefault(key, _Mean()).add(seconds, units)

    def _stage(self, stage: str, recipe: Recipe) -> float:
        """Return seconds of a stage: seen with this recipe, told for it, seen, told."""
        own = f"{stage}:{recipe.name}"
        if own in self._means:
            return self._means[own].value
        if own in self._prior:
            return self._prior[own]
        return self._means[stage].value if stage in self._means else self._prior[stage]

    def _size(self, adapter: AdapterConfig | None) -> float:
        return adapter.epochs / self._typical_epochs if adapter else 1.0

    def _factor(self, arm: Arm) -> float:
        """Return what a training of ``arm`` is thought to cost over one of the whole model."""
        share = self._share(arm.layers)
        return share if arm.quantiser is None else share * _QUANTISER_SLOWDOWN

    def _share(self, layers: int | None) -> float:
        return 1.0 if layers is None or not self._model_layers else layers / self._model_layers

    def _heal_units(self, layers: int) -> float:
        return self._share(layers) + _WHOLE_BESIDE

    def base_s(self, arm: Arm) -> float:
        """Return seconds that the base of ``arm`` takes, once: a cut model has to be healed."""
        if arm.layers is None or arm.layers in self._healed:
            return 0.0
        mean = self._means.get("heal") or self._means.get("finetune")
        rate = mean.value if mean else self._prior["finetune"]
        return rate * self._heal_units(arm.layers)

    def train_s(
        self, adapter: AdapterConfig | None, before: float, after: float, *, arm: Arm = WHOLE
    ) -> float:
        """Return seconds from ``before`` to ``after``; None is a typical config of ``arm``."""
        if adapter is not None:
            arm = Arm.of(adapter)
        mean = self._means.get("finetune")
        rate = self._factor(arm) * (mean.value if mean else self._prior["finetune"])
        if (own := self._means.get(_of_arm(arm))) is not None:
            rate = own.value
        return rate * (after - before) * self._size(adapter)

    def score_s(self, candidate: Candidate, *, is_merged: bool = False) -> float:
        """Return seconds to merge (unless that is done), build and score ``candidate``."""
        overhead = self._means["overhead"].value if "overhead" in self._means else 0.0
        needs_merge = candidate.adapter is not None and not is_merged
        merge = self._stage("merge", candidate.recipe) if needs_merge else 0.0
        return merge + overhead + self.build_and_score_s(candidate.recipe)

    def build_and_score_s(self, recipe: Recipe) -> float:
        """Return seconds to build and score one model that is already merged."""
        return self._stage("build", recipe) + self._stage("score", recipe)

    def score_all_s(self, recipes: Sequence[Recipe]) -> float:
        """Return seconds to merge a training once, then build and score it with ``recipes``."""
        if not recipes:
            return 0.0
        overhead = self._means["overhead"].value if "overhead" in self._means else 0.0
        each = sum(self.build_and_score_s(recipe) + overhead for recipe in recipes)
        return self._stage("merge", recipes[0]) + each

    def measure_s(self, n_models: int, rounds: int) -> float:
        """Return seconds to time ``n_models`` in ``rounds`` rounds."""
        mean = self._means.get("measure")
        return n_models * rounds * (mean.value if mean else self._prior["measure"])

    def test_s(self) -> float:
        """Return seconds to score the choice and the baseline on the test split."""
        if "test" in self._prior:
            return 2 * self._prior["test"]
        score = self._means["score"].value if "score" in self._means else self._prior["score"]
        return 2 * self._test_ratio * score


def _of_arm(arm: Arm) -> str:
    return f"finetune:{arm.layers}:{arm.quantiser}"


def reserve_s(settings: SearchSettings, costs: CostModel) -> float:
    """Return seconds kept back for confirmation and test, the safety factor included."""
    models = min(settings.finalists, settings.max_trials or settings.finalists) + 1
    seconds = costs.measure_s(models, settings.confirm_rounds) + costs.test_s()
    return settings.safety * seconds


def minimum_budget_s(settings: SearchSettings) -> float:
    """Return the least seconds with which one training can be had and confirmed.

    By the estimates in ``settings``: a census of the first recipes, one full training,
    one build and score of it, confirmation and test.
    """
    costs = CostModel(settings)
    probe = settings.whole_recipes[: settings.probe_recipes]
    census = sum(costs.build_and_score_s(recipe) for recipe in probe)
    census += costs.measure_s(len(probe), 1 + settings.census_rounds)
    return census + one_training_s(settings, costs) + reserve_s(settings, costs)


def one_training_s(settings: SearchSettings, costs: CostModel) -> float:
    """Return seconds of one full training with its base, and of its cheapest build and score."""
    cheapest = min(settings.recipes, key=costs.build_and_score_s)
    first = arms_of(settings.space, settings.recipes)[0]
    trained_s = costs.base_s(first) + costs.train_s(None, 0.0, 1.0, arm=first)
    return trained_s + costs.score_all_s([cheapest])
