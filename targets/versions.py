"""Which libraries an interpreter has, and which packages own a module of theirs.

Standard library only: the file is also run as a script by other interpreters
(a target may name its own). Nothing is imported to learn its version.
"""

from __future__ import annotations

import functools
import json
import platform
import subprocess
import sys
from typing import Any

__all__ = ["RUNTIME_FLAVOURS", "capabilities_of", "installed_here"]

# Each of these writes the same module directory, so an environment holds one of them.
# Plug-in packages (onnxruntime-qnn 2, onnxruntime-ep-*) are no flavours: they add files.
RUNTIME_FLAVOURS: dict[str, tuple[str, ...]] = {
    "onnxruntime": (
        "onnxruntime",
        "onnxruntime-gpu",
        "onnxruntime-directml",
        "onnxruntime-webgpu",
        "onnxruntime-openvino",
        "onnxruntime-windowsml",
        "onnxruntime-rocm",
        "onnxruntime-migraphx",
        "onnxruntime-cann",
        "onnxruntime-training",
        "ort-nightly",
        "ort-nightly-gpu",
    ),
    "onnxruntime_genai": (
        "onnxruntime-genai",
        "onnxruntime-genai-cuda",
        "onnxruntime-genai-directml",
        "onnxruntime-genai-rocm",
        "onnxruntime-genai-winml",
    ),
}
_LIBRARIES = (
    "autotune-slm",
    "bitsandbytes",
    "numpy",
    "onnx-ir",
    "optuna",
    "peft",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
    "onnxruntime-qnn",
    "onnxruntime-ep-webgpu",
    "onnxruntime-ep-openvino",
    "onnxruntime-ep-nv-tensorrt-rtx",
)


def _owns(name: str, module: str) -> bool:
    """Say whether the files of distribution ``name`` include ``module``; unknown counts."""
    import importlib.metadata  # noqa: PLC0415 - slow, and most commands need no versions

    files = importlib.metadata.distribution(name).files
    return files is None or any(str(file) == f"{module}/__init__.py" for file in files)


def _versions() -> dict[str, str]:
    import importlib.metadata  # noqa: PLC0415 - slow, and most commands need no versions

    names = [*_LIBRARIES, *(name for flavours in RUNTIME_FLAVOURS.values() for name in flavours)]
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return dict(sorted(found.items()))


def installed_here() -> dict[str, Any]:
    """Return ``python``, ``platform``, ``machine``, ``versions`` and ``owners`` of this process.

    ``owners`` maps each module that several flavours write to the distributions
    installed that do.
    """
    versions = _versions()
    return {
        "python": platform.python_version(),
        "platform": sys.platform,
        "machine": platform.machine(),
        "versions": versions,
        "owners": {
            module: [name for name in flavours if name in versions and _owns(name, module)]
            for module, flavours in RUNTIME_FLAVOURS.items()
        },
    }


def capabilities_of(interpreter: str) -> dict[str, Any]:
    """Return what ``installed_here`` says in ``interpreter``, and this CPU's ``device_class``.

    Raises:
        HardwareError: the interpreter cannot be run.
    """
    from .isa import device_class  # noqa: PLC0415 - absent where this file is run as a script

    facts = installed_here() if interpreter == sys.executable else dict(_ask(interpreter))
    return {**facts, "device_class": device_class()}


@functools.cache
def _ask(interpreter: str) -> dict[str, Any]:
    from autotune.errors import HardwareError  # noqa: PLC0415 - absent where run as a script

    try:
        answer = subprocess.run(
            [interpreter, "-P", __file__], capture_output=True, text=True, timeout=60, check=True
        )
        facts: dict[str, Any] = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise HardwareError(
            f"The interpreter {interpreter!r} cannot be run ({type(error).__name__}); name the "
            "python of an environment with Python 3.11 or later."
        ) from error
    return facts


if __name__ == "__main__":
    print(json.dumps(installed_here()))
