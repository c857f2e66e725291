"""``autotune census``: every recipe of the untrained model, built, proven and timed here.

The census of a run, taken at leisure and kept: the hardware report it ends in can be
compared with others. Nothing is trained.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from autotune.calibration import DeviceCalibration, forward_operations
from autotune.candidate import Candidate, Precision, Recipe
from autotune.config import RunConfig
from autotune.errors import OutputError
from autotune.hardware import read_assertions
from autotune.machine_report import MachineRequest, take_hardware_report
from autotune.measurement import Measurement
from autotune.narrate import Narrator, summary_of
from autotune.passes import ArtifactStore
from autotune.plain import to_plain
from autotune.progress import Progress
from autotune.publish import model_facts, workload_facts
from autotune.reports import (
    BoundVerdict,
    Census,
    CensusEntry,
    HardwareReport,
    hardware_page,
    hardware_summary,
    make_console,
    sealed,
    write_json_atomic,
    write_text_atomic,
)
from autotune.session import Session, prepare
from autotune.step_runner import StepRunner
from autotune.steps import MeasureStep, Outcome, OutcomeStatus, ScoreStep
from autotune.targets import LocalExecutor

__all__ = ["CensusRequest", "run_census"]

# The data types in which the calibration multiplies, by the precision of a recipe.
_PRODUCTS = {Precision.INT4: "int4", Precision.INT8: "int8", Precision.FP32: "fp32"}


@dataclass(frozen=True, kw_only=True)
class CensusRequest:
    """What a census covers.

    Attributes:
        config: model, data, target and bounds; limits of a search are not used.
        rounds: fresh processes per recipe, at least 2 for a 95th percentile.
        calibrates: measure the machine's rates as well, for the floors.
        asserted: ``KEY=VALUE``, facts that a person knows.
    """

    config: RunConfig
    rounds: int = 2
    calibrates: bool = True
    asserted: tuple[str, ...] = ()


def run_census(
    request: CensusRequest, *, output: Path | None, html: Path | None, as_json: bool
) -> int:
    """Take a census, write and print its hardware report, and return the exit code.

    Returns:
        0; or 1 where bounds were given and no recipe meets them for sure.

    Raises:
        UsageError: model, data or bounds that cannot work.
        HardwareError: a target that is not here.
        OutputError: a file that exists already.
    """
    for path in (output, html):
        if path is not None and path.exists():
            raise OutputError(f"{str(path)!r} exists and nothing is overwritten; name another.")
    progress = Progress()
    with LocalExecutor() as executor, tempfile.TemporaryDirectory(prefix="autotune-census-") as at:
        store = ArtifactStore()
        session = prepare(request.config, executor=executor, store=store, log_dir=Path(at))
        Narrator(progress).session(session)
        machine = MachineRequest(
            calibrates=request.calibrates, asserted=read_assertions(request.asserted)
        )
        report = take_hardware_report(machine, executor=executor, progress=progress)
        steps = StepRunner(session.bench(store=store, executor=executor, log_dir=Path(at)))
        report = replace(report, census=_take(session, steps, request, report, progress))
    if output is not None:
        write_json_atomic(output, to_plain(report))
    if html is not None:
        write_text_atomic(html, hardware_page(report))
    if as_json:
        sys.stdout.write(json.dumps(to_plain(report), indent=2) + "\n")
    else:
        make_console(sys.stdout).print(hardware_summary(report))
    return _exit_code(report)


def _take(
    session: Session,
    steps: StepRunner,
    request: CensusRequest,
    report: HardwareReport,
    progress: Progress,
) -> Census:
    candidates = [
        Candidate(adapter=None, fraction=0.0, recipe=recipe) for recipe in session.settings.recipes
    ]
    scored: dict[str, Outcome] = {}
    for candidate in candidates:
        scored[candidate.name] = steps.run(ScoreStep(candidate=candidate))
        progress.line(f"built {candidate.recipe.name}: {summary_of(scored[candidate.name])}")
    built = tuple(c for c in candidates if scored[c.name].status is OutcomeStatus.MEASURED)
    timed: Mapping[str, dict[str, Measurement]] = {}
    if built:
        timed = steps.run(MeasureStep(candidates=built, rounds=request.rounds)).measurements
    entries = tuple(
        _entry(session, c, scored[c.name], timed.get(c.name, {}), report) for c in candidates
    )
    return sealed(
        Census(
            model=model_facts(session),
            workload=workload_facts(session),
            entries=entries,
            seed=session.config.seed,
            rounds=request.rounds,
            method="interleaved blocks in random order, a fresh process per block",
        )
    )


def _entry(
    session: Session,
    candidate: Candidate,
    outcome: Outcome,
    timings: Mapping[str, Measurement],
    report: HardwareReport,
) -> CensusEntry:
    recipe = candidate.recipe
    metrics = {**outcome.measurements.get(candidate.name, {}), **timings}
    target = next(t.name for t in session.targets if t.provider == recipe.provider)
    status = outcome.status
    if status is OutcomeStatus.MEASURED and not timings:
        status = OutcomeStatus.CRASHED
    reason = "" if status is OutcomeStatus.MEASURED else outcome.reason or "it was not timed"
    return CensusEntry(
        name=recipe.name,
        recipe=recipe,
        target=target,
        status=status,
        reason=reason,
        metrics=metrics,
        unmeasured={"energy": "this version reads no energy counters"},
        floors=_floors(session, recipe, metrics, report, target),
        bounds=_bounds(session, metrics),
    )


def _floors(
    session: Session,
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
    rows = session.workload.rows.rows
    tokens = round(mean(len(row.prompt_ids) for row in rows))
    operations = forward_operations(weights=session.source.architecture.parameters, tokens=tokens)
    prefill = device.prefill_floor_s(operations, _PRODUCTS.get(recipe.precision, ""))
    found = {"ttft": prefill}
    if session.workload.rows.kind == "classification":
        found["latency"] = prefill  # a decision is a prefill and next to nothing more
    elif "size" in metrics:
        found["tpot"] = device.decode_floor_s(metrics["size"].value)
    return {name: value for name, value in found.items() if value is not None}


def _bounds(session: Session, metrics: Mapping[str, Measurement]) -> tuple[BoundVerdict, ...]:
    verdicts = []
    for constraint in session.config.constraints:
        metric, _, statistic = constraint.metric.partition(".")
        measured = metrics.get(constraint.metric)
        verdicts.append(
            BoundVerdict(
                metric=metric,
                statistic=statistic or None,
                op=constraint.op,
                value=constraint.bound,
                unit=constraint.unit,
                verdict=constraint.verdict(measured) if measured else None,
            )
        )
    return tuple(verdicts)


def _exit_code(report: HardwareReport) -> int:
    if report.census is None:
        return 1
    entries = report.census.entries
    if not any(entry.bounds for entry in entries):
        return 0
    return 0 if any(all(b.verdict == "pass" for b in e.bounds) for e in entries) else 1
