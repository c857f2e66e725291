"""Accelerators are read as facts, and nothing that a driver says stops the reading."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.plain import to_plain
from autotune.targets import Accelerators, Gpu, read_accelerators

# Two devices as nvidia-smi lists them: a server card, and a laptop's that knows less.
SMI = (
    "0, NVIDIA H100 80GB HBM3, 580.65.06, 81559, 1024, 9.0, 700.00, 1980, 2619,"
    " 0x0000000000000001, Enabled, Disabled, 345, GPU-1\n"
    "1, NVIDIA GeForce RTX 4060 Laptop GPU, 580.65.06, 8188, 0, 8.9, [N/A], 3105, 8001,"
    " 0x0000000000000024, [N/A], [Unknown Error], 210, GPU-2\n"
)


def no_nvml() -> Any:
    raise ImportError("No module named 'pynvml'")


def answering(text: str) -> Callable[[Sequence[str]], str]:
    return lambda _command: text


def failing(error: Exception) -> Callable[[Sequence[str]], str]:
    def ask(_command: Sequence[str]) -> str:
        raise error

    return ask


def read(root: Path, **changes: Any) -> Accelerators:
    seams = {"platform_name": "linux", "import_nvml": no_nvml, "ask": failing(FileNotFoundError())}
    return read_accelerators(root=root, **{**seams, **changes})


def gpus(found: Accelerators) -> tuple[Gpu, ...]:
    assert found.nvidia.value is not None
    return found.nvidia.value


def test_this_machine_is_read_without_an_error() -> None:
    found = read_accelerators()
    plain = to_plain(found)
    assert set(plain) == {"nvidia", "nvidia_source", "directx"}
    for fact in plain.values():
        assert (fact["value"] is None) == bool(fact["reason"])


def test_without_a_driver_there_is_no_device_which_is_no_gap(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert (found.nvidia.status, found.nvidia.reason) == (
        "not_applicable",
        "no NVIDIA driver is loaded",
    )
    assert found.directx.status == "not_applicable"


def test_a_driver_whose_tools_fail_is_unknown_with_both_messages(tmp_path: Path) -> None:
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text("NVRM version")
    found = read(tmp_path, ask=failing(subprocess.TimeoutExpired("nvidia-smi", 20)))
    assert found.nvidia.status == "unknown"
    assert "pynvml" in found.nvidia.reason
    assert "timed out" in found.nvidia.reason


def test_nvidia_smi_is_read_where_nvml_is_not_installed(tmp_path: Path) -> None:
    found = read(tmp_path, ask=answering(SMI))
    assert found.nvidia_source.value == "nvidia-smi"
    first, second = gpus(found)
    assert (first.name.value, first.compute_capability.value) == ("NVIDIA H100 80GB HBM3", "9.0")
    assert first.memory_bytes.value == 81559 * 2**20
    assert first.memory_clock_hz.value == 2.619e9
    assert (first.throttled_by.value, first.power_limit_w.value) == ("none", 700.0)
    assert second.memory_used_bytes.value == 0
    assert second.throttled_by.value == "software power cap, software thermal slowdown"
    assert (second.power_limit_w.status, second.mig.status) == ("not_applicable", "unknown")
    assert first.processes.status == "unknown"
    assert first.sm_clock_now_hz.value == 345e6
    identities = {first.uuid_sha256.value, second.uuid_sha256.value}
    assert len(identities) == 2
    assert not any("GPU-" in str(identity) for identity in identities)


class NvmlError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"code {value}")
        self.value = value


def nvml(**changes: Any) -> Any:
    """A module with the calls of nvidia-ml-py 13, for a machine with one device."""

    def unsupported(_device: int) -> Any:
        raise NvmlError(3)

    def broken(_device: int) -> Any:
        raise NvmlError(999)

    calls: dict[str, Any] = {
        "NVMLError": NvmlError,
        "NVML_ERROR_NOT_SUPPORTED": 3,
        "NVML_CLOCK_SM": 1,
        "NVML_CLOCK_MEM": 2,
        "NVML_PERF_POLICY_POWER": 0,
        "NVML_PERF_POLICY_THERMAL": 1,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda _device: b"NVIDIA L4",
        "nvmlSystemGetDriverVersion": lambda: "580.65.06",
        "nvmlDeviceGetMemoryInfo": lambda _device: SimpleNamespace(total=24 * 2**30, used=2**20),
        "nvmlDeviceGetCudaComputeCapability": lambda _device: (8, 9),
        "nvmlDeviceGetEnforcedPowerLimit": lambda _device: 72_000,
        "nvmlDeviceGetMaxClockInfo": lambda _device, kind: {1: 2040, 2: 6251}[kind],
        "nvmlDeviceGetCurrentClocksThrottleReasons": lambda _device: 0x8 | 0x1,
        "nvmlDeviceGetClockInfo": lambda _device, kind: {1: 210}[kind],
        "nvmlDeviceGetUUID": lambda _device: "GPU-1",
        "nvmlSystemGetCudaDriverVersion": lambda: 13000,
        "nvmlDeviceGetViolationStatus": lambda _device, policy: SimpleNamespace(
            violationTime={0: 2_500_000_000, 1: 0}[policy]
        ),
        "nvmlDeviceGetEccMode": lambda _device: (1, 1),
        "nvmlDeviceGetMigMode": unsupported,
        "nvmlDeviceGetComputeRunningProcesses": broken,
    }
    return SimpleNamespace(**{**calls, **changes})


def test_nvml_comes_first_and_each_fact_stands_for_itself(tmp_path: Path) -> None:
    found = read(tmp_path, import_nvml=nvml, ask=answering(SMI))
    assert found.nvidia_source.value == "nvml"
    (device,) = gpus(found)
    assert (device.name.value, device.driver.value) == ("NVIDIA L4", "580.65.06")
    assert (device.memory_bytes.value, device.power_limit_w.value) == (24 * 2**30, 72.0)
    assert (device.ecc.value, device.throttled_by.value) == ("Enabled", "hardware slowdown")
    assert device.mig.status == "not_applicable"
    assert (device.held_by_power_s.value, device.held_by_heat_s.value) == (2.5, 0.0)
    assert (device.driver_cuda.value, device.sm_clock_now_hz.value) == ("13.0", 210e6)
    smi = gpus(read(tmp_path, ask=answering(SMI)))[0]
    assert device.uuid_sha256.value == smi.uuid_sha256.value
    assert (device.processes.status, device.processes.reason) == ("unknown", "NVML: code 999")


def test_nvml_that_does_not_start_gives_way_to_nvidia_smi(tmp_path: Path) -> None:
    def refuse() -> None:
        raise NvmlError(9)

    found = read(tmp_path, import_nvml=lambda: nvml(nvmlInit=refuse), ask=answering(SMI))
    assert found.nvidia_source.value == "nvidia-smi"


@pytest.mark.parametrize("is_list", [True, False])
def test_directx_adapters_are_read_from_a_list_or_its_only_member(
    tmp_path: Path, *, is_list: bool
) -> None:
    row = {
        "Name": "AMD Radeon 780M",
        "AdapterCompatibility": "Advanced Micro Devices, Inc.",
        "DriverVersion": "32.0.11021.1011",
        "AdapterRAM": 536870912,
    }
    text = json.dumps([row] if is_list else row)
    directx = read(tmp_path, platform_name="win32", ask=answering(text)).directx
    assert directx.value is not None
    (adapter,) = directx.value
    assert (adapter.name.value, adapter.memory_bytes.value) == ("AMD Radeon 780M", 2**29)


@pytest.mark.parametrize("memory", [4293918720, 2**32 - 1, 0, None, "much"])
def test_memory_beyond_the_field_of_wmi_is_unknown_not_four_gigabytes(
    tmp_path: Path, memory: Any
) -> None:
    text = json.dumps([{"Name": "RTX 4090", "AdapterRAM": memory}])
    directx = read(tmp_path, platform_name="win32", ask=answering(text)).directx
    assert directx.value is not None
    assert directx.value[0].memory_bytes.status == "unknown"
    assert directx.value[0].driver.status == "unknown"


@given(text=st.text(max_size=80), system=st.sampled_from(["linux", "win32", "darwin"]))
def test_whatever_a_tool_prints_the_reading_ends_with_facts(text: str, system: str) -> None:
    found = read_accelerators(
        root=Path("/nowhere"), platform_name=system, import_nvml=no_nvml, ask=answering(text)
    )
    assert to_plain(found)
