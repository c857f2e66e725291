"""From builds, timings and a machine's rates to the entries of a census.

The same for models that were built here and for those that came in a bundle.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from autotune.calibration import DeviceCalibration, SessionNoise
from autotune.candidate import Recipe
from autotune.constraint import Constraint
from autotune.errors import OutputError
from autotune.evaluators import MINIMUM_SAMPLES, RowSet
from autotune.measurement import Measurement
from autotune.plain import to_plain
from autotune.reports import (
    BoundVerdict,
    Census,
    CensusEntry,
    HardwareReport,
    ModelFacts,
    WorkloadFacts,
    floors_of,
    hardware_page,
    hardware_summary,
    make_console,
    sealed,
    write_json_atomic,
    write_text_atomic,
)
from autotune.steps import Outcome, OutcomeStatus

__all__ = [
    "METHOD",
    "CensusFiles",
    "CensusSubject",
    "Timings",
    "Tried",
    "census_of",
    "publish_census",
]

METHOD = "interleaved blocks in random order, a fresh process per block"
# The data types in which the calibration multiplies, by the precision of a recipe.


@dataclass(frozen=True, kw_only=True)
class CensusSubject:
    """What is measured, and what it is judged by.

    Attributes:
        model, workload: as the report names them.
        requests: the requests that are timed.
        constraints: bounds, if any.
        targets: names by provider.
        seed: of workload, order and bootstrap.
        rounds: fresh processes per recipe.
        method: how it was taken, for people.
    """

    model: ModelFacts
    workload: WorkloadFacts
    requests: RowSet
    constraints: tuple[Constraint, ...]
    targets: Mapping[str, str]
    seed: int
    rounds: int
    method: str = METHOD


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A recipe on its way to an entry.

    Attributes:
        recipe: how it is built.
        status: ``measured`` has a build; anything else has a reason.
        reason: why it has none, or could not be timed.
        folder: of the build, None where there is none.
        digest: of the build's files, empty likewise.
        metrics: all but the timings.
    """

    recipe: Recipe
    status: OutcomeStatus
    reason: str = ""
    folder: Path | None = None
    digest: str = ""
    metrics: Mapping[str, Measurement] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Timings:
    """What timing the builds brought, by recipe name.

    Attributes:
        found: numbers of those that were timed.
        failures: why others with a build were not.
        unmeasured: of those that were timed, why a metric has no number.
        noise: how quiet the machine was meanwhile; None where nothing was timed.
    """

    found: Mapping[str, Mapping[str, Measurement]] = field(default_factory=dict)
    failures: Mapping[str, Outcome] = field(default_factory=dict)
    unmeasured: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    noise: SessionNoise | None = None


@dataclass(frozen=True, kw_only=True)
class CensusFiles:
    """Where the report goes: a document, a page, and the document on stdout instead of a view."""

    output: Path | None = None
    html: Path | None = None
    as_json: bool = False

    def refuse_existing(self) -> None:
        """Look before an hour of work.

        Raises:
            OutputError: a file that exists already.
        """
        for path in (self.output, self.html):
            if path is not None and path.exists():
                raise OutputError(f"{str(path)!r} exists and nothing is overwritten; name another.")


def census_of(
    subject: CensusSubject,
    tried: Sequence[Tried],
    timings: Timings,
    report: HardwareReport,
) -> Census:
    """Return the sealed census.

    Args:
        subject: what was measured.
        tried: every recipe.
        timings: of those with a build.
        report: of this machine, whose calibration gives the floors.
    """
    entries = tuple(_entry(subject, one, timings, report) for one in tried)
    return sealed(
        Census(
            model=subject.model,
            workload=subject.workload,
            entries=entries,
            seed=subject.seed,
            rounds=subject.rounds,
            method=subject.method,
            noise=timings.noise,
        )
    )


def _entry(
    subject: CensusSubject,
    tried: Tried,
    timings: Timings,
    report: HardwareReport,
) -> CensusEntry:
    recipe = tried.recipe
    timed, failure = timings.found.get(recipe.name, {}), timings.failures.get(recipe.name)
    metrics = {**tried.metrics, **timed}
    target = subject.targets[recipe.provider]
    status, reason = tried.status, tried.reason
    if status is OutcomeStatus.MEASURED and not timed:
        status = failure.status if failure else OutcomeStatus.CRASHED
        reason = (failure.reason if failure else "") or "it was not timed"
    return CensusEntry(
        name=recipe.name,
        recipe=recipe,
        target=target,
        status=status,
        reason=reason,
        model_digest=tried.digest,
        metrics=metrics,
        unmeasured={**timings.unmeasured.get(recipe.name, {}), **_refused(metrics)},
        floors=_floors(subject, recipe, metrics, report, target),
        bounds=_bounds(subject, metrics),
    )


def _refused(metrics: Mapping[str, Measurement]) -> dict[str, str]:
    """Return the 95th percentile of the latency with the reason, where there is none."""
    median = metrics.get("latency.p50")
    if median is None or "latency.p95" in metrics:
        return {}
    needed = MINIMUM_SAMPLES[0.95]
    return {"latency.p95": f"{median.n} requests were timed, a 95th percentile takes {needed}"}


def _floors(
    subject: CensusSubject,
    recipe: Recipe,
    metrics: Mapping[str, Measurement],
    report: HardwareReport,
    target: str,
) -> dict[str, float]:
    """Return the shortest possible times on the calibrated device, where they can be told."""
    devices = report.calibration.devices if report.calibration else ()
    device: DeviceCalibration | None = next((d for d in devices if d.target == target), None)
    if device is None:
        return {}
    return floors_of(
        device,
        recipe,
        kind=subject.requests.kind,
        weights=subject.model.parameters,
        prompt_tokens=mean(len(row.prompt_ids) for row in subject.requests.rows),
        size_bytes=metrics["size"].value if "size" in metrics else None,
    )


def _bounds(subject: CensusSubject, metrics: Mapping[str, Measurement]) -> tuple[BoundVerdict, ...]:
    return tuple(
        BoundVerdict.of(constraint, constraint.judge(metrics)) for constraint in subject.constraints
    )


def publish_census(report: HardwareReport, files: CensusFiles) -> int:
    """Write and print the report; return the exit code.

    Returns:
        0; or 1 where bounds were given and no recipe meets them for sure.

    Raises:
        OutputError: a file cannot be written.
    """
    if files.output is not None:
        write_json_atomic(files.output, to_plain(report))
    if files.html is not None:
        write_text_atomic(files.html, hardware_page(report))
    if files.as_json:
        sys.stdout.write(json.dumps(to_plain(report), indent=2) + "\n")
    else:
        make_console(sys.stdout).print(hardware_summary(report))
    return _exit_code(report)


def _exit_code(report: HardwareReport) -> int:
    if report.census is None:
        return 1
    entries = report.census.entries
    if not any(entry.bounds for entry in entries):
        return 0
    return 0 if any(all(b.verdict == "pass" for b in e.bounds) for e in entries) else 1
