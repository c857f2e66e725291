"""Small documents in the form that compare and pick read."""

from __future__ import annotations

from dataclasses import replace

from autotune.measurement import Measurement, metric_unit
from autotune.reports import Evidence, MeasuredModel, Origin

ORIGIN = Origin(
    kind="run",
    created="2026-11-23T10:00:00+00:00",
    device="cpu: AMD EPYC, 2 usable cores",
    model="m" * 40,
    model_name="owner/tiny",
    workload="f" * 64,
    task="d" * 64,
    facts={"processor.model": "AMD EPYC", "processor.usable_cores": 2.0},
)


def number(
    metric: str, value: float, spread: float | None = 0.05, *, split: str = ""
) -> tuple[str, Measurement]:
    """Return key and number; ``spread`` is half the interval as a share of the value."""
    interval = None if spread is None else (value * (1 - spread), value * (1 + spread))
    measurement = Measurement(
        metric=metric, unit=metric_unit(metric), value=value, n=64, ci95=interval
    )
    return (f"{metric}@{split}" if split else metric), measurement


def model(
    name: str,
    *,
    latency: float | None = None,
    accuracy: float | None = None,
    size: float | None = None,
    spread: float = 0.05,
    key: str = "",
) -> MeasuredModel:
    numbers = []
    if latency is not None:
        numbers.append(number("latency.p95", latency, spread))
    if accuracy is not None:
        numbers.append(number("accuracy", accuracy, 0.03, split="validation"))
    if size is not None:
        numbers.append(number("size", size, None))
    return MeasuredModel(key=key or name, name=name, numbers=dict(numbers))


def document(*models: MeasuredModel, label: str = "A", **changes: object) -> Evidence:
    """Return a document; ``changes`` replace fields of its origin."""
    return Evidence(
        label=label,
        path=f"{label.lower()}.json",
        origin=replace(ORIGIN, **changes),  # type: ignore[arg-type]  # fields of Origin
        models=models,
    )
