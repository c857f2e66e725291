"""trials.jsonl: one JSON line per finished trial, failed ones with their own outcome.

A trial of a trained model ends when it is scored; one of an untrained model ends
with its census, which times it. Trials are a pure function of a run's events, so a
resumed run writes each of them exactly once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from autotune.candidate import UNTRAINED, AdapterConfig, Candidate, Recipe
from autotune.errors import ReplayError
from autotune.measurement import Measurement
from autotune.plain import first_problem, from_plain, to_plain
from autotune.steps import Event, MeasureStep, OutcomeStatus, ScoreStep, TrainStep

from .assemble import untrained_twin
from .durable import append_json_line, read_json_lines
from .redact import redact_text

__all__ = ["Trial", "TrialLog", "TrialOrigin", "trials_of"]


@dataclass(frozen=True, kw_only=True)
class TrialOrigin:
    """What all trials of a run share.

    Attributes:
        versions: of the libraries that shape the result.
        device: the target's name and model, for people.
        seed: of the run.
    """

    versions: dict[str, str]
    device: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A candidate evaluated, or a training that failed (it has no recipe then).

    Attributes:
        number: position in the file, from 0.
        name: of the model (``training/recipe``), or of the training that failed.
        adapter: how it was trained; null is the untrained model.
        fraction: share of the training steps, 0 for untrained.
        recipe: how it was built; null for a training that failed.
        outcome: measured, or how it failed.
        reason: of a failure, for people.
        measurements: of this very model, by metric, with raw samples.
        recipe_measurements: timings of the untrained model with the same recipe,
            which this one shares, by metric.
        stage_s: seconds of work per stage.
        reused: stages taken from the store.
        cost_s: wall time that the run paid.
        event: number of the event that ended it.
        at: UTC time of its end, RFC 3339.
    """

    schema: Literal["autotune.trial"] = "autotune.trial"
    schema_version: Literal["1.0"] = "1.0"
    number: int
    name: str = ""
    adapter: AdapterConfig | None
    fraction: float
    recipe: Recipe | None
    outcome: OutcomeStatus
    reason: str = ""
    measurements: dict[str, Measurement] = field(default_factory=dict)
    recipe_measurements: dict[str, Measurement] = field(default_factory=dict)
    stage_s: dict[str, float] = field(default_factory=dict)
    reused: tuple[str, ...] = ()
    cost_s: float = 0.0
    event: int
    at: str
    versions: dict[str, str]
    device: str
    seed: int


class _Ledger:
    """Turns events into trials, in order."""

    def __init__(self, origin: TrialOrigin) -> None:
        self._origin = origin
        self._waiting: dict[str, Event] = {}  # scored untrained models, census outstanding
        self._timings: dict[str, dict[str, Measurement]] = {}
        self.trials: list[Trial] = []

    def take(self, event: Event) -> None:
        is_measured = event.outcome.status is OutcomeStatus.MEASURED
        match event.step:
            case TrainStep(adapter=adapter, fraction=fraction) if not is_measured:
                self._add(event, adapter=adapter, fraction=fraction, recipe=None)
            case ScoreStep(candidate=candidate):
                if is_measured and candidate.adapter is None:
                    self._waiting[candidate.name] = event
                else:
                    self._end(event, candidate, event.outcome.measurements)
            case MeasureStep(candidates=candidates):
                for candidate in candidates:
                    self._take_timing(event, candidate)
            case _:
                pass

    def _take_timing(self, event: Event, candidate: Candidate) -> None:
        timings = event.outcome.measurements.get(candidate.name, {})
        self._timings.setdefault(candidate.name, {}).update(timings)
        is_over = bool(timings) or event.outcome.status is not OutcomeStatus.MEASURED
        if is_over and candidate.name in self._waiting:
            scored = self._waiting.pop(candidate.name).outcome.measurements
            merged = {**scored.get(candidate.name, {}), **timings}
            self._end(event, candidate, {candidate.name: merged})

    def _end(
        self,
        event: Event,
        candidate: Candidate,
        measurements: Mapping[str, dict[str, Measurement]],
    ) -> None:
        shared = self._timings.get(untrained_twin(candidate).name, {})
        self._add(
            event,
            adapter=candidate.adapter,
            fraction=candidate.fraction,
            recipe=candidate.recipe,
            measurements=measurements.get(candidate.name, {}),
            recipe_measurements=dict(shared) if candidate.adapter is not None else {},
        )

    def _add(
        self,
        event: Event,
        *,
        adapter: AdapterConfig | None,
        fraction: float,
        recipe: Recipe | None,
        measurements: dict[str, Measurement] | None = None,
        recipe_measurements: dict[str, Measurement] | None = None,
    ) -> None:
        outcome, origin = event.outcome, self._origin
        self.trials.append(
            Trial(
                number=len(self.trials),
                name=_name(adapter, fraction, recipe),
                adapter=adapter,
                fraction=fraction,
                recipe=recipe,
                outcome=outcome.status,
                reason=redact_text(outcome.reason),
                measurements=measurements or {},
                recipe_measurements=recipe_measurements or {},
                stage_s=outcome.stage_s,
                reused=outcome.reused,
                cost_s=outcome.cost_s,
                event=event.number,
                at=event.at,
                versions=origin.versions,
                device=origin.device,
                seed=origin.seed,
            )
        )


def _name(adapter: AdapterConfig | None, fraction: float, recipe: Recipe | None) -> str:
    if recipe is not None:
        return Candidate(adapter=adapter, fraction=fraction, recipe=recipe).name
    return adapter.name if adapter is not None else UNTRAINED


def trials_of(events: Sequence[Event], origin: TrialOrigin) -> list[Trial]:
    """Return the trials that ended within ``events``, in order."""
    ledger = _Ledger(origin)
    for event in events:
        ledger.take(event)
    return ledger.trials


class TrialLog:
    """The trials in the file ``path``; the file need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, trial: Trial) -> None:
        """Write ``trial`` at the end, whole or not at all, and sync it to disk.

        Raises:
            OutputError: the file cannot be written or the disk is full.
        """
        append_json_line(self.path, to_plain(trial))

    def catch_up(self, trials: Sequence[Trial]) -> list[Trial]:
        """Append those of ``trials`` (of ``trials_of``) that the file lacks; return them."""
        missing = list(trials[len(self.read()) :])
        for trial in missing:
            self.append(trial)
        return missing

    def read(self) -> list[Trial]:
        """Return the trials in order; a torn last line never happened.

        Raises:
            ReplayError: a damaged line or another schema version.
        """
        trials = []
        for number, line in enumerate(read_json_lines(self.path), start=1):
            try:
                trials.append(from_plain(Trial, line))
            except ValidationError as error:
                raise ReplayError(
                    f"Line {number} of {str(self.path)!r} is no trial of version"
                    f" {Trial.schema_version} ({first_problem(error)}); restore the file or"
                    " read it with the version of autotune that wrote it."
                ) from error
        return trials
