"""eval_results.json and provenance.json of a deploy folder: its numbers, and what made it.

Published as ``schemas/eval-1.0.json`` and ``schemas/provenance-1.0.json``. autotune.json is
what runs the model; these two are for whoever ranks models or has to account for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from autotune.calibration import SessionNoise
from autotune.candidate import AdapterConfig, Recipe
from autotune.confusion import Confusion

from .run_report import (
    BoundVerdict,
    LayersKept,
    ModelFacts,
    ReportedModel,
    RunReport,
    Split,
    TaskFacts,
    WorkloadFacts,
)

__all__ = ["EvalResult", "EvalResults", "Provenance", "eval_results", "provenance"]


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """A number of one model.

    Attributes:
        role: ``model`` is the one in the folder, ``baseline`` the untrained one beside it.
        name: of that model, ``training/recipe``.
        metric: ``accuracy``, ``latency.p95``, ...
        value: in ``unit``.
        unit: ``s``, ``B``, ``J``, ``1`` (a share or count) or ``nat``.
        n: independent samples behind it.
        ci95: 95 % confidence interval (low, high), or null where none is defined.
        split: rows it was taken on, for metrics of answers.
        measured_on: model that was measured, where it is another one that runs equally.
        method: how it was taken, for people.
    """

    role: Literal["model", "baseline"]
    name: str
    metric: str
    value: float
    unit: str
    n: int
    ci95: tuple[float, float] | None
    split: Split | None
    measured_on: str
    method: str


@dataclass(frozen=True, kw_only=True)
class EvalResults:
    """Everything that was measured of a model.

    Attributes:
        schema: names the document.
        schema_version: of this form.
        created: UTC time, RFC 3339.
        task: the data and what is asked.
        workload: what the times are of.
        device: the machine that they were taken on.
        noise: how quiet it was; null where nothing was timed here.
        constraints: bounds of the run with the verdicts on the model.
        results: of the model, then of the baseline.
        confusion: of the model on the rows of its accuracy; null where the task has no labels.
    """

    schema: Literal["autotune.eval"] = "autotune.eval"
    schema_version: Literal["1.0"] = "1.0"
    created: str
    task: TaskFacts
    workload: WorkloadFacts
    device: str
    noise: SessionNoise | None
    constraints: tuple[BoundVerdict, ...]
    results: tuple[EvalResult, ...]
    confusion: Confusion | None


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What made a model.

    Attributes:
        schema: names the document.
        schema_version: of this form.
        created: UTC time, RFC 3339.
        name: ``training/recipe``.
        base_model: with its revision or digest and its licence.
        data: digest, source and sizes of the data and its splits.
        workload: digest of the timed requests.
        adapter: how it was trained, or null.
        fraction: share of the training steps that were done.
        layers_kept: which layers of the base model it has, null for all of them.
        recipe: how it was built.
        seed: of split, search and training.
        command: of the run, credentials replaced.
        versions: of the libraries that shape the result.
        device: the target machine in a few words.
        hardware: its facts.
        decision: why this model.
    """

    schema: Literal["autotune.provenance"] = "autotune.provenance"
    schema_version: Literal["1.0"] = "1.0"
    created: str
    name: str
    base_model: ModelFacts
    data: TaskFacts
    workload: str
    adapter: AdapterConfig | None
    fraction: float
    layers_kept: LayersKept | None = None
    recipe: Recipe
    seed: int
    command: tuple[str, ...]
    versions: dict[str, str]
    device: str
    hardware: dict[str, Any]
    decision: str


def _results(role: Literal["model", "baseline"], model: ReportedModel) -> Iterator[EvalResult]:
    for name, metric in model.metrics.items():
        yield EvalResult(
            role=role,
            name=model.name,
            metric=name,
            value=metric.value,
            unit=metric.unit,
            n=metric.n,
            ci95=metric.ci95,
            split=metric.split,
            measured_on=metric.measured_on or model.name,
            method=metric.method,
        )


def _chosen(report: RunReport) -> ReportedModel:
    if report.chosen is None:
        raise ValueError("a model folder is written for a chosen model, the report has none")
    return report.chosen


def eval_results(report: RunReport) -> EvalResults:
    """Return the numbers of the chosen model and its baseline.

    Raises:
        ValueError: the report chose none.
    """
    chosen, baseline = _chosen(report), report.baseline
    return EvalResults(
        created=report.created,
        task=report.task,
        workload=report.workload,
        device=report.device,
        noise=report.noise,
        constraints=report.constraints,
        results=(
            *_results("model", chosen),
            *(_results("baseline", baseline) if baseline is not None else ()),
        ),
        confusion=chosen.confusion,
    )


def provenance(report: RunReport, layers_kept: LayersKept | None = None) -> Provenance:
    """Return what made the chosen model.

    Raises:
        ValueError: the report chose none.
    """
    chosen = _chosen(report)
    return Provenance(
        created=report.created,
        name=chosen.name,
        base_model=report.model,
        data=report.task,
        workload=report.workload.digest,
        adapter=chosen.adapter,
        fraction=chosen.fraction,
        layers_kept=layers_kept,
        recipe=chosen.recipe,
        seed=report.seed,
        command=report.command,
        versions=report.versions,
        device=report.device,
        hardware=report.hardware,
        decision=report.decision,
    )
