"""What the system allows this process and counts for it: cores, memory, waiting.

Loaded by its path into the measuring child, like ``meters``; standard library only.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

__all__ = ["Usage", "peak_bytes", "pss_bytes", "read_usage", "usable_cores", "used_since"]

_NANO = 1e-9
# Of one reading: interruptions, seconds on a core, seconds waiting for one; None: not told.
Usage = tuple[int | None, float | None, float | None]


def usable_cores() -> int:
    """Return physical cores this process may use: affinity, siblings and CPU quota counted."""
    if not hasattr(os, "sched_getaffinity"):
        return max(1, (os.cpu_count() or 2) // 2)
    cpus = os.sched_getaffinity(0)
    siblings = set()
    for cpu in cpus:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        siblings.add(path.read_text() if path.exists() else str(cpu))
    cores = len(siblings)
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.exists():
        limit, period = quota.read_text().split()
        if limit != "max":
            cores = min(cores, max(1, int(limit) // int(period)))
    return cores


def read_usage() -> Usage:
    """Return involuntary context switches, and seconds that all threads ran and waited.

    Waiting is for a core while able to run: what other work on the machine costs this one.
    """
    usage = _resource_usage()
    ran_s, waited_s = _scheduled()
    return usage.ru_nivcsw if usage else None, ran_s, waited_s


def used_since(before: Usage) -> dict[str, float | None]:
    """Return ``interruptions``, ``ran_s`` and ``waited_s`` since ``before``."""
    names = ("interruptions", "ran_s", "waited_s")
    return {
        name: None if then is None or now is None else now - then
        for name, then, now in zip(names, before, read_usage(), strict=True)
    }


def _resource_usage() -> Any:
    """Return what the system counts for this process, or None on Windows."""
    try:
        import resource  # noqa: PLC0415 - absent on Windows
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF)


def _scheduled() -> tuple[float | None, float | None]:
    """Return seconds on a core and seconds waiting for one, summed over the threads.

    https://docs.kernel.org/scheduler/sched-stats.html, /proc/<pid>/schedstat.
    """
    ran = waited = 0
    try:
        for thread in Path("/proc/self/task").iterdir():
            fields = (thread / "schedstat").read_text(encoding="ascii").split()
            ran, waited = ran + int(fields[0]), waited + int(fields[1])
    except (OSError, ValueError, IndexError):
        return None, None
    return ran * _NANO, waited * _NANO


def _proc_bytes(path: str, field: str) -> int | None:
    """Return a ``kB`` field of a /proc file in bytes, or None where it cannot be read."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(field)]
    return int(found[0]) * 1024 if found else None


def pss_bytes() -> int | None:
    """Return the resident set, pages shared with others in proportion; None: not told."""
    return _proc_bytes("/proc/self/smaps_rollup", "Pss:")


def peak_bytes() -> int | None:
    """Return the highest resident set so far, or None where the system does not say."""
    peak = _proc_bytes("/proc/self/status", "VmHWM:")
    usage = _resource_usage()
    if peak is not None or usage is None:
        return peak
    return int(usage.ru_maxrss) * (1 if sys.platform == "darwin" else 1024)
