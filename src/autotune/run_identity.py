"""What a run's results depend on beside its request: versions, devices, the key of its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.config import RunConfig
from autotune.evaluators import Workload
from autotune.passes import ModelSource, OtherPython, training_device
from autotune.plain import digest, to_plain
from autotune.target_report import TargetMachine
from autotune.targets import Executor, detected, read_accelerators
from autotune.task import TokenizedTask

__all__ = ["accelerators", "all_versions", "record_key", "worker_versions"]


def worker_versions(executor: Executor, *, log_path: str) -> dict[str, str]:
    """Return what store keys depend on: libraries of the workers, and what they compute on.

    Raises:
        HardwareError: torch sees a GPU that it cannot compute on.
    """
    capabilities = executor.capabilities()
    found = {str(name): str(version) for name, version in capabilities["versions"].items()}
    found["device-class"] = str(capabilities["device_class"])
    found["training-device"] = training_device(executor, found, log_path=log_path)
    return found


def accelerators() -> dict[str, Any]:
    """Return the names of NVIDIA's devices as a fact, with driver and memory."""
    found = read_accelerators().nvidia
    names = tuple(
        f"{gpu.name.value or 'NVIDIA device'} ({(gpu.memory_bytes.value or 0) / 1e9:.0f} GB,"
        f" driver {gpu.driver.value or 'unknown'})"
        for gpu in found.value or ()
    )
    return {"nvidia": to_plain(detected(names) if names else found)}


def all_versions(versions: Mapping[str, str], others: Mapping[str, OtherPython]) -> dict[str, str]:
    """Return versions here and, under ``PROVIDER: LIBRARY``, those of other interpreters."""
    theirs = {
        f"{provider}: {library}": version
        for provider, other in others.items()
        for library, version in other.versions.items()
    }
    return {**versions, **theirs}


def record_key(
    *,
    config: RunConfig,
    source: ModelSource,
    tokens: TokenizedTask,
    workload: Workload,
    versions: Mapping[str, str],
    hardware: Mapping[str, Any],
    target_machine: TargetMachine | None,
) -> str:
    """Return the key of the record: everything that a planner's decisions depend on.

    Machine facts that change from minute to minute (load, free memory) are left out.
    """
    asked = to_plain(config)
    for name in ("model", "data", "validation_data", "test_data", "target_report"):
        del asked[name]  # their contents count, not their names
    stable = {name: hardware["processor"][name] for name in ("model", "usable_cores", "isa")}
    if devices := hardware["accelerators"]["nvidia"]["value"]:
        stable["accelerators"] = devices
    return digest(
        {
            "config": asked,
            "model": source.artifact.digest,
            "data": tokens.digest,
            "workload": workload.digest,
            "versions": dict(versions),
            "machine": stable,
            **({"census": target_machine.census.digest} if target_machine else {}),
        }
    )
