"""The shortest times that a calibrated device allows a model, and how near them it runs."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.calibration import DeviceCalibration, forward_operations
from autotune.candidate import Recipe
from autotune.errors import UsageError
from autotune.kinds import Kind, is_decision

from .hardware_report import Calibration, HardwareReport
from .run_report import ReportedModel, RunReport

__all__ = ["NearFloor", "check_machine", "device_of", "floors_of", "near_floors"]

_SAME = ("model", "usable_cores")


@dataclass(frozen=True, kw_only=True)
class NearFloor:
    """How near its floor a model runs.

    Attributes:
        model: name.
        metric: ``latency.p50``, ``ttft.p50`` or ``tpot.p50``.
        measured_s: its median, seconds.
        floor_s: the shortest possible time, seconds, greater than 0.
    """

    model: str
    metric: str
    measured_s: float
    floor_s: float

    @property
    def times(self) -> float:
        """Measured over floor; a model at its floor has 1."""
        return self.measured_s / self.floor_s


def floors_of(
    device: DeviceCalibration,
    recipe: Recipe,
    *,
    kind: Kind,
    weights: int | None,
    prompt_tokens: float | None,
    size_bytes: float | None,
) -> dict[str, float]:
    """Return the shortest possible seconds by metric, those that can be told.

    Args:
        device: calibrated, of the recipe's provider.
        recipe: how the model is built.
        kind: a decision is a prefill and little more between labels; a generated token reads
            every weight.
        weights: of the base model, None where they were not counted.
        prompt_tokens: mean of the workload, None where it is not known.
        size_bytes: of the built model, None where it was not measured.
    """
    prefill = None
    if weights is not None and prompt_tokens is not None:
        operations = forward_operations(weights=weights, tokens=round(prompt_tokens))
        prefill = device.prefill_floor_s(operations, recipe.precision.value)
    found = {"ttft": prefill}
    if is_decision(kind):
        found["latency"] = prefill
    elif size_bytes is not None:
        found["tpot"] = device.decode_floor_s(size_bytes)
    return {name: value for name, value in found.items() if value is not None}


def device_of(calibration: Calibration, provider: str) -> DeviceCalibration | None:
    """Return the device that runs a recipe's ``provider`` (the builder's word), or None.

    A calibration names providers as onnxruntime does: ``DmlExecutionProvider`` is ``dml``.
    """
    wanted = f"{provider}executionprovider".lower()
    return next((one for one in calibration.devices if one.provider.lower() == wanted), None)


def check_machine(report: RunReport, hardware: HardwareReport) -> None:
    """Compare the machine of a hardware report with a run's.

    Raises:
        UsageError: it is another one, or it was not calibrated.
    """
    if hardware.calibration is None:
        raise UsageError(
            "How near its floor a model runs takes a calibrated hardware report, this one has no"
            " calibration; take it with `autotune hardware --output FILE`."
        )
    group = report.hardware.get("processor", {})
    ours = [group.get(name, {}).get("value") for name in _SAME]
    facts = hardware.hardware.get("processor", {})
    theirs = [facts[name].value if name in facts else None for name in _SAME]
    if ours != theirs:
        raise UsageError(
            f"The run was on {ours!r}, the hardware report is of {theirs!r}; name the report of"
            " the run's machine."
        )


def near_floors(report: RunReport, hardware: HardwareReport) -> tuple[NearFloor, ...]:
    """Return how near their floors the chosen model, the baseline and the front run."""
    if hardware.calibration is None:
        return ()
    every = [report.chosen, report.nearest_miss, report.baseline, *report.front]
    models = {model.name: model for model in reversed(every) if model is not None}
    found = []
    for model in reversed(models.values()):
        device = device_of(hardware.calibration, model.recipe.provider)
        if device is not None:
            found += _of_model(report, model, device)
    return tuple(found)


def _of_model(
    report: RunReport, model: ReportedModel, device: DeviceCalibration
) -> list[NearFloor]:
    size = model.metrics.get("size")
    floors = floors_of(
        device,
        model.recipe,
        kind=report.task.kind,
        weights=report.model.parameters,
        prompt_tokens=report.workload.prompt_tokens,
        size_bytes=size.value if size else None,
    )
    if "latency" in floors:
        floors.pop("ttft", None)  # of a decision they are the same
    return [
        NearFloor(
            model=model.name,
            metric=f"{name}.p50",
            measured_s=model.metrics[f"{name}.p50"].value,
            floor_s=floor,
        )
        for name, floor in floors.items()
        if f"{name}.p50" in model.metrics
    ]
