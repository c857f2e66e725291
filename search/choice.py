"""Which of several scored candidates to hand over: accuracy first, of equals the cheaper.

Equal means: within one percentage point *and* no significant paired difference
(exact McNemar on the same rows). Either alone is too generous, since with 190
rows 0.96 against 0.90 can be insignificant. Of plain text the perplexity counts: equal is
then one per cent, and the same test on its tokens.

Cheaper means: another recipe that is measurably faster (by paired rounds of the
confirmation, by intervals of the census), or, where neither is, at least 2 % smaller
on disk. Two trainings of one recipe cost the same; between them accuracy decides, then
loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from autotune.candidate import Candidate
from autotune.constraint import Verdict
from autotune.measurement import Measurement

from .front import Point, pareto_front
from .latency import latency_of, typical_latency
from .ledger import Ledger, Score, untrained
from .settings import SearchSettings
from .verdicts import cost_verdict, meets_quality, to_minimise, total_violation

__all__ = ["Chooser"]

_SMALLER = 0.98


def _by_quality(score: Score) -> tuple[float, float, str]:
    return (score.badness, score.nll, score.candidate.name)


@dataclass(frozen=True, kw_only=True)
class Chooser:
    """Compares scored candidates by what the ledger knows of them."""

    settings: SearchSettings
    ledger: Ledger

    def contenders(self) -> list[Score]:
        """Return scores that may be handed over: the best of each recipe, then the rest.

        Untrained models and full trainings; partial ones only where none is full. All
        meet the bounds on quality, and none is known to break one on cost.
        """
        fit = sorted(
            (
                score
                for score in self._comparable()
                if self.verdict(score.candidate) is not Verdict.FAIL
                and meets_quality(self.settings.constraints, self.ledger.metrics(score.candidate))
            ),
            key=_by_quality,
        )
        leaders: dict[str, Score] = {}
        for score in fit:
            leaders.setdefault(score.candidate.recipe.name, score)
        first = self._ranked(leaders.values())
        return first + [score for score in fit if score not in first]

    def verdict(self, candidate: Candidate) -> Verdict:
        """Judge a candidate's cost by its own confirmation, else by its recipe's census."""
        return cost_verdict(self.settings.constraints, self.ledger.costs(candidate))

    def best_of(self, candidates: Callable[[Candidate], bool]) -> Candidate | None:
        """Return who would be handed over of the trained ones for which ``candidates`` holds."""
        scores = [
            score
            for score in self.contenders()
            if score.candidate.adapter is not None and candidates(score.candidate)
        ]
        return self._ranked(scores)[0].candidate if scores else None

    def _ranked(self, scores: Iterable[Score]) -> list[Score]:
        """Return ``scores`` in the order in which they would be chosen."""
        left = sorted(scores, key=_by_quality)
        order = []
        while left:
            order.append(self._best(left))
            left.remove(order[-1])
        return order

    def front(self) -> tuple[Candidate, ...]:
        """Return the Pareto front of everything scored, feasible candidates first.

        Over the objectives and size, as far as all were measured by them. Latencies are
        those of the census: all recipes in one session, and equal for the candidates of
        one recipe.
        """
        found = {score.candidate: self._for_front(score) for score in self._comparable()}
        wanted = dict.fromkeys((*self.settings.objectives, "size"))
        names = [name for name in wanted if all(name in metrics for metrics in found.values())]
        points = [
            Point(
                candidate=candidate,
                values=tuple(to_minimise(name, metrics[name].value) for name in names),
                feasible=self.is_feasible(candidate),
            )
            for candidate, metrics in found.items()
        ]
        return tuple(point.candidate for point in pareto_front(points))

    def _for_front(self, score: Score) -> dict[str, Measurement]:
        costs = self.ledger.census_costs(score.candidate.recipe)
        latency = latency_of(costs)
        return costs | score.metrics | ({"latency.p95": latency} if latency else {})

    def is_feasible(self, candidate: Candidate) -> bool:
        """Whether every bound is certainly met on cost, and by the estimate on quality."""
        quality = meets_quality(self.settings.constraints, self.ledger.metrics(candidate))
        return quality and self.verdict(candidate) is Verdict.PASS

    def nearest_miss(self) -> Candidate | None:
        """Return the scored candidate with the least total violation, the best of equals.

        A trained one where there is any. A cost that spans its bound counts with its
        estimate.
        """
        scores = self._comparable()
        scores = [score for score in scores if score.candidate.adapter] or scores
        if not scores:
            return None
        bounds = self.settings.constraints
        misses = [(total_violation(bounds, self.ledger.metrics(s.candidate)), s) for s in scores]
        return min(misses, key=lambda miss: (miss[0], _by_quality(miss[1])))[1].candidate

    def _comparable(self) -> list[Score]:
        """Return scores with a timed recipe that stand on an equal footing."""
        scores = [
            score
            for score in self.ledger.scores.values()
            if untrained(score.candidate.recipe).name in self.ledger.census
        ]
        has_full = any(score.candidate.fraction == 1 for score in scores)
        return [s for s in scores if not has_full or s.candidate.fraction in (0, 1)]

    def _best(self, scores: Sequence[Score]) -> Score:
        """Return the choice among ``scores``, which are sorted by quality."""
        top = chosen = scores[0]
        for score in scores[1:]:
            if self._is_equal(top, score) and self._is_cheaper(score, chosen):
                chosen = score
        return chosen

    def _is_equal(self, top: Score, other: Score) -> bool:
        # A tolerance for the rounding of shares: 0.97 - 0.96 is 0.010000000000000009.
        if other.behind(top) > self.settings.equal_accuracy + 1e-9:
            return False
        return self.p_value(top, other) >= self.settings.significance

    def p_value(self, first: Score, second: Score) -> float:
        """Return p of equal accuracy on the rows that both were scored on; 1 without any.

        The census scores untrained models on the first rows of the split only.
        """
        from autotune.evaluators import mcnemar_exact  # noqa: PLC0415 - loads numpy

        common = min(len(first.correct), len(second.correct))
        if not common:
            return 1.0
        return mcnemar_exact(first.correct[:common], second.correct[:common])

    def _is_cheaper(self, score: Score, other: Score) -> bool:
        if score.candidate.recipe == other.candidate.recipe:
            return False
        from autotune.evaluators import tell_apart  # noqa: PLC0415 - loads numpy

        fast, slow = self._latencies(score.candidate, other.candidate)
        if fast and slow and (speed := tell_apart(fast, slow)) != "same":
            return speed == "faster"
        sizes = [self.ledger.metrics(s.candidate).get("size") for s in (score, other)]
        return bool(sizes[0] and sizes[1] and sizes[0].value < _SMALLER * sizes[1].value)

    def _latencies(self, first: Candidate, second: Candidate) -> list[Measurement | None]:
        """Return both latencies from one session: the confirmation if it had both."""
        both = (first, second)
        if all(candidate.name in self.ledger.confirmed for candidate in both):
            return [typical_latency(self.ledger.confirmed[candidate.name]) for candidate in both]
        return [typical_latency(self.ledger.census_costs(candidate.recipe)) for candidate in both]
