"""What a planner may ask for and what comes back: plain data that a run records.

Steps and outcomes name models by candidate, never by path, so a record made on
one machine can be replayed on another. A run is the list of its events: the
planner's decisions are a pure function of the seed and of that list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Discriminator

from autotune.calibration import SessionNoise
from autotune.candidate import AdapterConfig, Candidate
from autotune.confusion import Confusion
from autotune.measurement import Measurement

__all__ = [
    "Done",
    "Event",
    "Lever",
    "LeverResult",
    "MeasureStep",
    "Outcome",
    "OutcomeStatus",
    "Purpose",
    "ScoreStep",
    "Step",
    "TestStep",
    "TrainStep",
    "Wait",
]


class OutcomeStatus(StrEnum):
    """How a step ended. None of the failures is ever replaced by a number."""

    MEASURED = "measured"
    INFEASIBLE = "infeasible"
    UNSUPPORTED = "unsupported"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"


Purpose = Literal["census", "recheck", "confirm"]


@dataclass(frozen=True, kw_only=True)
class TrainStep:
    """Train ``adapter`` up to ``fraction`` of its steps, going on from its last checkpoint.

    Measures ``nll`` on a fixed subset of the validation split, keyed by
    ``AdapterConfig.name``.
    """

    adapter: AdapterConfig
    fraction: float
    kind: Literal["train"] = "train"


@dataclass(frozen=True, kw_only=True)
class ScoreStep:
    """Merge, build and score ``candidate`` on the validation split.

    With an untrained candidate this is the first half of the census, on the first rows
    of the split. Measures ``accuracy``, ``nll``, ``size`` and, where the graph could be
    compared with its model, ``distortion``, keyed by ``Candidate.name``.
    """

    candidate: Candidate
    kind: Literal["score"] = "score"


@dataclass(frozen=True, kw_only=True)
class MeasureStep:
    """Time ``candidates`` on the workload: interleaved rounds, a fresh process per block.

    Attributes:
        candidates: distinct, all built before.
        rounds: blocks per candidate.
        purpose: census (screening), recheck (borderline) or confirm (finalists).
    """

    candidates: tuple[Candidate, ...]
    rounds: int
    purpose: Purpose = "census"
    kind: Literal["measure"] = "measure"


@dataclass(frozen=True, kw_only=True)
class TestStep:
    """Score the recorded choice and the baseline on the test split, once."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    chosen: Candidate
    baseline: Candidate
    kind: Literal["test"] = "test"


Step = Annotated[TrainStep | ScoreStep | MeasureStep | TestStep, Discriminator("kind")]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a step brought.

    Attributes:
        status: measured, or how it failed.
        reason: for people, where it failed or was refused.
        measurements: by model name (``Candidate.name``; ``AdapterConfig.name`` for a
            training), then by metric.
        correct: by model name, one character per row of the scored split ("1" right,
            "0" wrong), in the split's order; for paired tests.
        confusion: by model name, which label was answered for which; classification only.
        answers: by model name, what was said to each row of the test split, in order: a
            label's index, or text; of a ``TestStep`` only.
        losses: of a training, the mean loss per answer token of each step since its start,
            nats.
        stage_s: seconds of work per stage (finetune, merge, build, score, measure);
            a stage found in the store is not listed.
        reused: stages that the store already held.
        recorded_s: seconds that the artifact of a stage took when it was made, in this
            run or before, waiting left out; of a training those since its last rung.
        cost_s: wall time that the run paid, at least 0.
        notes: single facts for the report (tokens per second, predictions, ...).
        unmeasured: by model name, then by metric, why there is no such number.
        noise: how quiet the machine was while models were timed, else None.
    """

    status: OutcomeStatus
    reason: str = ""
    measurements: dict[str, dict[str, Measurement]] = field(default_factory=dict)
    correct: dict[str, str] = field(default_factory=dict)
    confusion: dict[str, Confusion] = field(default_factory=dict)
    answers: dict[str, list[int] | list[str]] = field(default_factory=dict)
    losses: tuple[float, ...] = ()
    stage_s: dict[str, float] = field(default_factory=dict)
    reused: tuple[str, ...] = ()
    recorded_s: dict[str, float] = field(default_factory=dict)
    cost_s: float = 0.0
    notes: dict[str, float | str] = field(default_factory=dict)
    unmeasured: dict[str, dict[str, str]] = field(default_factory=dict)
    noise: SessionNoise | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """A finished step of a run.

    Attributes:
        number: position in the run, from 0.
        step: what was asked.
        outcome: what came.
        started_s: seconds from the start of the run (pauses left out) to the step's start.
        elapsed_s: the same to its end; the planner's only clock.
        at: UTC time of its end, RFC 3339.
        why: the planner's reason for the step, for people.
        replayed: taken from the record of an identical run instead of being run.
    """

    number: int
    step: Step
    outcome: Outcome
    started_s: float
    elapsed_s: float
    at: str
    why: str = ""
    replayed: bool = False


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Nothing to start before a running step has come back."""


Lever = Literal["depth", "quantiser"]


@dataclass(frozen=True, kw_only=True)
class LeverResult:
    """What a lever of a search bought.

    Attributes:
        lever: decoder layers left out, or a quantiser in the training loop.
        best_with, best_without: the trained candidates that would be handed over where the
            lever had to be pulled, and where it could not; None where none qualifies.
        reason: why it was not pulled, empty where it was.
    """

    lever: Lever
    best_with: Candidate | None
    best_without: Candidate | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Done:
    """The search is over.

    Attributes:
        chosen: the model to hand over, or None.
        reason: why it ended and why this choice, in a sentence or two.
        front: candidates that no other beats, best first.
        nearest_miss: with ``chosen`` None, the candidate closest to the bounds, or None.
        levers: what each lever that this search had was worth.
    """

    chosen: Candidate | None
    reason: str
    front: tuple[Candidate, ...] = ()
    nearest_miss: Candidate | None = None
    levers: tuple[LeverResult, ...] = ()
