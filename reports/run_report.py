"""report.json: the types of a run report, published as ``schemas/run-1.0.json``.

Everything a person or a program may want to know about a run stands here; tables
and pages are rendered from it. Times are in seconds, sizes in bytes, shares in
[0, 1]. Readers ignore keys they do not know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from autotune.calibration import SessionNoise
from autotune.candidate import AdapterConfig, Recipe
from autotune.confusion import Confusion
from autotune.constraint import Constraint, Verdict
from autotune.kinds import Kind
from autotune.steps import Lever, OutcomeStatus

from .documents import load_document

__all__ = [
    "BoundVerdict",
    "LayersKept",
    "Metric",
    "ModelFacts",
    "RefusedRecipe",
    "ReportedLever",
    "ReportedModel",
    "RunOutcome",
    "RunReport",
    "Split",
    "TaskFacts",
    "TimelineEntry",
    "WorkloadFacts",
    "load_report",
]

RunOutcome = Literal["feasible", "infeasible", "uncertain", "unconfirmed", "failed", "interrupted"]
Split = Literal["validation", "test"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A published number.

    Attributes:
        value: the estimate in ``unit``.
        unit: ``s``, ``B``, ``J``, ``1`` (a share or count) or ``nat``.
        n: independent samples behind it.
        ci95: 95 % confidence interval (low, high), or null where none is defined.
        split: rows it was taken on, for metrics of answers.
        measured_on: model that was measured; latency and memory of a trained model
            that was not timed itself are those of the untrained model built alike.
        event: number of the timeline entry that measured it.
        method: how it was taken, for people.
    """

    value: float
    unit: str
    n: int
    ci95: tuple[float, float] | None = None
    split: Split | None = None
    measured_on: str = ""
    event: int | None = None
    method: str = ""


@dataclass(frozen=True, kw_only=True)
class BoundVerdict:
    """A constraint and how a model meets it.

    Attributes:
        metric: ``latency``, ``accuracy``, ...
        statistic: ``p95`` and the like for timings, else null.
        op: ``<=`` or ``>=``.
        value: the bound in ``unit``.
        unit: base unit of the bound.
        verdict: null where the metric was not measured and its median decides nothing.
    """

    metric: str
    statistic: str | None
    op: Literal["<=", ">="]
    value: float
    unit: str
    verdict: Verdict | None

    @classmethod
    def of(cls, constraint: Constraint, verdict: Verdict | None) -> BoundVerdict:
        """Return ``constraint`` with the verdict on it."""
        metric, _, statistic = constraint.metric.partition(".")
        return cls(
            metric=metric,
            statistic=statistic or None,
            op=constraint.op,
            value=constraint.bound,
            unit=constraint.unit,
            verdict=verdict,
        )

    @property
    def metric_name(self) -> str:
        """Key of the metric in ``ReportedModel.metrics``: ``latency.p95``."""
        return f"{self.metric}.{self.statistic}" if self.statistic else self.metric


@dataclass(frozen=True, kw_only=True)
class ReportedModel:
    """A candidate with its numbers.

    Attributes:
        name: ``training/recipe``.
        training: name of the training, or ``untrained``.
        recipe_name: name of the recipe.
        model_dir: folder relative to the report, for the chosen model.
        recipe: how it is built.
        adapter: how it was trained, or null.
        fraction: share of the training steps that were done, 0 for untrained.
        metrics: by name (``latency.p95``).
        bounds: verdict on each constraint of the run, in its order.
        unmeasured: metrics that the machine could not tell, with the reason.
        confusion: which label was answered for which on the rows of its accuracy, by index
            into the task's labels; null where the task has none.
    """

    name: str
    training: str
    recipe_name: str
    model_dir: str | None = None
    recipe: Recipe
    adapter: AdapterConfig | None
    fraction: float
    metrics: dict[str, Metric]
    bounds: tuple[BoundVerdict, ...] = ()
    unmeasured: dict[str, str] = field(default_factory=dict)
    confusion: Confusion | None = None


@dataclass(frozen=True, kw_only=True)
class LayersKept:
    """The layers of the base model that a model has, where it lacks some.

    Attributes:
        kept: their numbers in the base model, from 0, rising; the model numbers them anew.
        of: layers of the base model.
        rule: that chose them.
        reason: what it saw, for people.
    """

    kept: tuple[int, ...]
    of: int
    rule: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """The base model.

    Attributes:
        spec: as the user named it; of a local file or folder its name.
        revision_or_digest: what pins it: a hub commit or the digest of its files.
        architecture: ``LlamaForCausalLM``, ...
        license: SPDX identifier in lower case where known, else empty.
        hub_id: ``owner/name`` on the Hugging Face hub where known, else empty.
        parameters: weights in the whole model, where counted.
    """

    spec: str
    revision_or_digest: str
    architecture: str
    license: str = ""
    hub_id: str = ""
    parameters: int | None = None


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """The data and what is asked of the model.

    Attributes:
        kind: what is asked of the model.
        template: as the user wrote it, escapes resolved.
        fields: names of the template's fields, the answer's last.
        labels: distinct answers, classification only.
        counts: rows per split (train, validation, test).
        digest: identifies data, template and split.
        source: file or data set the rows came from.
        repeats_removed: rows left out because their prompt occurs already.
        conflicts: prompts that occur with different answers.
        warnings: what a careful person would want to know about the data.
    """

    kind: Kind
    template: str
    fields: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    counts: dict[str, int]
    digest: str
    source: str = ""
    repeats_removed: int = 0
    conflicts: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WorkloadFacts:
    """The fixed requests that are timed.

    Attributes:
        digest: equal digests mean comparable latencies.
        requests: distinct requests in it.
        kind: what is asked of the model.
        statement: what is timed and what is not, in a sentence.
        prompt_tokens: mean of the requests, null where it is not known.
    """

    digest: str
    requests: int
    kind: Kind
    statement: str
    prompt_tokens: float | None = None


@dataclass(frozen=True, kw_only=True)
class ReportedLever:
    """What a lever of the search bought, by numbers of the search (validation split).

    Attributes:
        lever: ``depth`` (decoder layers left out) or ``quantiser`` (in the training loop).
        best_with, best_without: trained models that would be handed over where the lever had
            to be pulled, and where it could not; null where none meets the bounds.
        reason: why it was not pulled, empty where it was.
    """

    lever: Lever
    best_with: ReportedModel | None = None
    best_without: ReportedModel | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class RefusedRecipe:
    """A recipe that was left out before anything was built, with the reason."""

    name: str
    recipe: Recipe
    reason: str
    source: str


@dataclass(frozen=True, kw_only=True)
class TimelineEntry:
    """A finished step.

    Attributes:
        number: position in the run, from 0.
        kind: train, score, measure or test.
        name: the step in a few words.
        models: names of the models (or the training) it was about.
        started_s: seconds from the start of the run to its start.
        elapsed_s: the same to its end.
        cost_s: wall time that the run paid.
        status: how it ended.
        reused: stages taken from the store.
        why: the planner's reason for the step.
        reason: of a failure or refusal.
        replayed: taken from the record of an identical run.
        noise: how quiet the machine was; null where nothing was timed.
    """

    number: int
    kind: Literal["train", "score", "measure", "test"]
    name: str
    models: tuple[str, ...]
    started_s: float
    elapsed_s: float
    cost_s: float
    status: OutcomeStatus
    reused: tuple[str, ...] = ()
    why: str = ""
    reason: str = ""
    replayed: bool = False
    noise: SessionNoise | None = None


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """The record of a run.

    Attributes:
        schema: names the document.
        schema_version: of this form; another version is refused by ``load_report``.
        outcome: feasible (a model was handed over), infeasible, uncertain, unconfirmed
            (chosen by the census of another machine, not yet measured there), failed
            or interrupted.
        command: the command line as words, credentials replaced.
        seed: of split, search and training.
        created: UTC time, RFC 3339.
        versions: of the libraries that shape the result.
        model: the base model.
        task: the data.
        workload: what is timed.
        constraints: the bounds with the verdict on the chosen model, or else on the
            nearest miss.
        device: the target machine in a few words.
        hardware: facts of the target machine.
        refused: recipes left out, with the reason.
        baseline: the untrained model that the chosen one is compared with.
        chosen: the model handed over (accuracy on the test split, latency of the
            confirmation), or null.
        nearest_miss: with ``chosen`` null, the model closest to the bounds, or null.
        front: models that no other beats, best first (accuracy on the validation split).
        levers: what leaving layers out and a quantiser in the training loop bought.
        decision: why the search ended and why this choice.
        trials_file: journal of the trials, relative to the report.
        events_file: journal of the steps, relative to the report.
        timeline: every step in order.
        notes: single facts for people.
        noise: of the noisiest session that a published timing of the models above comes
            from; null where none was timed here.
    """

    schema: Literal["autotune.run"] = "autotune.run"
    schema_version: Literal["1.0"] = "1.0"
    outcome: RunOutcome
    command: tuple[str, ...]
    seed: int
    created: str
    versions: dict[str, str]
    model: ModelFacts
    task: TaskFacts
    workload: WorkloadFacts
    constraints: tuple[BoundVerdict, ...]
    device: str
    hardware: dict[str, Any]
    refused: tuple[RefusedRecipe, ...] = ()
    baseline: ReportedModel | None
    chosen: ReportedModel | None
    nearest_miss: ReportedModel | None = None
    front: tuple[ReportedModel, ...] = ()
    levers: tuple[ReportedLever, ...] = ()
    decision: str = ""
    trials_file: str = "trials.jsonl"
    events_file: str = "events.jsonl"
    timeline: tuple[TimelineEntry, ...] = ()
    notes: tuple[str, ...] = field(default=())
    noise: SessionNoise | None = None


def load_report(path: Path) -> RunReport:
    """Return the run report in the file ``path``.

    Raises:
        UsageError: missing, truncated, of another schema or version, or not of its form.
    """
    return load_document(path, RunReport)
