"""Turns what the ledger holds into trials of the study: values, constraints, outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autotune.candidate import AdapterConfig, Candidate, Recipe
from autotune.errors import RunError
from autotune.measurement import Measurement
from autotune.steps import TrainStep

from .latency import latency_of
from .ledger import Ledger
from .reach import seen_costs
from .settings import SearchSettings
from .standing import CensusEntry
from .study import StudyRecord
from .verdicts import cost_constraints, violations

__all__ = ["TrialRecorder"]

_SHOWN = ("accuracy", "macro_f1", "perplexity", "nll", "size", "memory")


@dataclass(frozen=True, kw_only=True)
class TrialRecorder:
    """Writes the study of a run; called after the ledger has taken an outcome in."""

    settings: SearchSettings
    ledger: Ledger
    study: StudyRecord

    def infeasible(self, entry: CensusEntry) -> None:
        """Record a recipe that the census ruled out."""
        self.study.infeasible(
            entry.recipe,
            constraints=self._cost_violations(entry.recipe),
            reason=entry.reason,
        )

    def started(self, adapter: AdapterConfig, recipe: Recipe) -> None:
        """Record that a training began, as the trial of ``recipe``."""
        is_first = adapter in self.settings.first_configs
        self.study.started(
            adapter,
            recipe=recipe.name,
            constraints=self._cost_violations(recipe),
            origin="portfolio" if is_first else "search",
        )

    def trained(self, step: TrainStep) -> None:
        """Record a rung, or that the training failed."""
        training = self.ledger.trainings[step.adapter.name]
        if training.failure is None:
            nll = training.nll[step.fraction]
            self.study.reached(step.adapter, fraction=step.fraction, nll=nll)
        else:
            self.study.training_failed(
                step.adapter,
                outcome=training.failure.status.value,
                reason=training.failure.reason,
            )

    def scored(self, candidate: Candidate) -> None:
        """Record a candidate at the end of its training, scored or failed.

        Raises:
            RunError: an objective was not measured.
        """
        score = self.ledger.scores.get(candidate.name)
        if score is None:
            failure = self.ledger.failures[candidate.name]
            self.study.failed(candidate, outcome=failure.status, reason=failure.reason)
            return
        metrics = self.ledger.metrics(candidate)
        self.study.scored(
            candidate,
            metrics={
                name: self._objective(name, candidate).value for name in self.settings.objectives
            },
            constraints=violations(self.settings.constraints, metrics),
            facts={name: metrics[name].value for name in _SHOWN if name in metrics},
        )

    def _objective(self, metric: str, candidate: Candidate) -> Measurement:
        """Return a measured objective; a latency's median stands in for its percentile."""
        metrics = self.ledger.metrics(candidate)
        found = latency_of(metrics) if metric == "latency.p95" else metrics.get(metric)
        if found is None:
            raise RunError(
                f"{candidate.name} was measured without {metric}, which is an objective of this"
                " search; measure it, or leave it out of the objectives."
            )
        return found

    def _cost_violations(self, recipe: Recipe) -> Mapping[str, float]:
        bounds = cost_constraints(self.settings.constraints)
        return violations(bounds, seen_costs(self.settings, self.ledger, recipe))
