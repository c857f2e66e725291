"""``autotune measure MODEL_DIR --into RUN``: the target machine confirms what a run chose for it.

A run with ``--target-report`` chooses by the census of another machine. Here the chosen
model's own measurement from that machine takes the census's place in the run's report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autotune.bounds import check_measurable
from autotune.calibration import SessionNoise
from autotune.config import RunConfig
from autotune.constraint import Constraint, Verdict
from autotune.errors import OutputError, UsageError
from autotune.measure_model import MeasureRequest, measure_folder
from autotune.measured_folder import ModelFolder, open_folder
from autotune.measurement import Measurement
from autotune.narrate import print_report
from autotune.page import refresh_page
from autotune.plain import to_plain
from autotune.progress import Progress
from autotune.reports import (
    BoundVerdict,
    MeasureReport,
    Metric,
    ReportedModel,
    RunOutcome,
    RunReport,
    load_measure_report,
    load_report,
    write_json_atomic,
)
from autotune.target_report import COSTS
from autotune.targets import LocalExecutor, family_named, known_facts

__all__ = ["Confirmation", "confirmed", "run_confirm"]

_MACHINE = ("model", "usable_cores")


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """Where the measurement comes from and where it goes.

    Attributes:
        run: folder of the run; its ``report.json`` is replaced.
        source: record of ``autotune measure`` on the target machine; None measures here.
    """

    run: Path
    source: Path | None = None


def run_confirm(
    model_dir: Path,
    request: MeasureRequest,
    confirmation: Confirmation,
    *,
    output: Path | None,
    as_json: bool,
) -> int:
    """Judge a run by its model's measurement on the target machine; return the exit code.

    Args:
        model_dir: the run's model folder or a copy of it.
        request: how to measure; without data, the run's own data are taken.
        confirmation: which run, and a record taken before.
        output: file that keeps the measurement as well; must not exist.
        as_json: print the updated report as JSON.

    Returns:
        0 where the model meets every bound for sure, else 1.

    Raises:
        UsageError: the run, the model, the requests or the machine do not belong together.
        AutotuneError: as ``run_measure``.
    """
    if output is not None and output.exists():
        raise OutputError(f"{str(output)!r} exists and nothing is overwritten; name another.")
    run = confirmation.run
    config, report = RunConfig.load(run / "run.json"), load_report(run / "report.json")
    folder = open_folder(model_dir)
    if config.target_report is None:
        raise UsageError(
            f"--into takes a run made with --target-report, {str(run)!r} measured its models"
            " itself; leave --into out."
        )
    _check_folder(folder, report, run)
    if confirmation.source is not None:
        measured = load_measure_report(confirmation.source)
    else:
        bounds = [
            Constraint(metric=bound.metric_name, op=bound.op, bound=bound.value)
            for bound in report.constraints
        ]
        check_measurable(bounds, [_awaiting(report).recipe.provider])
        with LocalExecutor() as executor:
            asked = _on_data_of_the_run(request, config)
            measured = measure_folder(model_dir, asked, executor=executor, progress=Progress())
    if measured.model.digest != folder.digest:
        raise UsageError(
            f"{str(confirmation.source)!r} measured a model with the digest"
            f" {measured.model.digest[:12]!r}, {str(model_dir)!r} has {folder.digest[:12]!r};"
            " measure this folder on the target machine."
        )
    updated = confirmed(report, measured)
    if output is not None:
        write_json_atomic(output, to_plain(measured))
    write_json_atomic(run / "report.json", to_plain(updated))
    refresh_page(run, updated)
    print_report(updated, folder=run, as_json=as_json)
    return 0 if updated.outcome == "feasible" else 1


def _on_data_of_the_run(request: MeasureRequest, config: RunConfig) -> MeasureRequest:
    """Return ``request`` with the run's data where none were named."""
    if request.data or (request.prompt_tokens, request.new_tokens) != (None, None):
        return request
    return replace(
        request,
        data=config.data_path,
        validation_data=config.validation_data,
        test_data=config.test_data,
    )


def _awaiting(report: RunReport) -> ReportedModel:
    """Return the model that a run with another machine for target handed over."""
    model = report.chosen or report.nearest_miss
    was_judged = report.outcome in ("unconfirmed", "feasible", "infeasible", "uncertain")
    if model is None or model.model_dir is None or not was_judged:
        raise UsageError(
            f"--into takes a run that handed over a model, this one is {report.outcome!r} without"
            " one; run autotune --target-report first."
        )
    return model


def _check_folder(folder: ModelFolder, report: RunReport, run: Path) -> None:
    """Compare a model folder with what the run handed over.

    Raises:
        UsageError: it is another model.
    """
    model, told = _awaiting(report), folder.description
    ours = (model.name, report.created, report.seed)
    theirs = (told.name, told.created, told.seed) if told else (folder.name, "", None)
    original = run / str(model.model_dir)
    is_there = original.is_dir() and not original.samefile(folder.path)
    is_copy = not is_there or open_folder(original).digest == folder.digest
    if theirs != ours or not is_copy or not folder.checked_files:
        raise UsageError(
            f"{str(folder.path)!r} is not the model of {str(run)!r}: it is {theirs[0]!r} of"
            f" {theirs[1] or 'an unknown time'!r}, the run handed over {ours[0]!r} at {ours[1]!r};"
            f" name {str(original)!r} or an unchanged copy."
        )


def confirmed(report: RunReport, measured: MeasureReport) -> RunReport:
    """Return ``report`` judged by what its model showed on the target machine.

    The model stays the chosen one where it meets every bound for sure; otherwise it is
    the nearest miss.

    Raises:
        UsageError: other requests, another machine or another provider than the run's.
    """
    model = _awaiting(report)
    _check_measurement(report, model, measured)
    taken = f"measured on {measured.device}, {measured.created}"
    fresh = {
        name: replace(metric, measured_on=model.name, method=f"{taken}: {metric.method}")
        for name, metric in measured.metrics.items()
    }
    metrics = {**{n: m for n, m in model.metrics.items() if not _is_timed(n)}, **fresh}
    bounds = tuple(_judged(bound, metrics) for bound in report.constraints)
    outcome = _outcome(bounds)
    judged = replace(model, metrics=metrics, bounds=bounds, unmeasured=measured.unmeasured)
    is_met = outcome == "feasible"
    noise = f"; noise grade C: {'; '.join(measured.grade_reasons)}" if measured.grade == "C" else ""
    during = known_facts(measured.conditions.get("during", {}))
    return replace(
        report,
        noise=SessionNoise(grade=measured.grade, reasons=measured.grade_reasons, shares=during),
        outcome=outcome,
        chosen=judged if is_met else None,
        nearest_miss=None if is_met else judged,
        constraints=bounds,
        notes=(*report.notes, f"Confirmation: {outcome}, {model.name} {taken}{noise}."),
    )


def _is_timed(name: str) -> bool:
    """Whether a metric is one that the census told; the measurement replaces all of them."""
    return name.partition(".")[0] in COSTS


def _check_measurement(report: RunReport, model: ReportedModel, measured: MeasureReport) -> None:
    if measured.workload.digest != report.workload.digest:
        raise UsageError(
            f"The run is about the requests {report.workload.digest[:12]!r}, measured were"
            f" {measured.workload.digest[:12]!r}; measure with the run's --data and --template."
        )
    ours, theirs = _machine(report.hardware), _machine(measured.hardware)
    if ours != theirs:
        raise UsageError(
            f"The run is for {ours!r}, measured was on {theirs!r}; measure on the machine whose"
            " report the run took as --target-report."
        )
    provider = family_named(measured.target).provider
    if provider != model.recipe.provider:
        raise UsageError(
            f"The model is built for {model.recipe.provider!r}, measured was on {provider!r};"
            " name its --target."
        )


def _machine(hardware: Mapping[str, Any]) -> tuple[Any, ...]:
    processor = hardware.get("processor", {})
    return tuple(processor.get(name, {}).get("value") for name in _MACHINE)


def _judged(bound: BoundVerdict, metrics: Mapping[str, Metric]) -> BoundVerdict:
    metric = metrics.get(bound.metric_name)
    if metric is None:
        return replace(bound, verdict=None)
    constraint = Constraint(metric=bound.metric_name, op=bound.op, bound=bound.value)
    number = Measurement(
        metric=bound.metric_name,
        unit=metric.unit,
        value=metric.value,
        n=metric.n,
        ci95=metric.ci95,
    )
    return replace(bound, verdict=constraint.verdict(number))


def _outcome(bounds: tuple[BoundVerdict, ...]) -> RunOutcome:
    verdicts = {bound.verdict for bound in bounds}
    if Verdict.FAIL in verdicts:
        return "infeasible"
    return "feasible" if verdicts <= {Verdict.PASS} else "uncertain"
