"""Counters read right around the timed requests: energy, and memory of a device.

The measuring child loads this file by its path, and autotune imports it to ask what can
be measured here before anything runs, so both have one answer. It needs the standard
library only, and nothing is sampled: a counter is read once before and once after.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["Meters", "device_memory_reason", "energy_reason"]

# Providers whose work the processor's own counters cover, and those on an NVIDIA device.
_ON_PROCESSOR = ("cpu",)
_ON_NVIDIA = ("cuda", "NvTensorRtRtx")
# No package takes more; with it a window is too long when its counter could have gone round.
_MOST_WATTS = 500.0
_MICRO, _MILLI = 1e-6, 1e-3
# NVIDIA's counter advances in steps of up to a tenth of a second (an H200's stood still for
# 61 ms of work), so that a window of a second is told to within a tenth.
_NVIDIA_WINDOW_S = 1.0
_NO_NVML = (
    "NVIDIA's counters are read through NVML, whose module pynvml is not installed"
    " (pip install nvidia-ml-py)"
)


class MeterError(Exception):
    """Something that cannot be measured here; the message is the reason."""


def energy_reason(*, provider: str, root: Path, nvml: str) -> str:
    """Return why the energy of ``provider`` cannot be told here, empty where it can."""
    try:
        _Energy(provider, root, _Nvidia.opened(provider, nvml)).read(0)
    except MeterError as error:
        return str(error)
    return ""


def device_memory_reason(*, provider: str, nvml: str) -> str:
    """Return why the device memory of ``provider`` cannot be told here, empty where it can."""
    try:
        _on_device(provider, _Nvidia.opened(provider, nvml))
    except MeterError as error:
        return str(error)
    return ""


class Meters:
    """What one process reads around its timed requests; made before the model is loaded.

    Args:
        provider: in the spelling of onnxruntime-genai.
        root: where ``sys`` is looked for.
        nvml: file of the module pynvml, empty where there is none.
    """

    def __init__(self, *, provider: str, root: Path, nvml: str) -> None:
        self._provider = provider
        self._nvidia = _Nvidia.opened(provider, nvml)
        self._used_before = self._nvidia.used_bytes() if self._nvidia else []
        self._unmeasured: dict[str, str] = {}
        self._energy: _Energy | None = None
        self._number = 0
        self._before: dict[str, float] = {}
        with self._reason("energy"):
            self._energy = _Energy(provider, root, self._nvidia)

    @property
    def window_s(self) -> float:
        """Shortest time that the energy counters can tell, 0 where any will do."""
        return _NVIDIA_WINDOW_S if self._energy is not None and self._nvidia is not None else 0.0

    def start(self) -> None:
        """Read the energy counters; call it last before the first timed request."""
        if self._energy is None:
            return
        if self._nvidia is not None:
            own = self._nvidia.own()
            self._number = own[0] if own else self._nvidia.grown(self._used_before)[0]
        with self._reason("energy"):
            self._before = self._energy.read(self._number)

    def stop(self, seconds: float) -> dict[str, Any]:
        """Return what the counters say; call it first after the last request of the window.

        Args:
            seconds: since ``start``.

        Returns:
            ``energy``: ``{"joules", "counters"}`` or None; ``device_memory``:
            ``{"bytes", "method"}`` or None; ``unmeasured``: the reason for each None.
        """
        energy = memory = None
        if self._energy is not None and self._before:
            with self._reason("energy"):
                after = self._energy.read(self._number)
                energy = self._energy.used(self._before, after, seconds)
        with self._reason("device_memory"):
            memory = self._device_memory()
        return {"energy": energy, "device_memory": memory, "unmeasured": self._unmeasured}

    @contextlib.contextmanager
    def _reason(self, metric: str) -> Iterator[None]:
        """Keep the reason instead of failing: no counter is worth a measurement."""
        try:
            yield
        except MeterError as error:
            self._unmeasured.setdefault(metric, str(error))

    def _device_memory(self) -> dict[str, Any]:
        nvidia = _on_device(self._provider, self._nvidia)
        own = nvidia.own()
        if own is not None and own[1]:
            how = "memory of the process on its device as NVML lists it, read after the requests"
            return {"bytes": own[1], "method": how}
        _, grown = nvidia.grown(self._used_before)
        if grown <= 0:
            raise MeterError("NVML lists no memory for the process, and no device's has grown")
        how = (
            "growth of all memory used on the device since before loading, read after the"
            " requests; NVML did not list this process, as in a container of its own"
        )
        return {"bytes": grown, "method": how}


class _Energy:
    """Counters that grow with the energy of what a provider runs on, joules."""

    def __init__(self, provider: str, root: Path, nvidia: _Nvidia | None) -> None:
        self._nvidia = nvidia
        self._packages: dict[str, tuple[Path, float]] = {}
        if provider in _ON_PROCESSOR:
            self._packages = _packages(root)
        elif provider in _ON_NVIDIA:
            _on_device(provider, nvidia)
            # The host's share counts as well where it can be read; the method says if it does.
            with contextlib.suppress(MeterError):
                self._packages = _packages(root)
        else:
            raise MeterError(f"no energy counter covers what the provider {provider!r} runs on")

    def read(self, number: int) -> dict[str, float]:
        """Return joules by counter, of the device ``number`` where there are any."""
        found = {name: _joules(path) for name, (path, _) in self._packages.items()}
        if self._nvidia is not None:
            found[f"NVIDIA device {number}"] = self._nvidia.joules(number)
        return found

    def used(
        self, before: dict[str, float], after: dict[str, float], seconds: float
    ) -> dict[str, Any]:
        """Return what all counters together have grown by in ``seconds``."""
        total = 0.0
        for name, start in before.items():
            range_j = self._packages[name][1] if name in self._packages else 0.0
            total += _growth(name, after[name] - start, seconds, range_j)
        return {"joules": total, "counters": sorted(before)}


def _growth(name: str, grown: float, seconds: float, range_j: float) -> float:
    """Return the joules behind a difference of a counter that begins anew at ``range_j``.

    Zero is a counter whose range is not known, or that never begins anew.

    Raises:
        MeterError: it stood, went back, or may have gone round more often than it shows.
    """
    if grown == 0:
        raise MeterError(f"the counter of {name} did not advance in {seconds:.3g} s")
    if 0 < range_j < seconds * _MOST_WATTS:
        raise MeterError(
            f"the counter of {name} begins anew after {range_j:.0f} J, too few to tell how often"
            f" in {seconds:.0f} s"
        )
    if grown < 0 and range_j <= -grown:
        raise MeterError(f"the counter of {name} went back by {-grown:.3g} J")
    return grown if grown > 0 else range_j + grown


def _packages(root: Path) -> dict[str, tuple[Path, float]]:
    """Return counter and range (joules) of each processor package; AMD's stand there too.

    https://docs.kernel.org/power/powercap/powercap.html. Zones of a package (its cores,
    its memory) are parts or neighbours of it and stay out, so does the whole platform.

    Raises:
        MeterError: there are none, or not all of them can be read.
    """
    zones = root / "sys/class/powercap"
    found: dict[str, tuple[Path, float]] = {}
    # The same package may be listed by two drivers; the shorter name is the older one.
    for zone in sorted(zones.glob("*"), key=lambda path: (len(path.name), path.name)):
        name = _text(zone / "name")
        if name.startswith("package-") and name not in found:
            found[name] = (zone / "energy_uj", _range_j(zone))
    if not found:
        raise MeterError(
            "the system shows no energy counter of the processor: no package in"
            " /sys/class/powercap, as in virtual machines"
        )
    for path, _ in found.values():
        _joules(path)
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _range_j(zone: Path) -> float:
    """Return the joules at which a counter begins anew, 0 where that is not told."""
    text = _text(zone / "max_energy_range_uj")
    return int(text) * _MICRO if text.isdecimal() else 0.0


def _joules(path: Path) -> float:
    try:
        return int(path.read_text(encoding="ascii")) * _MICRO
    except PermissionError as error:
        raise MeterError(
            "the processor's energy counters are for root alone since Linux 5.10"
            f" ({path.name} of {path.parent.name}); run as root, or allow reading it"
        ) from error
    except (OSError, ValueError) as error:
        what = f"{path.name} of {path.parent.name}"
        raise MeterError(f"{what} cannot be read: {type(error).__name__}") from error


def _on_device(provider: str, nvidia: _Nvidia | None) -> _Nvidia:
    """Return the devices that ``provider`` works on.

    Raises:
        MeterError: it works on none, or they cannot be asked.
    """
    if provider in _ON_PROCESSOR:
        raise MeterError(f"not applicable, the provider {provider!r} works in main memory")
    if provider not in _ON_NVIDIA:
        raise MeterError(f"no counter is known for the device of the provider {provider!r}")
    if nvidia is None:
        raise MeterError(_NO_NVML)
    nvidia.check()
    return nvidia


class _Nvidia:
    """The devices that NVML lists; what it cannot tell is a MeterError when asked for."""

    def __init__(self, nvml: Any, *, failure: str = "") -> None:
        self._nvml = nvml
        self._failure = failure
        self._handles: list[Any] = []
        if failure:
            return
        try:
            nvml.nvmlInit()
            count = range(nvml.nvmlDeviceGetCount())
            self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in count]
        except nvml.NVMLError as error:
            self._failure = f"NVML: {error}"

    @classmethod
    def opened(cls, provider: str, nvml: str) -> _Nvidia | None:
        """Return the devices, None for a provider without one or without the module."""
        if provider not in _ON_NVIDIA or not nvml:
            return None
        try:
            return cls(_module(Path(nvml)))
        except (ImportError, OSError) as error:
            return cls(None, failure=f"{nvml} cannot be loaded: {error}")

    def check(self) -> None:
        """Raise MeterError where NVML did not start or lists nothing."""
        if self._failure or not self._handles:
            raise MeterError(self._failure or "NVML lists no device")

    def joules(self, number: int) -> float:
        """Return the energy of a device since its driver was loaded, millijoules resolved."""
        self.check()
        try:
            handle = self._handles[number]
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) * _MILLI
        except self._nvml.NVMLError as error:
            raise MeterError(f"NVML: {error} (energy counters came with Volta)") from error

    def used_bytes(self) -> list[int]:
        """Return the memory in use on each device by all processes; 0 where it is not told."""
        used = []
        for handle in self._handles:
            try:
                used.append(int(self._nvml.nvmlDeviceGetMemoryInfo(handle).used))
            except self._nvml.NVMLError:
                used.append(0)
        return used

    def own(self) -> tuple[int, int] | None:
        """Return the device that lists this process, and its bytes there (0: not told)."""
        for number, handle in enumerate(self._handles):
            try:
                listed = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            except self._nvml.NVMLError:
                continue
            for process in listed:
                if process.pid == os.getpid():
                    return number, int(process.usedGpuMemory or 0)
        return None

    def grown(self, before: list[int]) -> tuple[int, int]:
        """Return the device whose memory grew most since ``before``, and by how many bytes."""
        after = self.used_bytes()
        growth = [now - then for now, then in zip(after, before, strict=True)]
        largest = max(growth, default=0)
        return (growth.index(largest) if growth else 0), largest


def _module(path: Path) -> Any:
    """Return the module in the file ``path``, whichever environment it belongs to."""
    name = "autotune_pynvml"  # it looks itself up by name while it is imported
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(path.name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
