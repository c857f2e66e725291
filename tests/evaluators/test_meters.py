"""Energy and device memory from counters that a test moves, and every way to have none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from autotune.evaluators import Meters, unmeasurable

from .counters import RANGE_UJ, Devices, PowerTree

GIB = 2**30


@pytest.fixture
def power(tmp_path: Path) -> PowerTree:
    return PowerTree(tmp_path / "root")


@pytest.fixture
def devices(tmp_path: Path) -> Devices:
    return Devices(tmp_path / "nvml")


def meters(power: PowerTree, *, provider: str = "cpu", nvml: str = "") -> Meters:
    return Meters(provider=provider, root=power.root, nvml=nvml)


def used(one: Meters, *changes: tuple[Path, int], seconds: float = 1.0) -> dict[str, Any]:
    """Start, set counters, stop."""
    one.start()
    for counter, microjoules in changes:
        counter.write_text(f"{microjoules}\n")
    return one.stop(seconds)


def test_packages_are_added_up_and_their_parts_are_not(power: PowerTree) -> None:
    first = power.add("intel-rapl:0", "package-0", microjoules=1_000_000)
    second = power.add("intel-rapl:1", "package-1", microjoules=5)
    # Parts of a package, the platform around it, and the same package by a second driver.
    for zone, name in (
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:0:1", "dram"),
        ("intel-rapl:2", "psys"),
        ("intel-rapl-mmio:0", "package-0"),
    ):
        power.add(zone, name)
    told = used(meters(power), (first, 3_500_000), (second, 500_005))
    assert told["energy"]["joules"] == pytest.approx(3.0)
    assert told["energy"]["counters"] == ["package-0", "package-1"]
    assert told["unmeasured"].keys() == {"device_memory"}


def test_a_counter_that_begins_anew_is_carried_on(power: PowerTree) -> None:
    counter = power.add("intel-rapl:0", "package-0", microjoules=RANGE_UJ - 400_000)
    told = used(meters(power), (counter, 600_000))
    assert told["energy"]["joules"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("range_uj", "after", "seconds", "words"),
    [
        (RANGE_UJ, 900_000, 0.25, "package-0 did not advance in 0.25 s"),
        # At most 500 W: 60 s may be many rounds of such a counter, whichever way it differs.
        (1_000_000, 100_000, 60.0, "begins anew after 1 J, too few to tell how often in 60 s"),
        (1_000_000, 950_000, 60.0, "begins anew after 1 J, too few to tell how often in 60 s"),
        (0, 100_000, 1.0, "went back by 0.8 J"),
    ],
)
def test_what_a_counter_cannot_say_is_a_reason_and_never_zero(
    range_uj: int, after: int, seconds: float, words: str, power: PowerTree
) -> None:
    counter = power.add("intel-rapl:0", "package-0", microjoules=900_000, range_uj=range_uj)
    told = used(meters(power), (counter, after), seconds=seconds)
    assert told["energy"] is None
    assert words in told["unmeasured"]["energy"]


@pytest.mark.parametrize("metric", ["energy", "energy_per_token"])
def test_a_machine_without_counters_says_so_before_anything_runs(
    metric: str, power: PowerTree
) -> None:
    def reason(provider: str) -> str:
        return unmeasurable(metric, provider, root=power.root, nvml="")

    assert "no package in /sys/class/powercap" in reason("cpu")
    assert "pip install nvidia-ml-py" in reason("cuda")
    power.add("intel-rapl:0", "package-0")
    assert reason("cpu") == ""
    # The processor's counter alone would leave out what the provider works on.
    assert "pip install nvidia-ml-py" in reason("cuda")
    assert "no energy counter covers what the provider 'webgpu' runs on" in reason("webgpu")
    assert unmeasurable("latency.p95", "cpu", root=power.root, nvml="") == ""


@contextmanager
def _as_nobody() -> Iterator[None]:
    """Give up root's privileges for a while; whoever has none keeps what he is."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="Windows has no such counters")
def test_a_counter_for_root_alone_is_a_reason_and_no_error() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        power = PowerTree(Path(folder))
        power.add("intel-rapl:0", "package-0")
        power.add("intel-rapl:1", "package-1").chmod(0o400 if os.geteuid() == 0 else 0)
        with _as_nobody():
            told = used(meters(power))
            reason = unmeasurable("energy", "cpu", root=power.root, nvml="")
    # One of two packages would be a number that is too small.
    assert told["energy"] is None
    assert told["unmeasured"]["energy"] == reason
    assert "for root alone since Linux 5.10 (energy_uj of intel-rapl:1)" in reason


def device(**changes: Any) -> dict[str, Any]:
    return {"millijoules": 5000, "used": GIB, **changes}


def test_a_device_is_found_by_the_process_and_counted_with_the_host(
    power: PowerTree, devices: Devices
) -> None:
    counter = power.add("intel-rapl:0", "package-0")
    devices.set(device(), device())
    one = meters(power, provider="cuda", nvml=devices.file)
    own = [[os.getpid(), 3 * GIB]]
    devices.set(device(), device(used=9 * GIB, processes=own))
    one.start()
    devices.set(device(millijoules=9000), device(used=9 * GIB, millijoules=7000, processes=own))
    counter.write_text("500000")
    told = one.stop(1.0)
    assert told["energy"]["joules"] == pytest.approx(2.5)
    assert told["energy"]["counters"] == ["NVIDIA device 1", "package-0"]
    assert told["device_memory"]["bytes"] == 3 * GIB
    assert "memory of the process" in told["device_memory"]["method"]
    assert told["unmeasured"] == {}


@pytest.mark.parametrize("processes", [[], [[1, 9]], [["own", None]], "no permission"])
def test_a_process_that_nvml_does_not_list_is_known_by_the_growth(
    processes: Any, power: PowerTree, devices: Devices
) -> None:
    if processes == [["own", None]]:
        processes = [[os.getpid(), None]]
    devices.set(device(), device())
    one = meters(power, provider="cuda", nvml=devices.file)
    full = device(used=5 * GIB, processes=processes)
    devices.set(device(), full)
    one.start()
    devices.set(device(), {**full, "millijoules": 6000})
    told = one.stop(1.0)
    assert told["device_memory"]["bytes"] == 4 * GIB
    assert "growth of all memory used on the device" in told["device_memory"]["method"]
    # Without the processor's counter the device's stands alone, by name.
    assert told["energy"] == {"joules": pytest.approx(1.0), "counters": ["NVIDIA device 1"]}


def test_an_old_device_without_counter_still_tells_its_memory(
    power: PowerTree, devices: Devices
) -> None:
    old = device(millijoules="Not Supported", processes=[[os.getpid(), GIB]])
    devices.set(old)
    told = used(meters(power, provider="cuda", nvml=devices.file))
    assert told["device_memory"]["bytes"] == GIB
    assert told["energy"] is None
    assert "Not Supported (energy counters came with Volta)" in told["unmeasured"]["energy"]


def test_nvml_that_does_not_start_and_memory_that_did_not_grow_are_reasons(
    power: PowerTree, devices: Devices
) -> None:
    devices.set(init="Driver Not Loaded")
    told = used(meters(power, provider="cuda", nvml=devices.file))
    assert set(told["unmeasured"].values()) == {"NVML: Driver Not Loaded"}
    assert unmeasurable("device_memory", "cuda", nvml=devices.file) == "NVML: Driver Not Loaded"
    devices.set(device())
    broken = unmeasurable("energy", "cuda", nvml=str(power.root / "gone.py"))
    assert "gone.py cannot be loaded" in broken
    told = used(meters(power, provider="cuda", nvml=devices.file))
    assert "no device's has grown" in told["unmeasured"]["device_memory"]
    assert unmeasurable("device_memory", "cuda", nvml=devices.file) == ""


@pytest.mark.parametrize(
    ("provider", "words"),
    [("cpu", "not applicable, the provider 'cpu' works in main memory"), ("dml", "no counter is")],
)
def test_device_memory_belongs_to_providers_with_a_device(
    provider: str, words: str, power: PowerTree
) -> None:
    assert words in used(meters(power, provider=provider))["unmeasured"]["device_memory"]
    assert words in unmeasurable("device_memory", provider, nvml="")
