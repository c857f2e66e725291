"""Which system a configuration runs on, and which target that is here."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from autotune.errors import UsageError

from .spelling import Part, nearest

__all__ = ["chosen_system", "target_of"]

_CPU = "CPUExecutionProvider"
_TARGETS: Mapping[str, str] = {
    _CPU: "cpu",
    "CUDAExecutionProvider": "cuda",
    "DmlExecutionProvider": "directml",
    "WebGpuExecutionProvider": "webgpu",
    "OpenVINOExecutionProvider": "openvino",
    "QNNExecutionProvider": "qnn",
    "NvTensorRTRTXExecutionProvider": "tensorrt-rtx",
}
_OF_DEVICE = {"cpu": _CPU, "gpu": "CUDAExecutionProvider"}
# Providers that run on either device, so that naming one says nothing of it.
_EITHER = ("OpenVINOExecutionProvider",)


def chosen_system(engine: Part | None, systems: Sequence[Part]) -> Part | None:
    """Return the system that the engine names, the only one where it names none, or None.

    Raises:
        UsageError: a name that no system has, or host and target that differ.
    """
    named = {}
    for role in ("host", "target"):
        name = engine.get(role) if engine else None
        if name is None:
            continue
        found = next((part for part in systems if part.name == name), None)
        if found is None:
            known = [part.name for part in systems]
            raise UsageError(
                f"engine.{role} names the system {name!r}, there are {', '.join(known) or 'none'}"
                f"{nearest(name, known) or '.'}"
            )
        named[role] = found
    if len({part.name for part in named.values()}) > 1:
        raise UsageError(
            f"engine.host is {named['host'].name!r} and engine.target {named['target'].name!r}:"
            " a run trains and measures in one place. Name one, and carry the other's numbers"
            " over with --target-report."
        )
    if named:
        return next(iter(named.values()))
    return systems[0] if len(systems) == 1 else None


def target_of(system: Part | None, engine: Part | None) -> str:
    """Return the target in the words of ``--target``.

    Raises:
        UsageError: device, provider and engine contradict each other, or a provider that
            is no target.
    """
    names = _providers(system, engine)
    unknown = [name for name in names if name not in _TARGETS]
    if unknown:
        raise UsageError(
            f"No target runs {unknown[0]!r} (known: {', '.join(_TARGETS)})"
            f"{nearest(unknown[0], _TARGETS) or '.'}"
        )
    python = _interpreter(system)
    return ",".join(f"{_TARGETS[name]}{python}" for name in names)


def _providers(system: Part | None, engine: Part | None) -> tuple[str, ...]:
    theirs: tuple[str, ...] = system.get("accelerators.execution_providers", ()) if system else ()
    wanted: tuple[str, ...] = engine.get("execution_providers", ()) if engine else ()
    device = system.get("accelerators.device") if system else None
    if theirs and wanted and set(theirs) != set(wanted):
        raise UsageError(
            f"engine.execution_providers is {', '.join(wanted)}, the system"
            f" {system.name if system else ''!r} has {', '.join(theirs)}; leave one of them out."
        )
    names = theirs or wanted or (_OF_DEVICE.get(device or "cpu", _CPU),)
    for name in names:
        if device and name not in _EITHER and (name == _CPU) != (device == "cpu"):
            raise UsageError(
                f"{system.place if system else 'engine'} has the device {device!r} and the"
                f" provider {name!r}, which does not run on it; change one of them."
            )
    return names


def _interpreter(system: Part | None) -> str:
    """Return ``@PYTHON`` of an environment that a system names, else nothing."""
    if system is None or system.get("type") != "PythonEnvironment":
        return ""
    folder = system.get("python_environment_path")
    if folder is None:
        raise UsageError(f"{system.place} is a PythonEnvironment; give python_environment_path.")
    path = Path(folder).expanduser()
    inner = "Scripts" if sys.platform == "win32" else "bin"
    return f"@{path / 'python' if path.name == inner else path / inner / 'python'}"
