"""Instruction sets of this CPU that decide which kernels run, hence speed and rounding.

``device_class`` names the widest of them. Results of the same kernels agree
bit by bit within a class only, so it is part of every store key.
"""

from __future__ import annotations

import functools
import platform
import subprocess
import sys
from pathlib import Path

__all__ = ["cpu_flags", "device_class", "extensions", "relevant_extensions"]

# Widest first; names as in /proc/cpuinfo. AMX and AVX512_BF16 multiply bfloat16 (oneDNN,
# which torch uses), VNNI sums int8 products without the saturation of plain AVX2 (MLAS,
# onnxruntime's kernels), I8MM and BF16 are their Arm counterparts.
_CLASSES = (
    ("amx_bf16", "amx_bf16"),
    ("avx512_bf16", "avx512_bf16"),
    ("avx512_vnni", "avx512_vnni"),
    ("avx512f", "avx512"),
    ("avx_vnni", "avx_vnni"),
    ("avx2", "avx2"),
    ("sve2", "sve2"),
    ("i8mm", "neon_i8mm"),
    ("asimddp", "neon_dotprod"),
    ("asimd", "neon"),
)
_RELEVANT = (
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "amx_fp16",
    "asimd",
    "asimddp",
    "asimdhp",
    "bf16",
    "i8mm",
    "sve",
    "sve2",
    "sme",
)
# sysctl of macOS to the names of Linux.
_APPLE = {
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.AdvSIMD": "asimd",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_FP16": "asimdhp",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_SME": "sme",
}
# winnt.h, PF_* of IsProcessorFeaturePresent.
_WINDOWS = {39: "avx", 40: "avx2", 41: "avx512f", 19: "asimd", 43: "asimddp"}


def cpu_flags(cpuinfo: str) -> frozenset[str]:
    """Return the flags in the text of ``/proc/cpuinfo`` (``flags`` on x86, ``Features`` on Arm)."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def relevant_extensions(flags: frozenset[str]) -> tuple[str, ...]:
    """Return those of ``flags`` that matter for matrix products, in a fixed order."""
    return tuple(name for name in _RELEVANT if name in flags)


def device_class(flags: frozenset[str] | None = None) -> str:
    """Return the widest instruction set of ``flags`` (of this CPU by default).

    >>> device_class(frozenset({"avx2", "avx512f"}))
    'avx512'

    A CPU of which nothing is known is its own class: the machine's architecture.
    """
    known = extensions() if flags is None else flags
    for flag, name in _CLASSES:
        if flag in known:
            return name
    return platform.machine().lower() or "unknown"


@functools.cache
def extensions() -> frozenset[str]:
    """Return the instruction sets of this CPU under Linux's names; empty where unknown."""
    if sys.platform == "darwin":
        return frozenset(name for key, name in _APPLE.items() if _sysctl(key) == "1")
    if sys.platform == "win32":
        return _windows_flags()
    try:
        return cpu_flags(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return frozenset()


def _sysctl(key: str) -> str:
    try:
        answer = subprocess.run(
            ["sysctl", "-n", key], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()


def _windows_flags() -> frozenset[str]:
    if sys.platform != "win32":
        return frozenset()
    import ctypes  # noqa: PLC0415 - Windows only

    present = ctypes.windll.kernel32.IsProcessorFeaturePresent
    return frozenset(name for number, name in _WINDOWS.items() if present(number))
