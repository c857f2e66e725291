"""Whether a metric can be measured on this machine: asked before anything runs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from .meters import device_memory_reason, energy_reason
from .usage import peak_bytes

__all__ = ["nvml_file", "unmeasurable"]

_ROOT = Path("/")


def nvml_file() -> str:
    """Return the file of the module pynvml in this environment, empty where it is not installed.

    A measuring child of another environment loads it from here.
    """
    try:
        spec = importlib.util.find_spec("pynvml")
    except (ImportError, ValueError):
        return ""
    return spec.origin or "" if spec else ""


def unmeasurable(metric: str, provider: str, *, root: Path = _ROOT, nvml: str | None = None) -> str:
    """Return why nothing on this machine measures ``metric`` for ``provider``, empty where it can.

    Args:
        metric: its statistic may follow (``latency.p95``).
        provider: in the spelling of onnxruntime-genai.
        root: where ``sys`` is looked for.
        nvml: file of the module pynvml, empty for none; None looks for it.
    """
    name = metric.partition(".")[0]
    library = nvml_file() if nvml is None else nvml
    if name in ("energy", "energy_per_token"):
        return energy_reason(provider=provider, root=root, nvml=library)
    if name == "device_memory":
        return device_memory_reason(provider=provider, nvml=library)
    if name == "memory" and peak_bytes() is None:
        return "this system does not tell the peak memory of a process"
    return ""
