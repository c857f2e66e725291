"""hardware.json: what a machine is, what runs on it, and what was measured there.

Published as ``schemas/hardware-1.0.json``. It can be carried to another machine and
searched for there. Times are in seconds, sizes in bytes, rates in bytes or operations
per second. Detected, asserted, not applicable and unknown are four different things.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from autotune.calibration import DeviceCalibration, Grade, NoiseFloor, SessionNoise
from autotune.candidate import Recipe
from autotune.errors import UsageError
from autotune.measurement import Measurement
from autotune.plain import digest, to_plain
from autotune.steps import OutcomeStatus

from .documents import load_document
from .run_report import BoundVerdict, ModelFacts, WorkloadFacts

__all__ = [
    "Calibration",
    "Census",
    "CensusEntry",
    "FlavourConflict",
    "HardwareReport",
    "Missing",
    "ReportedFact",
    "ReportedTarget",
    "ToolFacts",
    "load_hardware_report",
    "sealed",
]


@dataclass(frozen=True, kw_only=True)
class ReportedFact:
    """A fact, or the reason of its absence.

    Attributes:
        status: ``detected`` was read from the machine, ``asserted`` was typed by a
            person; the other two have no value.
        value: in the unit that the fact's name says, else null.
        reason: why there is no value.
    """

    status: Literal["detected", "asserted", "not_applicable", "unknown"]
    value: Any = None
    reason: str = ""

    def __post_init__(self) -> None:
        has_value = self.status in ("detected", "asserted")
        if has_value != (self.value is not None) or has_value == bool(self.reason):
            raise ValueError(f"a fact has a value or a reason, got {self!r}")


FactGroup = dict[str, ReportedFact]


@dataclass(frozen=True, kw_only=True)
class ToolFacts:
    """What wrote the report; ``git_commit`` and ``git_dirty`` where it ran from a checkout."""

    name: str
    version: str
    git_commit: ReportedFact
    git_dirty: ReportedFact


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Something that the report does not know.

    Attributes:
        field: dotted name.
        reason: why.
        is_required: the report is not complete without it.
    """

    field: str
    reason: str
    is_required: bool = False


@dataclass(frozen=True, kw_only=True)
class ReportedTarget:
    """What became of one execution provider.

    Attributes:
        name: the user's word.
        provider: in onnxruntime's spelling.
        status: ``proven`` ran a node; ``absent`` is not installed or not for this system;
            ``fell_back`` ran on another provider; ``failed`` broke.
        reason: where not proven.
        is_other_interpreter: it was found in an environment that the user named.
        nodes: of the proof, per provider that ran them.
        devices: what the runtime tells of the provider's devices.
        versions: of the libraries in its interpreter.
        install: commands that bring it, where not proven.
        refused_types: the runtime's words for each data type of activations that the
            device does not compute in.
    """

    name: str
    provider: str
    status: Literal["proven", "absent", "fell_back", "failed"]
    reason: str = ""
    is_other_interpreter: bool = False
    nodes: dict[str, int] = field(default_factory=dict)
    devices: tuple[dict[str, str], ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    install: tuple[str, ...] = ()
    refused_types: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.status == "proven") == bool(self.reason):
            raise ValueError(f"a target is proven or has a reason, got {self!r}")


@dataclass(frozen=True, kw_only=True)
class FlavourConflict:
    """Packages that write the same module, and the commands that mend it."""

    module: str
    distributions: tuple[str, ...]
    keep: str
    commands: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What the devices reached, and how quiet it was meanwhile.

    Attributes:
        devices: one per proven target.
        noise: A/A tests, by target.
        grade: A quiet, B usable, C noisy: verdicts that rest on it are stamped so.
        grade_reasons: for each step below A.
        grade_rule: the limits.
        conditions: ``before`` and ``after`` the counters, ``during`` what follows from them.
        seconds: in all.
    """

    devices: tuple[DeviceCalibration, ...]
    noise: tuple[NoiseFloor, ...]
    grade: Grade
    grade_reasons: tuple[str, ...]
    grade_rule: str
    conditions: dict[str, FactGroup]
    seconds: float

    def noise_floor(self) -> float | None:
        """Return the largest noise floor of the devices, None without an A/A test."""
        return max((one.floor for one in self.noise), default=None)


@dataclass(frozen=True, kw_only=True)
class CensusEntry:
    """One recipe, built from the untrained model and measured on one target.

    Attributes:
        name: of the recipe.
        recipe: how it is built.
        target: the user's word for the execution provider.
        status: how it ended; all but ``measured`` have a reason and may lack metrics.
        reason: why, for people.
        model_digest: of the built folder, empty where nothing was built.
        metrics: by name (``latency.p95``), raw samples included.
        unmeasured: metrics that this machine cannot tell, with the reason.
        floors: shortest possible time by metric (``tpot``, ``ttft``), seconds.
        bounds: verdicts, where bounds were given.
    """

    name: str
    recipe: Recipe
    target: str
    status: OutcomeStatus
    reason: str = ""
    model_digest: str = ""
    metrics: dict[str, Measurement] = field(default_factory=dict)
    unmeasured: dict[str, str] = field(default_factory=dict)
    floors: dict[str, float] = field(default_factory=dict)
    bounds: tuple[BoundVerdict, ...] = ()

    def __post_init__(self) -> None:
        if (self.status is OutcomeStatus.MEASURED) == bool(self.reason):
            raise ValueError(f"a recipe is measured or has a reason, got {self.name!r}")
        wrong = [name for name, metric in self.metrics.items() if metric.metric != name]
        if wrong:
            raise ValueError(f"metrics stand under their own names, got {wrong!r}")


@dataclass(frozen=True, kw_only=True)
class Census:
    """Every recipe of a model on this machine.

    Attributes:
        model: the base model.
        workload: what was timed; equal digests mean comparable numbers.
        entries: one per recipe and target.
        seed: of workload, order and bootstrap.
        rounds: fresh processes per recipe.
        method: how it was taken, for people.
        noise: how quiet the machine was while the recipes were timed; null: not known.
        digest: SHA-256 of all of the above, see ``sealed``.
    """

    model: ModelFacts
    workload: WorkloadFacts
    entries: tuple[CensusEntry, ...]
    seed: int
    rounds: int
    method: str
    noise: SessionNoise | None = None
    digest: str = ""


def _content_digest(census: dict[str, Any]) -> str:
    return digest({name: value for name, value in census.items() if name != "digest"})


def sealed(census: Census) -> Census:
    """Return ``census`` with the digest of its content; a report is written with it."""
    return replace(census, digest=_content_digest(to_plain(census)))


@dataclass(frozen=True, kw_only=True)
class HardwareReport:
    """A machine.

    Attributes:
        schema: names the document.
        schema_version: of this form.
        created: UTC time, RFC 3339.
        command: the command line as words, credentials replaced.
        tool: what wrote it.
        complete: nothing required is missing.
        missing: what is not known.
        asserted: what a person typed: ``label``, ``role``, ``price_per_hour``, ...
        device: the machine in a few words.
        hardware: facts by group: ``processor``, ``memory``, ``system``.
        accelerators: devices beside the processor.
        targets: every known execution provider.
        conflicts: packages that exclude each other.
        calibration: or null.
        census: or null.
        versions: of the libraries that shape the result.
        method: how the parts were taken, for people.
    """

    schema: Literal["autotune.hardware"] = "autotune.hardware"
    schema_version: Literal["1.0"] = "1.0"
    created: str
    command: tuple[str, ...]
    tool: ToolFacts
    complete: bool
    missing: tuple[Missing, ...]
    asserted: FactGroup
    device: str
    hardware: dict[str, FactGroup]
    accelerators: FactGroup
    targets: tuple[ReportedTarget, ...]
    conflicts: tuple[FlavourConflict, ...]
    calibration: Calibration | None
    census: Census | None
    versions: dict[str, str]
    method: tuple[str, ...]

    def __post_init__(self) -> None:
        lacking = [one.field for one in self.missing if one.is_required]
        if self.complete == bool(lacking):
            raise ValueError(
                f"a report is complete unless something required is missing, got {lacking!r}"
            )
        wrong = [name for name, fact in self.asserted.items() if fact.status != "asserted"]
        if wrong:
            raise ValueError(f"what a person typed has the status asserted, not so {wrong!r}")

    @property
    def label(self) -> str:
        """The name that a person gave the machine, else the device in a few words."""
        named = self.asserted.get("label")
        return self.device if named is None else str(named.value)


def load_hardware_report(path: Path) -> HardwareReport:
    """Return the hardware report in the file ``path``.

    Raises:
        UsageError: missing, truncated, of another schema or version, not of its form, or
            with a census that is not the one that was sealed.
    """
    report = load_document(path, HardwareReport)
    if report.census is not None:
        # The file's own content counts, with keys that this version does not know.
        found = _content_digest(json.loads(path.read_bytes())["census"])
        if found != report.census.digest:
            raise UsageError(
                f"The census in {str(path)!r} is not the one that was written: its content has"
                f" the digest {found[:12]!r}, the report says {report.census.digest[:12]!r};"
                " copy the report again, or take a new census."
            )
    return report
