"""Limits that a Linux control group sets, version 1 and 2.

A container's view of ``/proc`` shows the whole machine; the limits that hold
stand in the cgroup's files. The limit of a parent holds for its children, so
each file is looked up from the own group to the root and the smallest wins.
Files: https://docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

__all__ = ["cpu_quota_cores", "memory_available_bytes", "memory_limit_bytes", "throttled_s"]

# Version 1 says "no limit" with a number near 2**63, rounded down to a page.
_UNLIMITED_BYTES = 2**60


def _group_paths(root: Path, controller: str) -> Iterator[Path]:
    """Yield folders that may hold the files of ``controller``, own group first."""
    for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, names, own = line.split(":", 2)
        if names == "":
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif controller in names.split(","):
            mounts = [root / "sys/fs/cgroup" / controller, root / "sys/fs/cgroup" / names]
        else:
            continue
        path = PurePosixPath(own.lstrip("/"))
        for mount in mounts:
            for part in (path, *path.parents):
                yield mount / part


def _values(
    root: Path, controller: str, files: Mapping[str, Callable[[Path], float | None]]
) -> list[float]:
    found = []
    for folder in dict.fromkeys(_group_paths(root, controller)):
        for name, read in files.items():
            if (folder / name).is_file():
                value = read(folder / name)
                if value is not None:
                    found.append(value)
    return found


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def _quota_v2(path: Path) -> float | None:
    quota, period = _text(path).split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(path: Path) -> float | None:
    quota = int(_text(path))
    return None if quota < 0 else quota / int(_text(path.with_name("cpu.cfs_period_us")))


def _limit(path: Path) -> float | None:
    text = _text(path)
    return None if text == "max" or int(text) >= _UNLIMITED_BYTES else int(text)


def cpu_quota_cores(root: Path) -> float | None:
    """Return the cores that the quota allows, for example 1.5; None where there is none."""
    files = {"cpu.max": _quota_v2, "cpu.cfs_quota_us": _quota_v1}
    return min(_values(root, "cpu", files), default=None)


def memory_limit_bytes(root: Path) -> int | None:
    """Return the smallest memory limit, None where there is none."""
    files = {"memory.max": _limit, "memory.limit_in_bytes": _limit}
    smallest = min(_values(root, "memory", files), default=None)
    return None if smallest is None else int(smallest)


def memory_available_bytes(root: Path) -> int | None:
    """Return how much more the groups with a limit may take, None without a limit.

    File pages that the kernel can drop (``inactive_file``) count as available.
    """
    files = {"memory.max": _headroom, "memory.limit_in_bytes": _headroom}
    smallest = min(_values(root, "memory", files), default=None)
    return None if smallest is None else int(smallest)


def _headroom(path: Path) -> float | None:
    limit = _limit(path)
    if limit is None:
        return None
    is_v2 = path.name == "memory.max"
    used = int(_text(path.with_name("memory.current" if is_v2 else "memory.usage_in_bytes")))
    key = "inactive_file" if is_v2 else "total_inactive_file"
    droppable = _entry(path.with_name("memory.stat"), key) or 0
    return max(0.0, limit - used + droppable)


def throttled_s(root: Path) -> float | None:
    """Return seconds that the quota has held the own group back so far, None without a quota."""
    for folder in dict.fromkeys(_group_paths(root, "cpu")):
        if (folder / "cpu.stat").is_file():
            micro = _entry(folder / "cpu.stat", "throttled_usec")
            nano = _entry(folder / "cpu.stat", "throttled_time")
            if micro is not None:
                return micro / 1e6
            if nano is not None:
                return nano / 1e9
    return None


def _entry(path: Path, key: str) -> int | None:
    for line in _text(path).splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return None
