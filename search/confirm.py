"""The end of a search: measure the finalists again, choose, score the test split once.

Finalists are the best contenders of different recipes, so that a first choice that
breaks a bound when measured again has a replacement; at least one of them is
certain by the census where there is one. Verdicts come from the confirmation only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from autotune.candidate import Candidate, Recipe
from autotune.constraint import Verdict
from autotune.steps import Done, LeverResult, MeasureStep, Outcome, OutcomeStatus, TestStep
from autotune.units import format_duration

from .choice import Chooser
from .costs import CostModel, one_training_s, reserve_s
from .latency import latency_of
from .ledger import Ledger, Score, untrained
from .levers import lever_results
from .settings import SearchSettings

__all__ = ["ConfirmView"]

_MOST_TRIES = 2


@dataclass(frozen=True, kw_only=True)
class ConfirmView:
    """What the confirmation decides from; made anew for every decision.

    Attributes:
        why_ended: why the loop stopped, for people.
    """

    settings: SearchSettings
    ledger: Ledger
    costs: CostModel
    elapsed_s: float
    why_ended: str = ""

    def next(self) -> tuple[MeasureStep | TestStep | Done, str]:
        """Return the next step, or the end, with its reason."""
        if self.ledger.test:
            return self._tested(*self.ledger.test), "the choice is scored"
        if chosen := self._chosen():
            reason = f"score {chosen.name} and its baseline on the test split"
            return TestStep(chosen=chosen, baseline=self._baseline(chosen.recipe)), reason
        pending = self._pending()
        if pending and self._has_time(len(pending) + 1):
            return self._measure(pending)
        return self._nothing(), "no finalist holds"

    @property
    def chooser(self) -> Chooser:
        """Compares candidates."""
        return Chooser(settings=self.settings, ledger=self.ledger)

    def _chosen(self) -> Candidate | None:
        """Return the choice among confirmed finalists once none of them is outstanding."""
        confirmed = [
            score.candidate
            for score in self.chooser.contenders()
            if score.candidate.name in self.ledger.confirmed
            and self.chooser.verdict(score.candidate) is Verdict.PASS
            and self._is_answer(score)
        ]
        return confirmed[0] if confirmed and not self._outstanding() else None

    def _unconfirmed(self) -> list[Score]:
        """Return contenders that can still be confirmed.

        Where one candidate of a recipe was timed and did not hold, no other will.
        """
        return [
            score
            for score in self.chooser.contenders()
            if self._is_answer(score)
            and score.candidate.recipe.name not in self.ledger.confirmed_recipes
            and score.candidate.name not in self.ledger.failures
            and self.ledger.confirm_tries.get(score.candidate.name, 0) < _MOST_TRIES
        ]

    def _is_answer(self, score: Score) -> bool:
        """Whether it may be handed over: an untrained model only where training did harm.

        What no trained model holds when measured again is a near miss, and not made good
        by a model that cannot do the task.
        """
        if not self.settings.takes_untrained:
            return score.candidate.adapter is not None
        trained = [s.badness for s in self.ledger.scores.values() if s.candidate.adapter]
        useless = 0.0 if score.perplexity is None else math.inf
        return score.candidate.adapter is not None or score.badness < min(trained, default=useless)

    def _outstanding(self) -> list[Score]:
        """Return finalists whose common timing failed and who were not timed alone yet."""
        tries = self.ledger.confirm_tries
        return [score for score in self._unconfirmed() if tries.get(score.candidate.name)]

    def _pending(self) -> list[Score]:
        """Return who is to be confirmed next, the favourite first."""
        return self._outstanding()[:1] or self._finalists(self._unconfirmed())

    def _finalists(self, contenders: list[Score]) -> list[Score]:
        """Return the first of each recipe, then the rest, cut to the number of finalists.

        An untrained model takes the place of a trained one only where it leads.
        """
        first: dict[str, Score] = {}
        for score in contenders:
            first.setdefault(score.candidate.recipe.name, score)
        leaders = [s for s in first.values() if s.candidate.adapter or s is contenders[0]]
        others = [score for score in contenders if score not in leaders]
        others.sort(key=lambda score: score.candidate.adapter is None)
        finalists = (leaders + others)[: self.settings.finalists]
        certain = [s for s in leaders if self.chooser.verdict(s.candidate) is Verdict.PASS]
        if certain and not any(score in certain for score in finalists):
            finalists[-1] = certain[0]
        return finalists

    def _measure(self, finalists: list[Score]) -> tuple[MeasureStep, str]:
        names = [score.candidate for score in finalists]
        candidates = tuple(dict.fromkeys([*names, self._baseline(names[0].recipe)]))
        step = MeasureStep(
            candidates=candidates, rounds=self.settings.confirm_rounds, purpose="confirm"
        )
        ended = f"{self.why_ended}; " if self.why_ended else ""
        return step, f"{ended}measure {len(finalists)} finalists and the baseline again"

    def _baseline(self, recipe: Recipe) -> Candidate:
        """Return the untrained model to compare with: the whole one where it was timed."""
        whole = untrained(replace(recipe, layers=None))
        return whole if whole.name in self.ledger.census else untrained(recipe)

    def _has_time(self, n_models: int) -> bool:
        """Whether another confirmation fits; the first one always takes place."""
        if self.settings.budget_s is None or not self.ledger.confirm_tries:
            return True
        seconds = self.costs.measure_s(n_models, self.settings.confirm_rounds)
        return self.elapsed_s + seconds + self.costs.test_s() <= self.settings.budget_s

    def _tested(self, step: TestStep, outcome: Outcome) -> Done:
        if outcome.status is not OutcomeStatus.MEASURED:
            reason = f"scoring the choice on the test split failed ({outcome.status}:"
            reason += f" {outcome.reason}); without it nothing is handed over"
            return Done(chosen=None, reason=reason, nearest_miss=step.chosen)
        return Done(
            chosen=step.chosen,
            reason=self._why(step.chosen),
            front=self.chooser.front(),
            levers=self._levers(),
        )

    def _why(self, chosen: Candidate) -> str:
        score = self.ledger.scores[chosen.name]
        latency = latency_of(self.ledger.costs(chosen))
        untouched = "" if self.ledger.trainings else self._why_untrained()
        speed = f" and {latency.metric} {format_duration(latency.value)}" if latency else ""
        quality = f"accuracy {score.accuracy:.3f}"
        if score.perplexity is not None:
            quality = f"perplexity {score.perplexity:.3f}"
        text = f"{chosen.name} has validation {quality}{speed}{untouched}"
        better = [s for s in self.chooser.contenders() if s.badness < score.badness]
        if any(self.chooser.verdict(s.candidate) is Verdict.PASS for s in better):
            text += "; more accurate candidates are not measurably better and cost more"
        favourite = self.ledger.favourite
        if favourite is not None and favourite != chosen:
            text += f"; {favourite.name} led before the confirmation, {self._why_not(favourite)}"
        return text

    def _why_untrained(self) -> str:
        """Return why nothing was trained although recipes are left: only time can lack."""
        if self.settings.budget_s is None:
            return ""
        training_s = one_training_s(self.settings, self.costs)
        enough_s = self.elapsed_s + training_s + reserve_s(self.settings, self.costs)
        return (
            f"; nothing was trained, since the budget of {format_duration(self.settings.budget_s)}"
            f" left no time for a training and its build, about {format_duration(training_s)},"
            f" before the confirmation; allow {math.ceil(enough_s / 60)}m"
        )

    def _why_not(self, favourite: Candidate) -> str:
        if favourite.name not in self.ledger.confirmed:
            return "which it did not get through"
        verdict = self.chooser.verdict(favourite)
        if verdict is Verdict.PASS:
            return "where it turned out no cheaper than its equals"
        said = {Verdict.FAIL: "breaks", Verdict.UNCERTAIN: "no longer certainly meets"}
        return f"but {said[verdict]} the bounds when measured again"

    def _nothing(self) -> Done:
        reason = "no candidate meets every bound"
        if self.ledger.confirmed:
            reason = "no finalist certainly meets every bound when measured again"
        elif self.ledger.confirm_tries:
            reason = "no finalist could be measured again"
        ended = f"{self.why_ended}; " if self.why_ended else ""
        return Done(
            chosen=None,
            reason=f"{ended}{reason}",
            front=self.chooser.front(),
            nearest_miss=self.chooser.nearest_miss(),
            levers=self._levers(),
        )

    def _levers(self) -> tuple[LeverResult, ...]:
        return lever_results(self.settings, self.ledger, self.chooser)
