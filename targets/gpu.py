"""Graphics processors: NVIDIA's through NVML or nvidia-smi, DirectX adapters through WMI.

Reading never raises and changes nothing. That a device is here says nothing about
what onnxruntime can run on it; ``detect`` does.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .fact import Fact, detected, not_applicable, probe, unknown

__all__ = ["Accelerators", "Adapter", "Gpu", "read_accelerators", "read_nvidia"]

T = TypeVar("T")
Ask = Callable[[Sequence[str]], str]

_ROOT = Path("/")
_TIMEOUT_S = 20.0
_MIB, _MHZ = 2**20, 1e6
_NS = 1e-9
_NEEDS_NVML = "needs NVML; pip install nvidia-ml-py"
# Columns of `nvidia-smi --help-query-gpu`, in the order of the parser below.
_SMI_COLUMNS = (
    "index",
    "name",
    "driver_version",
    "memory.total",
    "memory.used",
    "compute_cap",
    "power.limit",
    "clocks.max.sm",
    "clocks.max.memory",
    "clocks_throttle_reasons.active",
    "ecc.mode.current",
    "mig.mode.current",
    "clocks.current.sm",
    "uuid",
)
# nvml.h, nvmlClocksThrottleReasons: what holds the clocks back, idling and user limits aside.
_THROTTLE_BITS = {
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
_WMI = (
    "[Console]::OutputEncoding = [Text.Encoding]::UTF8; "
    "@(Get-CimInstance Win32_VideoController | "
    "Select-Object Name, DriverVersion, AdapterRAM, AdapterCompatibility) | "
    "ConvertTo-Json -Compress"
)
# Win32_VideoController.AdapterRAM has 32 bits; larger memories show as this or just below.
_WMI_LARGEST = 2**32 - 2**20


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """An NVIDIA device.

    Attributes:
        index: as the driver counts.
        name: of the product.
        driver: version.
        memory_bytes: in all.
        memory_used_bytes: by all processes at the moment of reading.
        compute_capability: ``9.0`` and the like.
        power_limit_w: enforced now.
        sm_clock_hz: highest of the processors.
        memory_clock_hz: highest of the memory.
        throttled_by: what holds the clocks back now, ``none`` where nothing does.
        ecc: ``Enabled`` or ``Disabled``.
        mig: the same, whether the device is split.
        processes: that compute on it now.
        sm_clock_now_hz: of the processors at the moment of reading, low while it idles.
        uuid_sha256: of the device's identity, so that two reports can tell whether they are
            of the same one and nothing else.
        driver_cuda: newest CUDA that the driver runs, ``13.0``.
        held_by_power_s: seconds since the driver's start in which the power limit held the
            clocks back.
        held_by_heat_s: the same for temperature.
    """

    index: int
    name: Fact[str]
    driver: Fact[str]
    memory_bytes: Fact[int]
    memory_used_bytes: Fact[int]
    compute_capability: Fact[str]
    power_limit_w: Fact[float]
    sm_clock_hz: Fact[float]
    memory_clock_hz: Fact[float]
    throttled_by: Fact[str]
    ecc: Fact[str]
    mig: Fact[str]
    processes: Fact[int]
    sm_clock_now_hz: Fact[float]
    uuid_sha256: Fact[str]
    driver_cuda: Fact[str]
    held_by_power_s: Fact[float]
    held_by_heat_s: Fact[float]


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A DirectX adapter as Windows lists it."""

    name: Fact[str]
    vendor: Fact[str]
    driver: Fact[str]
    memory_bytes: Fact[int]


@dataclass(frozen=True, kw_only=True)
class Accelerators:
    """Devices beside the processor.

    Attributes:
        nvidia: devices of the NVIDIA driver.
        nvidia_source: ``nvml`` or ``nvidia-smi``, where there are any.
        directx: adapters of Windows.
    """

    nvidia: Fact[tuple[Gpu, ...]]
    nvidia_source: Fact[str]
    directx: Fact[tuple[Adapter, ...]]


def _ask_program(command: Sequence[str]) -> str:
    answer = subprocess.run(
        list(command), capture_output=True, timeout=_TIMEOUT_S, check=True, stdin=subprocess.DEVNULL
    )
    # Localised systems answer in their own encoding; a name is not worth a failure.
    return answer.stdout.decode("utf-8", errors="replace")


def _import_nvml() -> Any:
    return importlib.import_module("pynvml")


def read_accelerators(
    *,
    root: Path = _ROOT,
    platform_name: str = sys.platform,
    ask: Ask = _ask_program,
    import_nvml: Callable[[], Any] = _import_nvml,
) -> Accelerators:
    """Return the graphics processors of this machine; never raises.

    Args:
        root: where ``proc`` is looked for, which shows whether a driver is loaded.
        platform_name: as ``sys.platform``.
        ask: runs a command and returns what it prints.
        import_nvml: returns the module of the package ``nvidia-ml-py``.
    """
    nvidia, source = _nvidia(root, platform_name, ask, import_nvml)
    return Accelerators(
        nvidia=nvidia,
        nvidia_source=source,
        directx=probe(lambda: _adapters(ask))
        if platform_name == "win32"
        else not_applicable("DirectX is a part of Windows"),
    )


def read_nvidia() -> Fact[tuple[Gpu, ...]]:
    """Return the devices of the NVIDIA driver, or why none are known; never raises."""
    return _nvidia(_ROOT, sys.platform, _ask_program, _import_nvml)[0]


def _nvidia(
    root: Path, platform_name: str, ask: Ask, import_nvml: Callable[[], Any]
) -> tuple[Fact[tuple[Gpu, ...]], Fact[str]]:
    """Return the devices and where they were read; NVML first, it says most."""
    if platform_name == "darwin":
        absent = not_applicable("there is no NVIDIA driver for macOS")
        return absent, absent
    nvml = probe(lambda: _nvml_gpus(import_nvml()))
    if nvml.value is not None:
        return nvml, detected("nvml")
    smi = probe(lambda: _smi_gpus(ask))
    if smi.value is not None:
        return smi, detected("nvidia-smi")
    is_loaded = (root / "proc/driver/nvidia/version").exists()
    if platform_name == "linux" and not is_loaded:
        absent = not_applicable("no NVIDIA driver is loaded")
        return absent, absent
    reason = f"NVML: {nvml.reason}; nvidia-smi: {smi.reason}"
    return unknown(reason), unknown(reason)


def _nvml_gpus(nvml: Any) -> tuple[Gpu, ...]:
    """Return the devices that NVML lists.

    Raises:
        RuntimeError: NVML does not start, as without a driver.
    """
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise RuntimeError(str(error)) from error
    try:
        return tuple(_nvml_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    except nvml.NVMLError as error:
        raise RuntimeError(str(error)) from error
    finally:
        nvml.nvmlShutdown()


def _nvml_gpu(nvml: Any, index: int) -> Gpu:
    device = nvml.nvmlDeviceGetHandleByIndex(index)

    def fact(read: Callable[[], T]) -> Fact[T]:
        try:
            return probe(read)
        except nvml.NVMLError as error:
            is_missing = getattr(error, "value", None) == nvml.NVML_ERROR_NOT_SUPPORTED
            return (not_applicable if is_missing else unknown)(f"NVML: {error}")

    def held(policy: int) -> float:
        return int(nvml.nvmlDeviceGetViolationStatus(device, policy).violationTime) * _NS

    def switch(value: int) -> str:
        return "Enabled" if value else "Disabled"

    return Gpu(
        index=index,
        name=fact(lambda: _text(nvml.nvmlDeviceGetName(device))),
        driver=fact(lambda: _text(nvml.nvmlSystemGetDriverVersion())),
        memory_bytes=fact(lambda: int(nvml.nvmlDeviceGetMemoryInfo(device).total)),
        memory_used_bytes=fact(lambda: int(nvml.nvmlDeviceGetMemoryInfo(device).used)),
        compute_capability=fact(
            lambda: "{}.{}".format(*nvml.nvmlDeviceGetCudaComputeCapability(device))
        ),
        power_limit_w=fact(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(device) / 1e3),
        sm_clock_hz=fact(lambda: nvml.nvmlDeviceGetMaxClockInfo(device, nvml.NVML_CLOCK_SM) * _MHZ),
        memory_clock_hz=fact(
            lambda: nvml.nvmlDeviceGetMaxClockInfo(device, nvml.NVML_CLOCK_MEM) * _MHZ
        ),
        throttled_by=fact(
            lambda: _throttled_by(int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device)))
        ),
        ecc=fact(lambda: switch(nvml.nvmlDeviceGetEccMode(device)[0])),
        mig=fact(lambda: switch(nvml.nvmlDeviceGetMigMode(device)[0])),
        processes=fact(lambda: len(nvml.nvmlDeviceGetComputeRunningProcesses(device))),
        sm_clock_now_hz=fact(
            lambda: nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM) * _MHZ
        ),
        uuid_sha256=fact(lambda: _hashed(_text(nvml.nvmlDeviceGetUUID(device)))),
        driver_cuda=fact(lambda: _cuda_text(nvml.nvmlSystemGetCudaDriverVersion())),
        held_by_power_s=fact(lambda: held(nvml.NVML_PERF_POLICY_POWER)),
        held_by_heat_s=fact(lambda: held(nvml.NVML_PERF_POLICY_THERMAL)),
    )


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value


def _hashed(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()


def _cuda_text(number: int) -> str:
    """Return CUDA's version from ``1000 * major + 10 * minor``."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _throttled_by(bits: int) -> str:
    return ", ".join(name for bit, name in _THROTTLE_BITS.items() if bits & bit) or "none"


def _smi_gpus(ask: Ask) -> tuple[Gpu, ...]:
    query = f"--query-gpu={','.join(_SMI_COLUMNS)}"
    try:
        text = ask(("nvidia-smi", query, "--format=csv,noheader,nounits"))
        rows = list(csv.reader(text.splitlines(), skipinitialspace=True))
    except (subprocess.SubprocessError, csv.Error) as error:
        raise RuntimeError(str(error)) from error
    return tuple(_smi_gpu(dict(zip(_SMI_COLUMNS, row, strict=True))) for row in rows if row)


def _smi_gpu(row: dict[str, str]) -> Gpu:
    def fact(column: str, read: Callable[[str], T]) -> Fact[T]:
        text = row[column].strip()
        # Newer drivers write [N/A], older ones [Not Supported]; errors stand in brackets too.
        if text in ("[N/A]", "N/A", "[Not Supported]"):
            return not_applicable("nvidia-smi: not supported by this device")
        if text.startswith("["):
            return unknown(f"nvidia-smi: {text.strip('[]')}")
        return probe(lambda: read(text))

    return Gpu(
        index=int(row["index"]),
        name=fact("name", str),
        driver=fact("driver_version", str),
        memory_bytes=fact("memory.total", lambda text: int(text) * _MIB),
        memory_used_bytes=fact("memory.used", lambda text: int(text) * _MIB),
        compute_capability=fact("compute_cap", str),
        power_limit_w=fact("power.limit", float),
        sm_clock_hz=fact("clocks.max.sm", lambda text: float(text) * _MHZ),
        memory_clock_hz=fact("clocks.max.memory", lambda text: float(text) * _MHZ),
        throttled_by=fact(
            "clocks_throttle_reasons.active", lambda text: _throttled_by(int(text, 16))
        ),
        ecc=fact("ecc.mode.current", str),
        mig=fact("mig.mode.current", str),
        processes=unknown(_NEEDS_NVML),
        sm_clock_now_hz=fact("clocks.current.sm", lambda text: float(text) * _MHZ),
        uuid_sha256=fact("uuid", _hashed),
        driver_cuda=unknown(_NEEDS_NVML),
        held_by_power_s=unknown(_NEEDS_NVML),
        held_by_heat_s=unknown(_NEEDS_NVML),
    )


def _adapters(ask: Ask) -> tuple[Adapter, ...]:
    try:
        text = ask(("powershell", "-NoProfile", "-NonInteractive", "-Command", _WMI))
    except subprocess.SubprocessError as error:
        raise RuntimeError(str(error)) from error
    rows = json.loads(text)
    # Windows PowerShell 5 turns a list of one into its only member.
    return tuple(_adapter(row) for row in (rows if isinstance(rows, list) else [rows]))


def _adapter(row: dict[str, Any]) -> Adapter:
    return Adapter(
        name=probe(lambda: row.get("Name")),
        vendor=probe(lambda: row.get("AdapterCompatibility")),
        driver=probe(lambda: row.get("DriverVersion")),
        memory_bytes=_adapter_memory(row.get("AdapterRAM")),
    )


def _adapter_memory(n_bytes: Any) -> Fact[int]:
    if not isinstance(n_bytes, int) or n_bytes <= 0:
        return unknown("not reported by this system")
    if n_bytes >= _WMI_LARGEST:
        return unknown("4 GiB or more, which is as far as the field of WMI goes")
    return detected(n_bytes)
