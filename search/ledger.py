"""What a search has seen so far: outcomes sorted by what they are about.

Filled by ``observe`` alone, so the same record always gives the same ledger. It
judges nothing; census, loop and confirm read it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from autotune.candidate import AdapterConfig, Candidate, Recipe
from autotune.measurement import Measurement
from autotune.steps import (
    MeasureStep,
    Outcome,
    OutcomeStatus,
    ScoreStep,
    Step,
    TestStep,
    TrainStep,
)

__all__ = ["Failure", "Ledger", "Score", "Training", "untrained"]


def untrained(recipe: Recipe) -> Candidate:
    """Return the base model built with ``recipe``."""
    return Candidate(adapter=None, fraction=0.0, recipe=recipe)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How something failed."""

    status: OutcomeStatus
    reason: str


@dataclass(frozen=True, kw_only=True)
class Score:
    """A candidate scored on the validation split."""

    candidate: Candidate
    metrics: dict[str, Measurement]
    correct: str

    @property
    def accuracy(self) -> float:
        """Share right on the validation split."""
        return self.metrics["accuracy"].value

    @property
    def perplexity(self) -> float | None:
        """Of plain text on the validation split, None for any other task."""
        found = self.metrics.get("perplexity")
        return found.value if found else None

    @property
    def badness(self) -> float:
        """What is made small first: the perplexity, or the negative accuracy."""
        return -self.accuracy if self.perplexity is None else self.perplexity

    def behind(self, best: Score) -> float:
        """Return how much worse this is: points of accuracy, or the share of a perplexity."""
        if self.perplexity is None or best.perplexity is None:
            return best.accuracy - self.accuracy
        return self.perplexity / best.perplexity - 1

    @property
    def nll(self) -> float:
        """Mean negative log-likelihood of the answers, nat."""
        return self.metrics["nll"].value


@dataclass(kw_only=True)
class Training:
    """An adapter config that was started.

    Attributes:
        name: the adapter's; kept, since making it takes a digest.
        nll: loss on the fixed subset, by fraction of the training.
        failure: None while it can go on.
    """

    adapter: AdapterConfig
    name: str
    nll: dict[float, float] = field(default_factory=dict)
    failure: Failure | None = None

    @property
    def fraction(self) -> float:
        """Share of the training that is done."""
        return max(self.nll, default=0.0)

    @property
    def is_full(self) -> bool:
        """Whether it is trained to the end."""
        return self.fraction == 1

    @property
    def can_go_on(self) -> bool:
        """Whether there is more to train."""
        return self.failure is None and not self.is_full


class Ledger:
    """Outcomes by subject.

    Attributes:
        trainings: by adapter name, in the order of their start.
        scores: by candidate name, in the order of scoring.
        failures: by candidate name, builds, scorings and timings that failed.
        probe: cost metrics of the first block, by candidate name.
        census: cost metrics of census and recheck, by candidate name; the latest counts.
        confirmed: cost metrics of the confirmation, by candidate name.
        confirmed_recipes: the same of the last candidate confirmed, by recipe name.
        confirm_tries: confirmations that a candidate took part in.
        favourite: the first choice before the confirmation.
        group_failed: purposes whose common timing failed as a whole, so that its
            members are timed one by one.
        purposes: purposes of timings that were done; ``probe`` is the first block.
        test: outcome of the test step.
    """

    def __init__(self, *, census_rounds: int) -> None:
        self._census_rounds = census_rounds
        self.n_steps = 0
        self.trainings: dict[str, Training] = {}
        self.scores: dict[str, Score] = {}
        self.failures: dict[str, Failure] = {}
        self.probe: dict[str, dict[str, Measurement]] = {}
        self.census: dict[str, dict[str, Measurement]] = {}
        self.confirmed: dict[str, dict[str, Measurement]] = {}
        self.confirmed_recipes: dict[str, dict[str, Measurement]] = {}
        self.confirm_tries: dict[str, int] = {}
        self.favourite: Candidate | None = None
        self.group_failed: set[str] = set()
        self.purposes: set[str] = set()
        self.test: tuple[TestStep, Outcome] | None = None

    def observe(self, step: Step, outcome: Outcome) -> None:
        """Take in what ``step`` brought."""
        self.n_steps += 1
        match step:
            case TrainStep():
                self._train(step, outcome)
            case ScoreStep():
                self._score(step, outcome)
            case MeasureStep():
                self._measure(step, outcome)
            case TestStep():
                self.test = (step, outcome)

    def _train(self, step: TrainStep, outcome: Outcome) -> None:
        name = step.adapter.name
        training = self.trainings.setdefault(name, Training(adapter=step.adapter, name=name))
        loss = outcome.measurements.get(name, {}).get("nll")
        if outcome.status is OutcomeStatus.MEASURED and loss is not None:
            training.nll[step.fraction] = loss.value
        else:
            training.failure = _failure(outcome)

    def _score(self, step: ScoreStep, outcome: Outcome) -> None:
        name = step.candidate.name
        metrics = outcome.measurements.get(name, {})
        if outcome.status is OutcomeStatus.MEASURED and {"accuracy", "nll"} <= set(metrics):
            self.scores[name] = Score(
                candidate=step.candidate, metrics=metrics, correct=outcome.correct.get(name, "")
            )
        else:
            self.failures[name] = _failure(outcome)

    def _measure(self, step: MeasureStep, outcome: Outcome) -> None:
        is_probe = step.purpose == "census" and step.rounds < self._census_rounds
        purpose = "probe" if is_probe else step.purpose
        self.purposes.add(purpose)
        if step.purpose == "confirm":
            self.favourite = self.favourite or step.candidates[0]
            for candidate in step.candidates:
                self.confirm_tries[candidate.name] = self.confirm_tries.get(candidate.name, 0) + 1
        as_group = outcome.status is not OutcomeStatus.MEASURED and len(step.candidates) > 1
        if as_group:
            # Nobody knows which of them it was; they are timed one by one next.
            self.group_failed.add(purpose)
            return
        shelf = {"probe": self.probe, "confirm": self.confirmed}.get(purpose, self.census)
        for candidate in step.candidates:
            metrics = outcome.measurements.get(candidate.name)
            if outcome.status is OutcomeStatus.MEASURED and metrics:
                shelf[candidate.name] = metrics
                if purpose == "confirm":
                    self.confirmed_recipes[candidate.recipe.name] = metrics
            else:
                self.failures[candidate.name] = _failure(outcome)

    def recipe_failure(self, recipe: Recipe) -> Failure | None:
        """Return how the untrained model failed with ``recipe``, or None."""
        return self.failures.get(untrained(recipe).name)

    def base_score(self, recipe: Recipe) -> Score | None:
        """Return the untrained model's score with ``recipe``, or None."""
        return self.scores.get(untrained(recipe).name)

    def census_costs(self, recipe: Recipe) -> dict[str, Measurement]:
        """Return the cost metrics of ``recipe``, taken on the untrained model."""
        name = untrained(recipe).name
        return self._size(name) | self.census.get(name, {})

    def costs(self, candidate: Candidate) -> dict[str, Measurement]:
        """Return the best known cost metrics of ``candidate``.

        Its own confirmation, else that of its recipe, else the census; its own size.
        """
        later = self.confirmed_recipes.get(candidate.recipe.name, {})
        own = self.confirmed.get(candidate.name, later) | self._size(candidate.name)
        return self.census_costs(candidate.recipe) | own

    def _size(self, name: str) -> dict[str, Measurement]:
        score = self.scores.get(name)
        return {"size": score.metrics["size"]} if score and "size" in score.metrics else {}

    def metrics(self, candidate: Candidate) -> dict[str, Measurement]:
        """Return cost and quality metrics of ``candidate``."""
        score = self.scores.get(candidate.name)
        return self.costs(candidate) | (score.metrics if score else {})

    def has_result(self, training: str, recipe: Recipe) -> bool:
        """Whether the candidate of that training and recipe was scored or failed."""
        name = f"{training}/{recipe.name}"
        return name in self.scores or name in self.failures

    @property
    def full_trainings(self) -> list[Training]:
        """Trainings that reached the end."""
        return [training for training in self.trainings.values() if training.is_full]

    @property
    def n_trials(self) -> int:
        """Trained candidates scored or failed at the end of training, and failed trainings."""
        scored = sum(score.candidate.fraction == 1 for score in self.scores.values())
        full = {training.name for training in self.full_trainings}
        failed = sum(name.partition("/")[0] in full for name in self.failures)
        return scored + failed + sum(t.failure is not None for t in self.trainings.values())


def _failure(outcome: Outcome) -> Failure:
    """Return the outcome as a failure; one that brought no numbers counts as a crash."""
    if outcome.status is OutcomeStatus.MEASURED:
        return Failure(status=OutcomeStatus.CRASHED, reason="the step brought no measurement")
    return Failure(status=outcome.status, reason=outcome.reason)
