"""Documents of every kind as one plain form: a machine, and models with their numbers.

``compare`` and ``pick`` work on this form alone. Each kind of document has one
adapter, found by the document's schema; a kind that has none is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune.calibration import Grade
from autotune.candidate import UNTRAINED
from autotune.errors import UsageError
from autotune.measurement import Measurement
from autotune.plain import to_plain

from .hardware_report import Calibration, HardwareReport, load_hardware_report
from .measure_report import MeasureReport, load_measure_report
from .run_report import Metric, ReportedModel, RunReport, load_report

__all__ = [
    "Evidence",
    "MeasuredModel",
    "Origin",
    "labelled",
    "load_evidence",
    "number_of",
    "of_hardware",
    "of_measurement",
    "of_run",
    "stable_facts",
]

CHOSEN, BASELINE, MISS = "chosen", "baseline", "nearest miss"
# What changes from minute to minute, or says in other words what another fact says.
_VOLATILE = (
    *("memory.available_bytes", "processor.affinity"),
    *("processor.device_class", "versions.device-class"),
)


@dataclass(frozen=True, kw_only=True)
class MeasuredModel:
    """A model of a document.

    Attributes:
        key: role (``chosen``, ``baseline``, ``nearest miss``) or else the name; pairs
            the models of two documents.
        name: ``training/recipe``, or a folder's name.
        numbers: by metric; metrics of answers by ``metric@split``.
        unmeasured: metrics that its machine could not tell, with the reason.
        provider: execution provider that it is built for, empty where that is not known.
        weights: training and weights, equal for builds that differ by the provider's ways
            of computing only; empty where that is not known.
    """

    key: str
    name: str
    numbers: Mapping[str, Measurement]
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    provider: str = ""
    weights: str = ""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the numbers of a document come from.

    Attributes:
        kind: ``run``, ``measure`` or ``hardware``.
        created: UTC time, RFC 3339.
        device: the machine in a few words.
        model: digest of the base model, empty where the document does not know it.
        model_name: of the base model, for people.
        workload: digest of the timed requests.
        task: digest of data and split, empty where nothing was scored.
        noise_floor: relative difference that the machine showed between equals, 0 where
            it was not measured.
        noisy: why nothing timed here is certain (grade C), empty where it was quiet
            enough or is not known.
        facts: known facts of machine and libraries by dotted name.
    """

    kind: str
    created: str
    device: str
    model: str
    model_name: str
    workload: str
    task: str = ""
    noise_floor: float = 0.0
    noisy: str = ""
    facts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A document as ``compare`` and ``pick`` see it.

    Attributes:
        label: short name in tables (``A``, ``B``).
        path: of the document.
        origin: machine, workload, versions.
        models: in the document's order, roles first; keys are distinct.
    """

    label: str = ""
    path: str = ""
    origin: Origin
    models: tuple[MeasuredModel, ...]

    def partner(self, model: MeasuredModel) -> MeasuredModel | None:
        """Return the model of the same role here, else that of the same name, or None.

        Where nothing here is for the model's provider, the first one of the same weights.
        """
        by_key = {mine.key: mine for mine in self.models}
        by_name = {mine.name: mine for mine in self.models}
        found = by_key.get(model.key) or by_name.get(model.name)
        if found or not model.weights or any(one.provider == model.provider for one in self.models):
            return found
        return next((mine for mine in self.models if mine.weights == model.weights), None)


def stable_facts(hardware: Mapping[str, Any], versions: Mapping[str, str]) -> dict[str, Any]:
    """Return what is known of a machine by dotted name, absences and volatile facts left out."""
    facts = {f"versions.{name}": version for name, version in versions.items()}
    facts |= _known(hardware)
    return {name: value for name, value in facts.items() if name not in _VOLATILE}


def _known(hardware: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten facts, which are ``{"status", "value", "reason"}``, and bare values."""
    found: dict[str, Any] = {}
    for name, value in hardware.items():
        if isinstance(value, dict) and "value" not in value:
            found |= _known(value, f"{prefix}{name}.")
        else:
            known = value["value"] if isinstance(value, dict) else value
            if known is not None:
                found[prefix + name] = known
    return found


def number_of(name: str, metric: Metric) -> Measurement:
    """Return a published metric as the measurement that it stands for, samples left out."""
    return Measurement(
        metric=name,
        unit=metric.unit,
        value=metric.value,
        n=metric.n,
        ci95=metric.ci95,
        method=metric.method,
    )


def _number(name: str, metric: Metric) -> tuple[str, Measurement]:
    key = f"{name}@{metric.split}" if metric.split else name
    return key, number_of(name, metric)


def _numbers(models: Iterable[ReportedModel]) -> dict[str, Measurement]:
    """Return the numbers of one model that a report shows in several places, the first's first."""
    found: dict[str, Measurement] = {}
    for model in models:
        for name, metric in model.metrics.items():
            key, number = _number(name, metric)
            found.setdefault(key, number)
    return found


def of_run(report: RunReport) -> Evidence:
    """Return the models of a run report: chosen, nearest miss, baseline, then the front.

    A model with a role keeps its validation scores from the front beside its test scores.
    """
    roles = {CHOSEN: report.chosen, MISS: report.nearest_miss, BASELINE: report.baseline}
    every = [*roles.values(), *report.front]
    shown: dict[str, tuple[str, ReportedModel]] = {}
    for key, model in [*roles.items(), *((model.name, model) for model in report.front)]:
        if model is not None:
            shown.setdefault(model.name, (key, model))
    models = tuple(
        MeasuredModel(
            key=key,
            name=model.name,
            numbers=_numbers(other for other in every if other and other.name == model.name),
            unmeasured=model.unmeasured,
            provider=model.recipe.provider,
            weights=f"{model.training}/{model.recipe.weights}",
        )
        for key, model in shown.values()
    )
    origin = Origin(
        kind="run",
        created=report.created,
        device=report.device,
        model=report.model.revision_or_digest,
        model_name=report.model.hub_id or report.model.spec,
        workload=report.workload.digest,
        task=report.task.digest,
        noisy=report.noise.warning if report.noise else "",
        facts=stable_facts(report.hardware, report.versions),
    )
    return Evidence(origin=origin, models=models)


def of_measurement(report: MeasureReport) -> Evidence:
    """Return the one model of a measurement; it is compared with what others chose."""
    base = report.model.base_model
    model = MeasuredModel(
        key=CHOSEN,
        name=report.model.name,
        numbers=dict(_number(name, metric) for name, metric in report.metrics.items()),
        unmeasured=report.unmeasured,
    )
    origin = Origin(
        kind="measure",
        created=report.created,
        device=report.device,
        model=base.revision_or_digest if base else "",
        model_name=(base.hub_id or base.spec) if base else report.model.name,
        workload=report.workload.digest,
        noisy=_noisy(report.grade, report.grade_reasons),
        facts=stable_facts(report.hardware, report.versions),
    )
    return Evidence(origin=origin, models=(model,))


def _noisy(grade: Grade, reasons: Sequence[str]) -> str:
    return "; ".join(reasons) if grade == "C" else ""


def _noise_of_hardware(report: HardwareReport) -> str:
    """Return why the times are not certain: the session of the census, or the calibration.

    The calibration alone has an A/A test, the census alone saw what was beside its timings.
    """
    census, calibration = report.census, report.calibration
    found = [census.noise.warning] if census and census.noise else []
    found += [_noisy(calibration.grade, calibration.grade_reasons)] if calibration else []
    return "; ".join(dict.fromkeys(filter(None, found)))


def of_hardware(report: HardwareReport) -> Evidence:
    """Return the untrained models of a census; none where the report has no census.

    The facts hold what the devices reached, since that explains most latencies.
    """
    census, calibration = report.census, report.calibration
    entries = [entry for entry in census.entries if entry.metrics] if census else []
    models = tuple(
        MeasuredModel(
            key=f"{UNTRAINED}/{entry.name}",
            name=f"{UNTRAINED}/{entry.name}",
            numbers=entry.metrics,
            unmeasured=entry.unmeasured,
            provider=entry.recipe.provider,
            weights=f"{UNTRAINED}/{entry.recipe.weights}",
        )
        for entry in entries
    )
    facts = stable_facts(to_plain(report.hardware), report.versions)
    asserted = {name: fact.value for name, fact in report.asserted.items()}
    origin = Origin(
        kind="hardware",
        created=report.created,
        device=report.label,
        model=census.model.revision_or_digest if census else "",
        model_name=(census.model.hub_id or census.model.spec) if census else "",
        workload=census.workload.digest if census else "",
        noise_floor=(calibration.noise_floor() or 0.0) if calibration else 0.0,
        noisy=_noise_of_hardware(report),
        facts={**asserted, **facts, **(_reached(calibration) if calibration else {})},
    )
    return Evidence(origin=origin, models=models)


def _reached(calibration: Calibration) -> dict[str, Any]:
    """Return measured rates by device and kind, and how quiet the machine was."""
    found: dict[str, Any] = {}
    for device in calibration.devices:
        rates = {"memory_read": device.bandwidth()}
        rates |= {f"product.{name}": device.product(name) for name in device.data_types()}
        for name, rate in rates.items():
            if rate is not None:
                found[f"{device.target}.{name}"] = f"{rate.best / 1e9:.3g} G{rate.unit}"
    return {**found, "noise.grade": calibration.grade}


_READERS: dict[str, Callable[[Path], Evidence]] = {
    "autotune.run": lambda path: of_run(load_report(path)),
    "autotune.hardware": lambda path: of_hardware(load_hardware_report(path)),
    "autotune.measure": lambda path: of_measurement(load_measure_report(path)),
}


def load_evidence(path: Path) -> Evidence:
    """Return what the document in the file ``path`` tells, or in a run folder its report.json.

    Raises:
        UsageError: missing, truncated, of another schema or version, not of its form, or
            without any model.
    """
    file = path / "report.json" if path.is_dir() else path
    reader = _READERS.get(_schema_of(file))
    # A document that names no schema we know gets the exact words of the run report's reader.
    evidence = (reader or _READERS["autotune.run"])(file)
    if not evidence.models:
        raise UsageError(
            f"{str(file)!r} has no measured model: the run ended before one, or a hardware report"
            " was taken without a census; name a report that has."
        )
    return Evidence(path=str(path), origin=evidence.origin, models=evidence.models)


def _schema_of(path: Path) -> str:
    """Return the schema that a file names; empty where it cannot be read."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return ""
    return str(data.get("schema")) if isinstance(data, dict) else ""


def labelled(documents: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """Return ``documents`` with labels A, B, C, ... in their order (A1 after Z)."""
    return tuple(
        Evidence(
            label=chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else ""),  # noqa: PLR2004 - letters
            path=document.path,
            origin=document.origin,
            models=document.models,
        )
        for number, document in enumerate(documents)
    )
