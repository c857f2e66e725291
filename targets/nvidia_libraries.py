"""Load the CUDA libraries that pip installed, before a runtime looks for them.

Packages of NVIDIA (and torch, which depends on them) put the libraries where the dynamic
linker does not search. A library that a process has loaded already is found by its name,
so loading them first is all it takes; ``onnxruntime.preload_dlls`` does the same, but
importing it brings a second copy of the runtime into a process that measures memory.

Standard library only: child scripts, also of other interpreters, load this file by path.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["libraries_script", "load_nvidia_libraries"]

# Providers in the spelling of onnxruntime-genai whose libraries need NVIDIA's.
_PROVIDERS = ("cuda", "NvTensorRtRtx")
# What onnxruntime-gpu 1.31 and onnxruntime-genai-cuda 0.18 are linked against (readelf -d),
# dependencies first; cuDNN is loaded by the first node that needs it.
_NAMES = (
    "libcudart.so.*",
    "libcublasLt.so.*",
    "libcublas.so.*",
    "libcurand.so.*",
    "libnvJitLink.so.*",
    "libcufft.so.*",
    "libcudnn.so.*",
)


def libraries_script(provider: str) -> str:
    """Return the path of this file for a child that runs ``provider``; empty if it needs none.

    Args:
        provider: in the spelling of onnxruntime-genai.
    """
    return __file__ if provider in _PROVIDERS else ""


def load_nvidia_libraries(folders: Iterable[str] | None = None) -> list[str]:
    """Load what is there; return the paths.

    A library that does not load is left out: the provider says it better when it is missed,
    and a system-wide installation needs none of this.

    Args:
        folders: that hold packages, those of this interpreter by default.
    """
    loaded = []
    if not sys.platform.startswith("linux"):
        return loaded
    bases = [Path(folder) for folder in (sys.path if folders is None else folders) if folder]
    for name in _NAMES:
        # CUDA 13 has one folder (nvidia/cu13/lib), older ones a folder per library.
        for file in sorted(path for base in bases for path in base.glob(f"nvidia/*/lib/{name}")):
            with contextlib.suppress(OSError):
                ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)
                loaded.append(str(file))
    return loaded
