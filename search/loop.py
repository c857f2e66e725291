"""What to train, how far, and what to build: the search proper.

Order of decisions: score what is trained to the end; bring the first config to
the end (the prior is right in most cases, and a run that has a model is a run
that can be stopped); start ``min_started`` configs; bring ``min_full`` to the end;
then whatever promises the most improvement of the final loss for its remaining
cost, ``gain / cost ** eta``, where ``eta`` is the share of the budget still left,
so that cost counts early and gain alone at the end (cost cooling, 2003.10870).

Nothing is begun that could not be finished, scored and confirmed in time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from autotune.candidate import AdapterConfig, Candidate, Recipe
from autotune.steps import OutcomeStatus, ScoreStep

from .costs import CostModel, reserve_s
from .ledger import Ledger, Training
from .outlook import Outlook, expected_improvement, final_outlooks, new_outlook
from .settings import SearchSettings

__all__ = ["LoopView", "TrainingChoice"]

# The first scores of a run may eat into the tolerance of the budget (10 %): without
# them the training is lost.
_FIRST_SCORE_SLACK = 1.06


@dataclass(frozen=True, kw_only=True)
class TrainingChoice:
    """A training to begin or to go on with.

    Attributes:
        adapter: None is a new config, to be proposed.
        target: fraction to train to.
        gain: expected improvement of the log of the final loss.
        cost_s: until it is trained to the end and scored.
        reason: for people.
    """

    adapter: AdapterConfig | None
    target: float
    gain: float
    cost_s: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class LoopView:
    """What the loop decides from; made anew for every decision.

    Attributes:
        recipes: those that trainings are built with, at least one.
        can_start: there are configs left to try.
    """

    settings: SearchSettings
    ledger: Ledger
    costs: CostModel
    recipes: tuple[Recipe, ...]
    elapsed_s: float
    can_start: bool = True

    @property
    def left_s(self) -> float:
        """Seconds that may be spent before confirmation."""
        if self.settings.budget_s is None:
            return float("inf")
        return self.settings.budget_s - self.elapsed_s - reserve_s(self.settings, self.costs)

    @cached_property
    def share_left(self) -> float:
        """Share of the scarcer limit that is left, in [0, 1]."""
        shares = [1.0]
        if self.settings.budget_s is not None:
            shares.append(1 - self.elapsed_s / self.settings.budget_s)
        if self.settings.max_trials is not None:
            shares.append(1 - self.ledger.n_trials / self.settings.max_trials)
        return max(0.0, min(shares))

    @cached_property
    def trials_left(self) -> int:
        """Trials that may still be made; a large number without a limit."""
        limit = self.settings.max_trials
        return 10**9 if limit is None else max(0, limit - self.ledger.n_trials)

    # Scoring

    def next_score(self) -> tuple[ScoreStep, str] | None:
        """Return the cheapest build of a finished training that is due and fits."""
        if self.trials_left == 0:
            return None
        for training in self.ledger.full_trainings:
            due = self._unscored(training)
            if due and self._fits_score(due[0]):
                first = "first " if self._is_first_of(training.adapter) else ""
                reason = f"{first}score of a finished training with {due[0].recipe.name}"
                return ScoreStep(candidate=due[0]), reason
        return None

    def next_partial_score(self) -> tuple[ScoreStep, str] | None:
        """Return a score of the furthest training, where none reached the end."""
        begun = [t for t in self.ledger.trainings.values() if t.nll]
        if any(t.is_full for t in begun) or not begun:
            return None
        best = max(begun, key=lambda t: (t.fraction, -t.nll[t.fraction], t.name))
        due = self._unscored(best)
        if not due or not self._fits_score(due[0]):
            return None
        return ScoreStep(candidate=due[0]), "no training reached the end: score the furthest"

    def _unscored(self, training: Training) -> list[Candidate]:
        """Return what is to be built of ``training``, the cheapest build first."""
        adapter, fraction = training.adapter, training.fraction
        share = training.name
        if fraction < 1:
            share = Candidate(adapter=adapter, fraction=fraction, recipe=self.recipes[0]).training
        due = [recipe for recipe in self.recipes if not self.ledger.has_result(share, recipe)]
        due.sort(key=lambda recipe: (self.costs.build_and_score_s(recipe), recipe.name))
        return [Candidate(adapter=adapter, fraction=fraction, recipe=recipe) for recipe in due]

    def _is_first_of(self, adapter: AdapterConfig) -> bool:
        return not any(score.candidate.adapter == adapter for score in self.ledger.scores.values())

    def _fits_score(self, candidate: Candidate) -> bool:
        if self.settings.budget_s is None:
            return True
        is_merged = candidate.adapter is not None and not self._is_first_of(candidate.adapter)
        has_none = all(s.candidate.adapter is None for s in self.ledger.scores.values())
        slack = (_FIRST_SCORE_SLACK - 1) * self.settings.budget_s if has_none else 0.0
        return self.costs.score_s(candidate, is_merged=is_merged) <= self.left_s + slack

    # Training

    def next_training(self) -> TrainingChoice | None:
        """Return the training to begin or go on with, or None if the loop has ended."""
        if self.trials_left == 0 or self._keeps_failing() or self._is_stale():
            return None
        return next((choice for choice in self._wishes() if self._fits(choice)), None)

    def why_ended(self) -> str:
        """Return why ``next_training`` has nothing more to do."""
        if self.trials_left == 0:
            return "the number of trials is reached"
        if self._keeps_failing():
            return "the last trainings all failed"
        if not self._is_stale() and any(choice.cost_s > self.left_s for choice in self._wishes()):
            return "the budget leaves no time for another training"
        return "no further improvement is to be expected"

    def _keeps_failing(self) -> bool:
        """Whether the last trainings all failed, or twice as many that also diverged.

        A divergence is the config's own (its rate is too high), so another may do better.
        """
        limit = self.settings.max_failures
        failures = [training.failure for training in self.ledger.trainings.values()]
        last = [failure for failure in failures[-limit:] if failure is not None]
        if len(last) == limit and not any(f.status is OutcomeStatus.DIVERGED for f in last):
            return True
        return len(failures) >= 2 * limit and all(failures[-2 * limit :])

    def _is_stale(self) -> bool:
        """Whether many configs in a row gained nothing; never before the wanted counts."""
        n_full = len(self.ledger.full_trainings)
        if n_full < self.settings.min_full or self._n_sound < self.settings.min_started:
            return False
        best, n_since = math.inf, 0
        for outlook in self._outlooks.values():
            gained = outlook.mean < best - self.settings.min_gain
            best, n_since = (outlook.mean, 0) if gained else (best, n_since + 1)
        return n_since >= self.settings.patience

    def _fits(self, choice: TrainingChoice) -> bool:
        return choice.cost_s <= self.left_s

    def _wishes(self) -> Sequence[TrainingChoice]:
        """Return what to do next, most wanted first."""
        go_on, start = self._promotions(), self._starts()
        n_full = len(self.ledger.full_trainings)
        if n_full == 0:
            return [*go_on, *start]
        if self._n_sound < self.settings.min_started and start:
            return [*start, *go_on]
        if n_full < self.settings.min_full:
            return [*go_on, *start]
        worth = [c for c in (*go_on, *start) if c.gain >= self.settings.min_gain]
        return sorted(worth, key=self._value, reverse=True)

    @property
    def _n_sound(self) -> int:
        return sum(training.failure is None for training in self.ledger.trainings.values())

    def _value(self, choice: TrainingChoice) -> float:
        return choice.gain / math.pow(max(choice.cost_s, 1e-9), self.share_left)

    def _promotions(self) -> list[TrainingChoice]:
        """Return the next rung of every unfinished training, most promising first."""
        outlooks = self._outlooks
        unfinished = [t for t in self.ledger.trainings.values() if t.can_go_on and t.nll]
        ranked = sorted(unfinished, key=lambda t: outlooks[t.name].mean)
        return [self._promotion(t, outlooks[t.name]) for t in ranked]

    def _promotion(self, training: Training, outlook: Outlook) -> TrainingChoice:
        target = min(rung for rung in self.settings.rungs if rung > training.fraction)
        cost = self.costs.train_s(training.adapter, training.fraction, 1.0)
        return TrainingChoice(
            adapter=training.adapter,
            target=target,
            gain=expected_improvement(outlook, self._best),
            cost_s=cost + self._scoring_s(),
            reason=f"{training.name} looks best for its cost: train it to {target:.0%}",
        )

    def _starts(self) -> list[TrainingChoice]:
        limit = self.settings.max_trials
        if not self.can_start or (limit is not None and len(self.ledger.trainings) >= limit):
            return []
        cost = self.costs.train_s(None, 0.0, 1.0) + self._scoring_s()
        outlook = new_outlook(self._outlooks.values())
        choice = TrainingChoice(
            adapter=None,
            target=self.settings.rungs[0],
            gain=expected_improvement(outlook, self._best),
            cost_s=cost,
            reason=f"try a new configuration for {self.settings.rungs[0]:.0%} of its training",
        )
        return [choice]

    def _scoring_s(self) -> float:
        """Return what scoring a training costs: once at least, with all recipes as a rule."""
        recipes = sorted(self.recipes, key=self.costs.build_and_score_s)
        is_needed = len(self.ledger.full_trainings) < self.settings.min_full
        return self.costs.score_all_s(recipes[:1] if is_needed else recipes)

    @cached_property
    def _outlooks(self) -> dict[str, Outlook]:
        sound = [t for t in self.ledger.trainings.values() if t.failure is None]
        return final_outlooks(sound)

    @cached_property
    def _best(self) -> float:
        """Return the lowest log loss of a finished training; the best guess before that."""
        outlooks = self._outlooks
        full = [t.name for t in self.ledger.full_trainings]
        known = [outlooks[name].mean for name in full if name in outlooks]
        return min(known or [outlook.mean for outlook in outlooks.values()] or [0.0])
