"""What to train, how far, and what to build: the search proper.

Order of decisions: score what is trained to the end; bring the first config to
the end (the prior is right in most cases, and a run that has a model is a run
that can be stopped); start ``min_started`` configs; bring ``min_full`` to the end;
then whatever promises the most improvement of the final loss for its remaining
cost, ``gain / cost ** eta``, where ``eta`` is the share of the budget still left,
so that cost counts early and gain alone at the end (cost cooling, 2003.10870).

Nothing is begun that could not be finished, scored and confirmed in time.

Depths and quantisers in the loop are arms: each is begun with the config that did best so
far, so that a first rung tells what the lever is worth, and losses of arms are compared with
what building adds to them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from autotune.candidate import AdapterConfig, Candidate, Recipe
from autotune.steps import OutcomeStatus, ScoreStep

from .arms import WHOLE, Arm
from .costs import CostModel, reserve_s
from .gaps import Gaps
from .ledger import Ledger, Training
from .outlook import (
    Outlook,
    expected_improvement,
    final_outlooks,
    new_outlook,
    untried_outlook,
)
from .settings import SearchSettings
from .training_choice import TrainingChoice

__all__ = ["LoopView"]

# The first scores of a run may eat into the tolerance of the budget (10 %): without
# them the training is lost.
_FIRST_SCORE_SLACK = 1.06
# Of the log loss, by which a build may be worse than the best one and is still made.
_LITTLE_MORE = 0.02
# Failures after which a lever that was asked for is no longer insisted on.
_MOST_FAILURES = 2


@dataclass(frozen=True, kw_only=True)
class LoopView:
    """What the loop decides from; made anew for every decision.

    Attributes:
        recipes: those that trainings are built with, at least one.
        certain: those of them that meet every bound on cost for sure.
        arms: what may be trained, those to begin with first.
        open_arms: arms with configs left to try.
        owes_depth: no whole model has room below the bounds, so one cut model is wanted.
    """

    settings: SearchSettings
    ledger: Ledger
    costs: CostModel
    recipes: tuple[Recipe, ...]
    elapsed_s: float
    certain: tuple[Recipe, ...] = ()
    arms: tuple[Arm, ...] = (WHOLE,)
    open_arms: tuple[Arm, ...] = (WHOLE,)
    owes_depth: bool = False

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
        served = [
            Candidate(adapter=adapter, fraction=fraction, recipe=recipe)
            for recipe in self._worth_building(Arm.of(adapter))
        ]
        due = [one for one in served if not self.ledger.has_result(one.training, one.recipe)]
        due.sort(key=lambda one: (self.costs.build_and_score_s(one.recipe), one.recipe.name))
        return due

    def _served(self, arm: Arm) -> list[Recipe]:
        return [recipe for recipe in self.recipes if arm.serves(recipe)]

    def _worth_building(self, arm: Arm) -> list[Recipe]:
        """Return the recipes to build a training of ``arm`` with.

        With a quantiser in the loop, those of others only until one build has shown that
        they lose more.
        """
        served = self._served(arm)
        if arm.quantiser is None:
            return served
        seen = {recipe: self._gaps.known(arm, recipe) for recipe in served}
        best = min((gap for gap in seen.values() if gap is not None), default=0.0)
        return [r for r in served if (gap := seen[r]) is None or gap <= best + _LITTLE_MORE]

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
        owed = self._owed(go_on, start)
        by_value = sorted(start, key=self._value, reverse=True)
        if self._n_sound < self.settings.min_started and start:
            return [*owed, *by_value, *go_on]
        if n_full < self.settings.min_full:
            return [*owed, *go_on, *by_value]
        worth = [c for c in (*go_on, *start) if c.gain >= self.settings.min_gain]
        return [*owed, *sorted(worth, key=self._value, reverse=True)]

    def _owed(
        self, go_on: Sequence[TrainingChoice], start: Sequence[TrainingChoice]
    ) -> list[TrainingChoice]:
        """Return how to come to one finished training of each lever that has to be tried."""
        choices = []
        for arms in self._wanted():
            tried = [t for t in self.ledger.trainings.values() if Arm.of(t.adapter) in arms]
            has_failed = sum(t.failure is not None for t in tried) >= _MOST_FAILURES
            if has_failed or any(t.is_full for t in tried):
                continue
            choices += [choice for choice in (*go_on, *start) if choice.arm in arms][:1]
        return choices

    def _wanted(self) -> list[list[Arm]]:
        """Return groups of arms of which one training each is to be finished.

        Of every depth that the user asked for; of those that meet the bounds for sure where no
        whole model does, since what a cut costs shows after the training only; of the deepest
        where whole models are close to a bound. Of quantisers that were asked for, the one that
        rounding costs most.
        """
        depths = dict.fromkeys(arm.layers for arm in self.arms if arm.layers is not None)
        certain = {recipe.layers for recipe in self.certain}
        n_wanted = len(depths) if self.settings.asks_depth else int(self.owes_depth)
        if not self.settings.asks_depth and certain and None not in certain:
            n_wanted = max(n_wanted, sum(depth in certain for depth in depths))
        wanted = list(depths)[:n_wanted]
        groups = [[arm for arm in self.arms if arm.layers == depth] for depth in wanted]
        aware = [arm for arm in self.arms if arm.quantiser is not None]
        if aware and self.settings.asks_quantiser:
            groups.append([max(aware, key=self._gaps.rounding)])
        return groups

    @property
    def _n_sound(self) -> int:
        return sum(training.failure is None for training in self.ledger.trainings.values())

    def _value(self, choice: TrainingChoice) -> float:
        # A base is there for all that follow: one training's gain need not pay for it.
        cost_s = choice.cost_s - choice.base_s
        return choice.gain / math.pow(max(cost_s, 1e-9), self.share_left)

    def _promotions(self) -> list[TrainingChoice]:
        """Return the next rung of every unfinished training, most promising first."""
        outlooks = self._outlooks
        unfinished = [t for t in self.ledger.trainings.values() if t.can_go_on and t.nll]
        ranked = sorted(unfinished, key=lambda t: outlooks[t.name].mean)
        return [self._promotion(t, outlooks[t.name]) for t in ranked]

    def _promotion(self, training: Training, outlook: Outlook) -> TrainingChoice:
        target = min(rung for rung in self.settings.rungs if rung > training.fraction)
        arm = Arm.of(training.adapter)
        cost = self.costs.train_s(training.adapter, training.fraction, 1.0)
        return TrainingChoice(
            adapter=training.adapter,
            target=target,
            gain=expected_improvement(outlook, self._best),
            cost_s=cost + self._scoring_s(arm),
            reason=f"{training.name} looks best for its cost: train it to {target:.0%}",
            arm=arm,
        )

    def _starts(self) -> list[TrainingChoice]:
        """Return a new config of every arm that has some left."""
        limit = self.settings.max_trials
        if limit is not None and len(self.ledger.trainings) >= limit:
            return []
        return [self._start(arm) for arm in self.open_arms]

    def _start(self, arm: Arm) -> TrainingChoice:
        target = self.settings.rungs[0]
        label = f" ({arm.label})" if arm.label else ""
        base_s = self.costs.base_s(arm)
        trained_s = self.costs.train_s(None, 0.0, 1.0, arm=arm)
        return TrainingChoice(
            adapter=None,
            target=target,
            gain=expected_improvement(self._new_outlook(arm), self._best),
            cost_s=base_s + trained_s + self._scoring_s(arm),
            base_s=base_s,
            reason=f"try a new configuration{label} for {target:.0%} of its training",
            arm=arm,
        )

    def _scoring_s(self, arm: Arm) -> float:
        """Return what scoring a training costs: once at least, with all recipes as a rule."""
        recipes = sorted(self._served(arm), key=self.costs.build_and_score_s)
        is_needed = len(self.ledger.full_trainings) < self.settings.min_full
        return self.costs.score_all_s(recipes[:1] if is_needed else recipes)

    # Beliefs

    @cached_property
    def _gaps(self) -> Gaps:
        return Gaps(
            ledger=self.ledger,
            arms=self.arms,
            recipes=self.recipes,
            whole=self.settings.whole_recipes,
        )

    @cached_property
    def _trained(self) -> dict[str, Outlook]:
        """Beliefs about what trainings end with."""
        sound = [t for t in self.ledger.trainings.values() if t.failure is None]
        return final_outlooks(sound)

    @cached_property
    def _outlooks(self) -> dict[str, Outlook]:
        """The same once they are built."""
        return {name: self._built(self._arms[name], one) for name, one in self._trained.items()}

    @cached_property
    def _arms(self) -> dict[str, Arm]:
        return {t.name: Arm.of(t.adapter) for t in self.ledger.trainings.values()}

    def _built(self, arm: Arm, outlook: Outlook) -> Outlook:
        return replace(outlook, mean=outlook.mean + self._gaps.of(arm))

    def _new_outlook(self, arm: Arm) -> Outlook:
        """Return the belief about a config of ``arm`` that was never trained.

        The first one of an arm is the best so far of the nearest other.
        """
        nearest = self._nearest_known(arm)
        known = [one for name, one in self._trained.items() if self._arms[name] == nearest]
        if nearest == arm:
            return self._built(arm, new_outlook(known))
        outlook = untried_outlook(
            min(known, key=lambda one: one.mean),
            dropped=self._kept(nearest) - self._kept(arm),
            doubt=self._gaps.doubt(arm),
        )
        return self._built(arm, outlook)

    def _nearest_known(self, arm: Arm) -> Arm:
        """Return the arm with trainings that says most about ``arm``; itself where none has any."""
        known = dict.fromkeys(self._arms[name] for name in self._trained)
        return min(
            known,
            key=lambda one: (
                abs(self._kept(one) - self._kept(arm)),
                one.quantiser != arm.quantiser,
                one.quantiser is not None,
            ),
            default=arm,
        )

    def _kept(self, arm: Arm) -> float:
        """Return the share of the layers that ``arm`` keeps."""
        total = self.settings.model_layers
        return 1.0 if arm.layers is None or total is None else arm.layers / total

    @cached_property
    def _best(self) -> float:
        """Return the lowest log loss of a finished training; the best guess before that.

        Of those that can be built to meet the bounds for sure, where there is one.
        """
        outlooks = self._outlooks
        full = [t.name for t in self.ledger.full_trainings if t.name in outlooks]
        sure = [name for name in full if any(map(self._arms[name].serves, self.certain))]
        known: Iterable[str] = sure or full or outlooks
        return min((outlooks[name].mean for name in known), default=0.0)
