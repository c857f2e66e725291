"""Why CUDA does not run here, with the way out: driver, libraries, kernels of the build.

The runtime's own words for all of these are one ("left its node to another provider").
A reason is given only after a proof has failed; nothing is refused by these tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .fact import Fact
from .gpu import Gpu

__all__ = ["advice", "unmet"]

# First driver series of each CUDA release: table 3 of
# https://docs.nvidia.com/cuda/cuda-toolkit-release-notes.
_SERIES = {12: 525, 13: 580}
# Compute capabilities that the wheel of onnxruntime-gpu has machine code for (read from its
# fat binaries). There is no PTX, so a device needs its own generation's, of its step or lower.
_KERNELS_OF = "onnxruntime-gpu 1.31.1 for Linux"
_KERNELS = ((7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (12, 0))
_LIBRARIES = 'pip install "onnxruntime-gpu[cuda,cudnn]" nvidia-cublas'
_DRIVER_FILES = ("libcuda.so.1", "nvcuda.dll")
_CUDNN_FILES = ("libcudnn.so.9", "cudnn64_9.dll")  # convolutions open it, language models do not


def unmet(told: Mapping[str, Any], gpus: Fact[tuple[Gpu, ...]]) -> str:
    """Return which requirement of CUDA is not met, empty where none is known to be.

    Args:
        told: answer of ``cuda_child``, empty for a runtime that is no build for CUDA.
        gpus: as the driver lists them.
    """
    if not told:
        return ""
    missing: Mapping[str, str] = told["missing"]
    if any(file in missing for file in _DRIVER_FILES):
        return _no_driver(told, gpus)
    outdated = _outdated(told, gpus)
    if outdated:
        return outdated
    if not told["devices"]:
        words = f" ({told['driver_error']})" if told["driver_error"] else ""
        return (
            f"the NVIDIA driver shows no device to this process{words}; look at nvidia-smi and"
            " at the variable CUDA_VISIBLE_DEVICES"
        )
    needed = [file for file in missing if file not in _CUDNN_FILES]
    if needed:
        return (
            f"{', '.join(needed)} of CUDA {told['built_for']} cannot be loaded; install the"
            f" libraries beside it: {_LIBRARIES}"
        )
    return _without_kernels(told["devices"])


def _driver_of(gpus: Fact[tuple[Gpu, ...]]) -> str:
    """Return the driver's version where it is known."""
    return next((one.driver.value for one in gpus.value or () if one.driver.value), "")


def _no_driver(told: Mapping[str, Any], gpus: Fact[tuple[Gpu, ...]]) -> str:
    if gpus.value:
        return (
            f"the NVIDIA driver {_driver_of(gpus)} is loaded, but its library for CUDA is not"
            " found; in a container, give it the device with its compute capability"
            " (NVIDIA_DRIVER_CAPABILITIES=compute,utility)"
        )
    return f"there is no NVIDIA driver; it needs an NVIDIA GPU with {_series_words(told)}"


def _series_words(told: Mapping[str, Any]) -> str:
    built = str(told["built_for"])
    series = _SERIES.get(int(built.partition(".")[0]))
    return f"a driver of series {series} or later" if series else f"a driver for CUDA {built}"


def _outdated(told: Mapping[str, Any], gpus: Fact[tuple[Gpu, ...]]) -> str:
    has, needs = (str(told[name]).partition(".")[0] for name in ("driver_cuda", "built_for"))
    if not has or int(has) >= int(needs):
        return ""
    version = _driver_of(gpus)
    return (
        f"the NVIDIA driver {f'{version} ' if version else ''}goes up to CUDA"
        f" {told['driver_cuda']}, the runtime is built for CUDA {told['built_for']}: install"
        f" {_series_words(told)}"
    )


def _without_kernels(devices: Sequence[Mapping[str, str]]) -> str:
    """Return that the first device, which the provider takes, has no kernels in the wheel."""
    text = devices[0]["compute_capability"]
    major, minor = (int(part) for part in text.split("."))
    if any(major == own and minor >= step for own, step in _KERNELS):
        return ""
    held = ", ".join(f"{own}.{step}" for own, step in _KERNELS)
    return (
        f"{devices[0]['name']} has compute capability {text}, and {_KERNELS_OF} has kernels for"
        f" {held} only; use another device, or a build of onnxruntime for this one"
    )


def advice(gpus: Fact[tuple[Gpu, ...]], install: Sequence[str]) -> str:
    """Return how to use the NVIDIA devices of this machine, empty where there are none."""
    names = [name for one in gpus.value or () if (name := one.name.value)]
    if not names:
        return ""
    version = _driver_of(gpus)
    words = f"{', '.join(names)}{f' with driver {version}' if version else ''}"
    series = version.partition(".")[0]
    newest = max(_SERIES)
    old = (
        f" after a driver of series {_SERIES[newest]} or later"
        if series.isdigit() and int(series) < _SERIES[newest]
        else ""
    )
    return (
        f"this machine has {words}: install {' && '.join(install)} in an environment of its"
        f" own{old}, and use --target cuda@/path/to/python"
    )
