"""What a run ran on and everything that repeating it takes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from autotune.calibration import SessionNoise
from autotune.units import format_duration

from .floors import near_floors
from .hardware_report import HardwareReport, ReportedFact
from .hardware_sections import fact_text
from .page_parts import details, paragraphs, section, table
from .run_report import RunReport
from .wording import metric_title

__all__ = ["machine_section", "method_section"]

_NO_FLOORS = (
    "How near its floor the model runs is told with a calibration of this machine: autotune"
    " hardware, once; then autotune show RUN --page. One that was taken elsewhere is named with"
    " --hardware FILE."
)
_UNTOLD = (
    "How near its floor the model runs cannot be told: the record does not tell the lengths of the"
    " prompts, or the calibration has no rate for this recipe."
)
_UNKNOWN = ("unknown", "not_applicable")


def machine_section(report: RunReport, hardware: HardwareReport | None = None) -> str:
    """Return the machine with its facts, how quiet it was, and how near its floor models run."""
    rows = [(name, text) for name, text in _facts(report.hardware)]
    return section(
        "The machine",
        paragraphs([f"Target: {report.device}.", *_quiet(report.noise)]),
        _floors(report, hardware),
        details(f"Table: {len(rows)} facts", table(("fact", "value"), rows)),
        anchor="machine",
    )


def _floors(report: RunReport, hardware: HardwareReport | None) -> str:
    """Return the medians beside the shortest times that the device allows."""
    if hardware is None:
        return paragraphs([_NO_FLOORS])
    near = near_floors(report, hardware)
    if not near:
        return paragraphs([_UNTOLD])
    rows = [
        (
            one.model,
            metric_title(one.metric),
            format_duration(one.measured_s),
            format_duration(one.floor_s),
            f"{one.times:.1f}",
        )
        for one in near
    ]
    columns = ("model", "", "measured", "floor", "times the floor")
    best = near[0]
    lead = (
        f"The median of {best.model} is {best.times:.1f} times the shortest that this device"
        f" allows, by the rates in the report of {hardware.created}: arithmetic for a prompt,"
        " reading the weights for a generated token."
    )
    return paragraphs([lead]) + table(columns, rows)


def _quiet(noise: SessionNoise | None) -> Iterator[str]:
    if noise is None:
        yield "Nothing was timed here, or the record does not tell how quiet the machine was."
        return
    shares = ", ".join(f"{name} {share:.1%}" for name, share in noise.shares.items())
    reasons = "; ".join(noise.reasons)
    yield (
        f"Noise while timing: grade {noise.grade} of A (quiet) to C (noisy)"
        f"{f', since {reasons}' if reasons else ''}{f' ({shares})' if shares else ''}."
    )


def _facts(hardware: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted names with values in words; what is unknown is left out."""
    for name, value in hardware.items():
        if not isinstance(value, dict):
            yield prefix + name, str(value)
        elif "value" not in value:
            yield from _facts(value, f"{prefix}{name}.")
        elif value.get("status", "detected") not in _UNKNOWN:
            fact = ReportedFact(status=value.get("status", "detected"), value=value["value"])
            yield prefix + name, fact_text(name, fact)


def method_section(report: RunReport) -> str:
    """Return how the numbers came about, with everything that is needed to repeat the run."""
    model, task = report.model, report.task
    counts = ", ".join(f"{count} {split}" for split, count in task.counts.items())
    rows = [
        ("base model", f"{model.hub_id or model.spec} ({model.architecture})"),
        ("its revision or digest", model.revision_or_digest),
        ("licence", model.license or "not known to autotune"),
        ("data", f"{task.source or 'not named'}: {counts} rows, {task.kind}"),
        ("digest of data, template and split", task.digest),
        ("template", task.template),
        ("workload", f"{report.workload.requests} requests, {report.workload.statement}"),
        ("digest of the workload", report.workload.digest),
        ("seed", str(report.seed)),
        ("made", report.created),
        ("versions", ", ".join(f"{name} {one}" for name, one in sorted(report.versions.items()))),
    ]
    refused = [(one.name, one.reason, one.source) for one in report.refused]
    files = f"{report.trials_file} and {report.events_file}"
    return section(
        "Method, and how to repeat it",
        paragraphs(_method(report)),
        f"<pre>{escape(shlex.join(report.command))}</pre>",
        table(("what", "value"), rows),
        paragraphs(f"Warning about the data: {text}." for text in task.warnings),
        details(
            f"Table: {len(refused)} recipes left out before anything was built",
            table(("recipe", "reason", "source"), refused),
        ),
        paragraphs([f"Everything on this page is in report.json; raw samples are in {files}."]),
        anchor="method",
    )


def _method(report: RunReport) -> Iterator[str]:
    yield (
        "First the untrained model was built and timed with every recipe, since training changes"
        " neither time nor size. Recipes that cannot meet the bounds were dropped; adapters were"
        " trained for the others, built and scored on the validation split by the runtime that"
        " deploys. Finalists were timed again in turn, each block of requests in a fresh process."
        " The choice and its baseline were scored once on the test split, which decided nothing."
    )
    yield (
        "Intervals hold 95 %: Wilson's for shares, the bootstrap over processes and then requests"
        " for times. A verdict is pass or fail where the whole interval lies on one side of the"
        " bound, and uncertain otherwise; uncertain does not count as met."
    )
    if report.outcome == "unconfirmed":
        yield "Times are from the census of the target machine; the model is yet to be timed there."
