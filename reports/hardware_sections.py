"""A hardware report as titled tables of words; terminal and page render the same ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from autotune.calibration import DeviceCalibration, Rate, SessionNoise
from autotune.kinds import is_decision
from autotune.units import format_duration, format_quantity, format_size

from .hardware_report import Calibration, Census, CensusEntry, HardwareReport, ReportedFact
from .wording import unmeasured_lines

__all__ = ["Section", "fact_text", "hardware_sections", "headline", "rate_text"]

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table with what must be said beside it.

    Attributes:
        title: of the section.
        columns: heads.
        rows: cells as texts, as many as heads.
        notes: sentences below.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def rate_text(value: float, unit: str) -> str:
    """Return a rate with an SI prefix.

    >>> rate_text(2.5e10, "B/s")
    '25 GB/s'
    """
    for factor, prefix in _PREFIXES:
        if value >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def _value_text(name: str, value: Any) -> str:
    """Return a value in words; the ending of the fact's name tells its unit."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value_text(name, one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return " ".join(str(one) for one in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    endings: dict[str, Callable[[float], str]] = {
        "_bytes": lambda number: "0 B" if number == 0 else format_size(number),
        "_hz": lambda number: rate_text(number, "Hz"),
        "_w": lambda number: f"{number:g} W",
        "_s": lambda number: f"{number:.1f} s",
    }
    form = next((form for ending, form in endings.items() if name.endswith(ending)), None)
    return (
        form(value) if form is not None else f"{value:.4g}" if value != int(value) else f"{value:g}"
    )


def fact_text(name: str, fact: ReportedFact) -> str:
    """Return the value in words, or status and reason of its absence."""
    if fact.value is None:
        return f"{fact.status.replace('_', ' ')}: {fact.reason}"
    return _value_text(name, fact.value)


def _value_or_reason(name: str, fact: ReportedFact) -> str:
    return fact.reason if fact.value is None else _value_text(name, fact.value)


def headline(report: HardwareReport) -> str:
    """Return what matters most, in a line."""
    proven = [target.name for target in report.targets if target.status == "proven"]
    parts = [report.label if report.label == report.device else f"{report.label} ({report.device})"]
    parts.append(f"runs {', '.join(proven)}" if proven else "runs no execution provider")
    if report.calibration is not None:
        parts.append(f"grade {report.calibration.grade}")
    return "; ".join(parts)


def hardware_sections(report: HardwareReport) -> tuple[Section, ...]:
    """Return the report's parts in reading order; empty ones are left out."""
    return tuple(section for section in _sections(report) if section.rows or section.notes)


def _sections(report: HardwareReport) -> Iterator[Section]:
    yield _facts_section(report)
    yield _accelerators_section(report)
    yield _targets_section(report)
    yield Section(
        title="Packages that exclude each other",
        columns=("module", "written by", "mend it with"),
        rows=tuple(
            (one.module, ", ".join(one.distributions), " && ".join(one.commands))
            for one in report.conflicts
        ),
    )
    if report.calibration is not None:
        for device in report.calibration.devices:
            yield _device_section(device)
        yield _noise_section(report.calibration)
    if report.census is not None:
        yield _census_section(report.census)
    yield Section(
        title="Not known" if report.complete else "Not known (the report is not complete)",
        columns=("what", "why"),
        rows=tuple(
            (f"{one.field}{' (required)' if one.is_required else ''}", one.reason)
            for one in report.missing
        ),
    )
    yield _provenance_section(report)


def _facts_section(report: HardwareReport) -> Section:
    groups = {"asserted": report.asserted, **report.hardware}
    # What is unknown stands once, in the section about that.
    rows = [
        (f"{group}.{name}", _value_or_reason(name, fact), fact.status.replace("_", " "))
        for group, facts in groups.items()
        for name, fact in facts.items()
        if fact.status != "unknown"
    ]
    return Section(title="Machine", columns=("fact", "value", "status"), rows=tuple(rows))


def _accelerators_section(report: HardwareReport) -> Section:
    rows = []
    for kind, fact in report.accelerators.items():
        if fact.value is None or not isinstance(fact.value, list | tuple):
            rows.append((kind, fact_text(kind, fact)))
            continue
        for number, device in enumerate(fact.value):
            rows += [(f"{kind} {number}.{name}", text) for name, text in _device_rows(device)]
    return Section(title="Accelerators", columns=("what", "value"), rows=tuple(rows))


def _device_rows(device: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in device.items():
        if isinstance(value, dict) and "status" in value:
            yield name, fact_text(name, ReportedFact(**value))


def _targets_section(report: HardwareReport) -> Section:
    rows = []
    for target in report.targets:
        ran = ", ".join(f"{name} ran {count} node" for name, count in target.nodes.items())
        version = target.versions.get("onnxruntime", "")
        proof = f"{ran}{f', onnxruntime {version}' if version else ''}"
        proof += "".join(f"; {words}" for device in target.devices if (words := _words(device)))
        if target.refused_types:
            proof += f"; it does not compute in {', '.join(target.refused_types)}"
        rows.append((target.name, target.status.replace("_", " "), target.reason or proof))
    return Section(
        title="Execution providers",
        columns=("target", "status", "proof or reason"),
        rows=tuple(rows),
    )


def _words(device: dict[str, str]) -> str:
    """Return a device that the runtime names with the versions of its libraries, else nothing."""
    versions = {"cuda": "CUDA", "cudnn": "cuDNN"}
    used = [f"{words} {device[name]}" for name, words in versions.items() if name in device]
    return ", ".join([device["name"], *used]) if "name" in device else ""


def _what(rate: Rate) -> str:
    if rate.kind == "memory_read":
        return f"memory read, {rate.operator} of {format_size(rate.work)}"
    return f"product {rate.data_type}, {rate.operator} {'x'.join(map(str, rate.shape))}"


def _device_section(device: DeviceCalibration) -> Section:
    best = [device.bandwidth(), device.cached_bandwidth()]
    best += [device.product(kind) for kind in device.data_types()]
    rows = [
        (
            f"{_what(rate)}{' *' if rate in best else ''}",
            rate_text(rate.median, rate.unit),
            rate_text(rate.best, rate.unit),
            str(len(rate.samples_s)),
        )
        for rate in device.rates
    ]
    return Section(
        title=f"Calibration of {device.target} ({device.threads} threads,"
        f" {format_duration(device.seconds)})",
        columns=("work", "median", "best", "n"),
        rows=tuple(rows),
        notes=(
            *(("* the fastest of its kind, on which floors rest.",) if rows else ()),
            *device.notes,
            *_refusals(device),
        ),
    )


def _refusals(device: DeviceCalibration) -> Iterator[str]:
    """Yield a sentence per reason; the same one for several shapes is said once."""
    by_reason: dict[str, list[str]] = {}
    for one in device.unmeasured:
        by_reason.setdefault(one.reason, []).append(one.what)
    for reason, works in by_reason.items():
        yield f"Not measured: {', '.join(works)}: {reason}"


def _noise_section(calibration: Calibration) -> Section:
    during = calibration.conditions.get("during", {})
    rows = [(name, _share_text(fact)) for name, fact in during.items()]
    for one in calibration.noise:
        interval = f"[{one.ci95[0]:.4f}, {one.ci95[1]:.4f}]" if one.ci95 else "(few rounds)"
        ratio = f"ratio {one.ratio:.4f} {interval}"
        text = f"{one.floor:.1%}: the same work twice, {ratio}, {one.rounds} rounds"
        rows.append((f"noise floor of {one.target}", text))
    return Section(
        title=f"Noise: grade {calibration.grade}",
        columns=("what", "value"),
        rows=tuple(rows),
        notes=(*calibration.grade_reasons, calibration.grade_rule),
    )


def _share_text(fact: ReportedFact) -> str:
    return f"{fact.value:.1%}" if isinstance(fact.value, float) else fact_text("", fact)


# What recipes are chosen by; the document has every metric.
_CENSUS_METRICS = (
    "latency.p50",
    "latency.p95",
    "ttft.p50",
    "tpot.p50",
    "energy",
    "energy_per_token",
    "memory",
    "device_memory",
    "size",
    "load",
    "new_length",
    "distortion",
)


def _census_section(census: Census) -> Section:
    known = {name for entry in census.entries for name in entry.metrics}
    metrics = [name for name in _CENSUS_METRICS if name in known]
    if is_decision(census.workload.kind):
        # There it is the latency: the first token decides.
        metrics = [name for name in metrics if name != "ttft.p50"]
    rows = [
        (
            entry.name,
            entry.target,
            entry.status.value.replace("_", " "),
            *(_metric_text(entry, name) for name in metrics),
        )
        for entry in census.entries
    ]
    failures = [f"{entry.name}: {entry.reason}" for entry in census.entries if entry.reason]
    absent = {line for entry in census.entries for line in unmeasured_lines(entry.unmeasured)}
    return Section(
        title=f"Census of {census.model.hub_id or census.model.spec}",
        columns=("recipe", "target", "outcome", *metrics),
        rows=tuple(rows),
        notes=(
            f"Workload {census.workload.digest[:12]}: {census.workload.statement}.",
            f"{census.method}.",
            *_noise_notes(census.noise),
            *failures,
            *sorted(absent),
        ),
    )


def _noise_notes(noise: SessionNoise | None) -> Iterator[str]:
    """Yield how quiet the machine was while the recipes were timed, with the shares."""
    if noise is None:
        return
    shares = ", ".join(f"{name} {share:.1%}" for name, share in noise.shares.items())
    grade = f"grade {noise.grade}, noisy" if noise.warning else f"grade {noise.grade}"
    yield f"Noise while timing: {grade} ({'; '.join([*noise.reasons, shares])})."


def _metric_text(entry: CensusEntry, name: str) -> str:
    metric = entry.metrics.get(name)
    if metric is None:
        return "-"
    floor = entry.floors.get(name.partition(".")[0])
    times = f" ({metric.value / floor:.1f}x floor)" if floor else ""
    return f"{format_quantity(metric.value, metric.unit)}{times}"


def _provenance_section(report: HardwareReport) -> Section:
    tool = report.tool
    commit = fact_text("git_commit", tool.git_commit)
    dirty = " with changes" if tool.git_dirty.value else ""
    rows = [
        ("tool", f"{tool.name} {tool.version}, commit {commit}{dirty}"),
        ("created", report.created),
        ("command", " ".join(report.command)),
        ("libraries", ", ".join(f"{name} {one}" for name, one in report.versions.items())),
    ]
    return Section(
        title="Provenance", columns=("what", "value"), rows=tuple(rows), notes=report.method
    )
