"""Script: what CUDA's own libraries say in this interpreter, beside onnxruntime.

Needs the standard library; onnxruntime finds the libraries that pip installed. A library
that cannot be loaded costs the provider without an error (the session moves to the
CPU with a printed line), so each is asked for by its name. No context is made on a device.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import json
import os
import sys
from collections.abc import Callable
from typing import Any

Load = Callable[[str], Any]

# https://docs.nvidia.com/cuda/cuda-driver-api, CUdevice_attribute
_MAJOR, _MINOR = 75, 76
_NAME_BYTES = 256


def library_names(cuda_version: str, *, is_windows: bool) -> dict[str, str]:
    """Return the file of each library that CUDA ``cuda_version``'s provider or onnxruntime-genai
    opens. The names of curand and cuDNN are those of CUDA 12 and 13 alike.
    """
    major = cuda_version.partition(".")[0]
    cufft = int(major) - 1  # its own numbers
    if is_windows:
        return {
            "driver": "nvcuda.dll",
            "runtime": f"cudart64_{major}.dll",
            "cublasLt": f"cublasLt64_{major}.dll",
            "cublas": f"cublas64_{major}.dll",
            "curand": "curand64_10.dll",
            "cufft": f"cufft64_{cufft}.dll",
            "cudnn": "cudnn64_9.dll",
        }
    return {
        "driver": "libcuda.so.1",
        "runtime": f"libcudart.so.{major}",
        "cublasLt": f"libcublasLt.so.{major}",
        "cublas": f"libcublas.so.{major}",
        "curand": "libcurand.so.10",
        "cufft": f"libcufft.so.{cufft}",
        "cudnn": "libcudnn.so.9",
    }


def _version(library: Any, function: str) -> str:
    """Return what ``int function(int *version)`` tells, ``1000 * major + 10 * minor``."""
    number = ctypes.c_int()
    if getattr(library, function)(ctypes.byref(number)) or not number.value:
        return ""
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def _cudnn_version(library: Any) -> str:
    """Return cuDNN's version; since 9.0 the number is 10000, 100 and 1 times its parts."""
    library.cudnnGetVersion.restype = ctypes.c_size_t
    number = int(library.cudnnGetVersion())
    return f"{number // 10000}.{number % 10000 // 100}.{number % 100}"


def _devices(driver: Any) -> tuple[list[dict[str, str]], str]:
    """Return the devices in the order of their numbers, or the driver's name of its error."""
    count = ctypes.c_int()
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code:
        words = ctypes.c_char_p()
        driver.cuGetErrorName(code, ctypes.byref(words))
        return [], (words.value or str(code).encode()).decode()
    return [_device(driver, number) for number in range(count.value)], ""


def _device(driver: Any, number: int) -> dict[str, str]:
    handle, name = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES)
    memory, parts = ctypes.c_size_t(), (ctypes.c_int(), ctypes.c_int())
    driver.cuDeviceGet(ctypes.byref(handle), number)
    driver.cuDeviceGetName(name, _NAME_BYTES, handle)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    for part, attribute in zip(parts, (_MAJOR, _MINOR), strict=True):
        driver.cuDeviceGetAttribute(ctypes.byref(part), attribute, handle)
    return {
        "type": "GPU",
        "vendor": "NVIDIA",
        "number": str(number),
        "name": name.value.decode("utf-8", errors="replace"),
        "compute_capability": f"{parts[0].value}.{parts[1].value}",
        "memory_bytes": str(memory.value),
    }


def ask(cuda_version: str, *, is_windows: bool, load: Load) -> dict[str, Any]:
    """Return the libraries that cannot be loaded, the versions of the others, the devices.

    Args:
        cuda_version: that the runtime was built with, ``13.0``.
        is_windows: how libraries are named.
        load: opens one by its name and raises OSError.
    """
    opened: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for name, file in library_names(cuda_version, is_windows=is_windows).items():
        try:
            opened[name] = load(file)
        except OSError as error:
            missing[file] = " ".join(str(error).split())
    devices, failure = _devices(opened["driver"]) if "driver" in opened else ([], "")
    return {
        "built_for": cuda_version,
        "missing": missing,
        "cuda": _version(opened["runtime"], "cudaRuntimeGetVersion") if "runtime" in opened else "",
        "cudnn": _cudnn_version(opened["cudnn"]) if "cudnn" in opened else "",
        "driver_cuda": _version(opened["driver"], "cuDriverGetVersion")
        if "driver" in opened
        else "",
        "devices": devices,
        "driver_error": failure,
    }


def main() -> None:
    """Write the answer as the last line; ``{}`` where onnxruntime is no build for CUDA."""
    json.load(sys.stdin)
    built = ""
    with contextlib.suppress(ImportError, AttributeError):
        ort = importlib.import_module("onnxruntime")
        about = importlib.import_module("onnxruntime.capi.build_and_package_info")
        built = str(about.cuda_version)
        with contextlib.redirect_stdout(io.StringIO()):  # what it prints is asked again below
            ort.preload_dlls()
    is_windows = os.name == "nt"
    print(json.dumps(ask(built, is_windows=is_windows, load=ctypes.CDLL) if built else {}))


if __name__ == "__main__":
    main()
