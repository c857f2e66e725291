"""Takes a hardware report: facts, targets, conflicts, calibration, noise.

``run_hardware`` prints one; a census adds its measurements to one. Nothing that a
machine cannot tell stops it: what is not known stands in the report with its reason.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autotune import __version__
from autotune.calibration import DeviceCalibration, NoiseFloor
from autotune.command_line import shared_command_line
from autotune.evaluators import compare_latency, measurement_lock, noise_floor
from autotune.known_machine import remember
from autotune.plain import from_plain, to_plain
from autotune.progress import Progress
from autotune.reports import (
    Calibration,
    FlavourConflict,
    HardwareReport,
    Missing,
    ReportedFact,
    ReportedTarget,
    ToolFacts,
)
from autotune.targets import (
    GRADE_RULE,
    Conflict,
    Executor,
    Family,
    Finding,
    Machine,
    ProvenTarget,
    calibrate,
    device_reasons,
    disturbance,
    find_conflicts,
    grade_noise,
    plan_calibration,
    read_accelerators,
    read_conditions,
    read_machine,
    read_nvidia,
    survey,
)

__all__ = [
    "CALIBRATION_S",
    "MachineRequest",
    "proven_target",
    "take_hardware_report",
    "tool_facts",
]

CALIBRATION_S = 20.0
_START_S = 3.0  # of each device's process: interpreter, libraries, filling the array
_LEAST_S = 2.0
_GROUPS = dict[str, dict[str, ReportedFact]]
_PROOF = (
    "A provider is proven by a node whose profile names it, in a process of its own;"
    " its name in a list of available providers proves nothing."
)
_CALIBRATION = (
    "Calibration: one process per target, alone under the machine's measurement lock;"
    " every sample is kept, the median is typical, the best is what floors rest on."
)
_NOISE = (
    "Noise floor: one operator under two names in interleaved blocks of random order,"
    " 95th percentile of the bootstrapped difference of rounds."
)
_NOT_ASKED = "not asked for (--no-calibration)"


@dataclass(frozen=True, kw_only=True)
class MachineRequest:
    """What the report shall hold.

    Attributes:
        asks: families to prove by interpreter; None is every known one.
        calibrates: measure bandwidth, products and noise.
        asserted: what a person says of the machine, by name.
        limit_s: of the calibration of one target, the start of its process included.
        seed: of contents, orders and the bootstrap.
    """

    asks: Mapping[str, tuple[Family, ...] | None] = field(
        default_factory=lambda: {sys.executable: None}
    )
    calibrates: bool = True
    asserted: Mapping[str, str | float] = field(default_factory=dict)
    limit_s: float = CALIBRATION_S
    seed: int = 0


def take_hardware_report(
    request: MachineRequest, *, executor: Executor, progress: Progress
) -> HardwareReport:
    """Return the report of this machine; ``executor`` must have no other job.

    A calibrated one is remembered for the floors of later runs.

    Raises:
        HardwareError: an interpreter that cannot be run.
        RunError: another measurement does not end.
    """
    machine = read_machine()
    conflicts, findings = _survey(request, executor, progress)
    proven = [one for one in findings if one.target is not None]
    calibration = None
    if request.calibrates and proven:
        calibration = _calibrate(proven, machine, request, executor, progress)
    hardware = from_plain(_GROUPS, to_plain(machine))
    accelerators = from_plain(dict[str, ReportedFact], to_plain(read_accelerators()))
    missing = (
        *_unknown_facts({**hardware, "accelerators": accelerators}),
        *_missing_parts(request, proven, conflicts, calibration),
    )
    report = HardwareReport(
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command=shared_command_line(),
        tool=tool_facts(),
        complete=not any(one.is_required for one in missing),
        missing=missing,
        asserted={
            name: ReportedFact(status="asserted", value=value)
            for name, value in request.asserted.items()
        },
        device=_device(machine, accelerators),
        hardware=hardware,
        accelerators=accelerators,
        targets=tuple(_target(finding) for finding in findings),
        conflicts=tuple(from_plain(FlavourConflict, to_plain(one)) for one in conflicts),
        calibration=calibration,
        census=None,
        versions=_versions(executor),
        method=_method(calibration),
    )
    remember(report)
    return report


def _survey(
    request: MachineRequest, executor: Executor, progress: Progress
) -> tuple[list[Conflict], list[Finding]]:
    """Return conflicts and findings; an interpreter with a conflict can prove nothing."""
    conflicts: list[Conflict] = []
    findings: list[Finding] = []
    for interpreter, known in request.asks.items():
        progress.working("prove the execution providers")
        here = executor.capabilities(interpreter)
        found = find_conflicts(
            owners=here["owners"], versions=here["versions"], interpreter=interpreter
        )
        conflicts += found
        if not found:
            findings += survey(executor, interpreter=interpreter, known=known)
    progress.rest()
    return conflicts, findings


def _calibrate(
    proven: Sequence[Finding],
    machine: Machine,
    request: MachineRequest,
    executor: Executor,
    progress: Progress,
) -> Calibration:
    """Return what the devices reach, one after another, nothing of ours beside them."""
    usable = machine.processor.usable_cores.value or 1.0
    share_s = max(_LEAST_S, request.limit_s - _START_S)
    with measurement_lock(what="the calibration", on_wait=progress.line):
        names = ", ".join(one.family.name for one in proven)
        longest_s = request.limit_s * len(proven)
        progress.working(f"calibrate {names} (at most {longest_s:.0f} s)", silent=True)
        gpus_before = read_nvidia()
        before, began = read_conditions(), time.monotonic()
        devices = [
            calibrate(
                one,
                plan_calibration(one, machine, limit_s=share_s, seed=request.seed),
                executor=executor,
            )
            for one in proven
        ]
        seconds = time.monotonic() - began
        after, gpus_after = read_conditions(), read_nvidia()
    progress.rest()
    noise = tuple(_noise(devices, seed=request.seed))
    during = disturbance(before, after, seconds=seconds, usable_cores=usable)
    grade, reasons = grade_noise(
        during,
        max((one.floor for one in noise), default=None),
        of_devices=device_reasons(gpus_before, gpus_after, seconds=seconds),
    )
    states = {"before": before, "after": after, "during": during}
    return Calibration(
        devices=tuple(devices),
        noise=noise,
        grade=grade,
        grade_reasons=reasons,
        grade_rule=GRADE_RULE,
        conditions=from_plain(_GROUPS, {name: to_plain(state) for name, state in states.items()}),
        seconds=seconds,
    )


def _noise(devices: Sequence[DeviceCalibration], *, seed: int) -> Iterator[NoiseFloor]:
    for device in devices:
        if device.control is None:
            continue
        first, second = device.control.first, device.control.second
        compared = compare_latency(first, second)
        yield NoiseFloor(
            target=device.target,
            floor=noise_floor(first, second, seed=seed),
            ratio=compared.ratio,
            ci95=compared.ci95,
            rounds=compared.rounds,
        )


def _unknown_facts(groups: _GROUPS) -> Iterator[Missing]:
    for group, facts in groups.items():
        for name, fact in facts.items():
            if fact.status == "unknown":
                yield Missing(field=f"{group}.{name}", reason=fact.reason)


def _missing_parts(
    request: MachineRequest,
    proven: Sequence[Finding],
    conflicts: Sequence[Conflict],
    calibration: Calibration | None,
) -> Iterator[Missing]:
    if conflicts:
        names = " and ".join(name for one in conflicts for name in one.distributions)
        reason = f"packages exclude each other: {names}"
        yield Missing(field="targets", reason=reason, is_required=True)
    elif not proven:
        reason = "no execution provider ran a node"
        yield Missing(field="targets", reason=reason, is_required=True)
    if calibration is None:
        reason = "there is no proven target" if request.calibrates else _NOT_ASKED
        yield Missing(field="calibration", reason=reason, is_required=True)
        return
    for device in calibration.devices:
        place = f"calibration.{device.target}"
        if device.bandwidth() is None or not device.data_types():
            reason = device.unmeasured[0].reason if device.unmeasured else "nothing was measured"
            yield Missing(field=place, reason=reason, is_required=True)


def _target(finding: Finding) -> ReportedTarget:
    is_elsewhere = finding.interpreter != sys.executable
    if isinstance(finding.target, ProvenTarget):
        return proven_target(finding.target, is_other_interpreter=is_elsewhere)
    return ReportedTarget(
        name=finding.family.name,
        provider=finding.family.onnxruntime_name,
        status=finding.status,
        reason=finding.reason,
        is_other_interpreter=is_elsewhere,
        install=() if finding.target is not None else finding.family.install,
    )


def proven_target(target: ProvenTarget, *, is_other_interpreter: bool) -> ReportedTarget:
    """Return what a report says of a target on which a node ran."""
    proof = target.proof
    return ReportedTarget(
        name=target.family.name,
        provider=target.family.onnxruntime_name,
        status="proven",
        is_other_interpreter=is_other_interpreter,
        nodes=dict(proof.nodes),
        devices=proof.devices,
        versions={"onnxruntime": proof.onnxruntime, **proof.versions},
        refused_types=dict(proof.refused_types),
    )


def _device(machine: Machine, accelerators: Mapping[str, ReportedFact]) -> str:
    cores = machine.processor.usable_cores.value
    words = [machine.processor.model.value or "unknown CPU"]
    words.append(f"{cores:g} usable cores" if cores is not None else "unknown cores")
    devices = accelerators["nvidia"].value or accelerators["directx"].value or ()
    words += [name for device in devices if (name := device["name"]["value"])]
    return ", ".join(words)


def _versions(executor: Executor) -> dict[str, str]:
    capabilities = executor.capabilities()
    versions = {str(name): str(value) for name, value in capabilities["versions"].items()}
    return {**versions, "python": str(capabilities["python"])}


def tool_facts() -> ToolFacts:
    """Return what writes a report: version, and commit where it runs from a checkout."""
    root = Path(__file__).resolve().parents[2]
    commit, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain")
    if isinstance(changes.value, str):
        changes = ReportedFact(status="detected", value=bool(changes.value.strip()))
    return ToolFacts(name="autotune-slm", version=__version__, git_commit=commit, git_dirty=changes)


def _git(root: Path, *words: str) -> ReportedFact:
    """Return what git says of the checkout that this code runs from, if it does."""
    if not (root / ".git").exists():
        return ReportedFact(status="not_applicable", reason="it does not run from a checkout")
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), *words],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return ReportedFact(status="unknown", reason=f"git: {type(error).__name__}")
    return ReportedFact(status="detected", value=answer.stdout.strip())


def _method(calibration: Calibration | None) -> tuple[str, ...]:
    return (_PROOF,) if calibration is None else (_PROOF, _CALIBRATION, _NOISE)
