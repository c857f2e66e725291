"""How busy the machine is: load, steal, pressure, throttling, as counters and averages.

Take it before and after a measurement; the differences of the counters say what
disturbed it. Pressure: https://docs.kernel.org/accounting/psi.html.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from . import cgroup
from .fact import Fact, not_applicable, probe

__all__ = ["Conditions", "read_conditions"]

_ROOT = Path("/")
_STEAL_FIELD = 7  # proc(5): user nice system idle iowait irq softirq steal


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The state of the machine at one moment.

    Attributes:
        load_1min: processes that run or wait, average of the last minute.
        load_5min: the same for five minutes.
        steal_s: seconds that a hypervisor kept back since boot, summed over cores.
        pressure_cpu: share of the last 10 s in which some process waited for a core, 0 to 1.
        pressure_memory: the same for memory.
        pressure_io: the same for input and output.
        pressure_cpu_s: seconds in which some process waited for a core, since boot.
        throttled_s: seconds that the cgroup's quota held this group back so far.
    """

    load_1min: Fact[float]
    load_5min: Fact[float]
    steal_s: Fact[float]
    pressure_cpu: Fact[float]
    pressure_memory: Fact[float]
    pressure_io: Fact[float]
    pressure_cpu_s: Fact[float]
    throttled_s: Fact[float]


def read_conditions(*, root: Path = _ROOT, platform_name: str = sys.platform) -> Conditions:
    """Return the present conditions; never raises and takes well under a millisecond."""
    if platform_name != "linux":
        return _elsewhere()
    return Conditions(
        load_1min=probe(lambda: _load(root, 0)),
        load_5min=probe(lambda: _load(root, 1)),
        steal_s=probe(lambda: _steal_s(root)),
        pressure_cpu=probe(lambda: _pressure(root, "cpu", "avg10") / 100),
        pressure_memory=probe(lambda: _pressure(root, "memory", "avg10") / 100),
        pressure_io=probe(lambda: _pressure(root, "io", "avg10") / 100),
        pressure_cpu_s=probe(lambda: _pressure(root, "cpu", "total") / 1e6),
        throttled_s=probe(lambda: _throttled_s(root)),
    )


def _elsewhere() -> Conditions:
    absent: Fact[float] = not_applicable("a counter of Linux")
    has_load = hasattr(os, "getloadavg")
    return Conditions(
        load_1min=probe(lambda: os.getloadavg()[0]) if has_load else absent,
        load_5min=probe(lambda: os.getloadavg()[1]) if has_load else absent,
        steal_s=absent,
        pressure_cpu=absent,
        pressure_memory=absent,
        pressure_io=absent,
        pressure_cpu_s=absent,
        throttled_s=absent,
    )


def _load(root: Path, position: int) -> float:
    return float((root / "proc/loadavg").read_text(encoding="utf-8").split()[position])


def _steal_s(root: Path) -> float:
    total = (root / "proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:]
    return int(total[_STEAL_FIELD]) / os.sysconf("SC_CLK_TCK")


def _pressure(root: Path, resource: str, key: str) -> float:
    text = (root / "proc/pressure" / resource).read_text(encoding="utf-8")
    some = [line for line in text.splitlines() if line.startswith("some ")]
    return float(dict(part.split("=") for part in some[0].split()[1:])[key])


def _throttled_s(root: Path) -> float | Fact[float]:
    seconds = cgroup.throttled_s(root)
    return not_applicable("no control group has a quota") if seconds is None else seconds
