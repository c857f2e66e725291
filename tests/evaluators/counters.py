"""Counters of a machine that is not here: a tree of files, and a module with NVML's calls."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self

RANGE_UJ = 262_143_328_850


class PowerTree:
    """Energy counters as Linux shows them below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._zones = root / "sys/class/powercap"

    def add(self, zone: str, name: str, *, microjoules: int = 0, range_uj: int = RANGE_UJ) -> Path:
        """Add a zone and return its counter."""
        folder = self._zones / zone
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
        counter = folder / "energy_uj"
        counter.write_text(f"{microjoules}\n")
        return counter


class Ticking:
    """Lets a counter grow at ``watts`` as long as the block lasts, from ``start_uj`` on."""

    def __init__(self, counter: Path, *, watts: float, start_uj: int, range_uj: int) -> None:
        self._counter = counter
        self._watts, self._start_uj, self._range_uj = watts, start_uj, range_uj
        self._is_over = Event()
        self._thread = Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        fresh = self._counter.with_name("next")
        while not self._is_over.wait(0.001):
            grown = int((time.monotonic() - began) * self._watts * 1e6)
            fresh.write_text(f"{(self._start_uj + grown) % self._range_uj}\n")
            os.replace(fresh, self._counter)  # noqa: PTH105 - whole or not at all, as the kernel's


_NVML = """
import json, pathlib
from types import SimpleNamespace

class NVMLError(Exception):
    pass

def _state():
    return json.loads(pathlib.Path(__file__).with_name("devices.json").read_text())

def _told(value):
    if isinstance(value, str):
        raise NVMLError(value)
    return value

def nvmlInit():
    _told(_state().get("init"))

def nvmlDeviceGetCount():
    return len(_state()["devices"])

def nvmlDeviceGetHandleByIndex(index):
    return index

def nvmlDeviceGetTotalEnergyConsumption(handle):
    return _told(_state()["devices"][handle]["millijoules"])

def nvmlDeviceGetMemoryInfo(handle):
    return SimpleNamespace(used=_told(_state()["devices"][handle]["used"]))

def nvmlDeviceGetComputeRunningProcesses(handle):
    listed = _told(_state()["devices"][handle].get("processes", []))
    return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in listed]
"""


class Devices:
    """A module ``pynvml`` in ``folder`` that tells what ``set`` was given last."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pynvml.py").write_text(_NVML)
        self.file = str(folder / "pynvml.py")
        self._state = folder / "devices.json"

    def set(self, *devices: dict[str, Any], init: str | None = None) -> None:
        """Set ``millijoules``, ``used`` (bytes) and ``processes``; a text is NVML's refusal."""
        self._state.write_text(json.dumps({"devices": devices, "init": init}))
