"""What this machine is: processor, memory, system, each fact known or absent with a reason.

Reading facts never raises and changes nothing. Linux is read from ``/proc`` and
``/sys`` below a root that tests replace; other systems through psutil.
"""

from __future__ import annotations

import math
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from . import cgroup
from .fact import Fact, not_applicable, probe
from .isa import cpu_flags, device_class, extensions, relevant_extensions

__all__ = [
    "Machine",
    "MemoryFacts",
    "ProcessorFacts",
    "SystemFacts",
    "read_machine",
    "usable_cores",
]

_ROOT = Path("/")
_SIZE_SUFFIX = {"K": 2**10, "M": 2**20, "G": 2**30}


@dataclass(frozen=True, kw_only=True)
class ProcessorFacts:
    """The processor.

    Attributes:
        model: its marketing name.
        architecture: ``x86_64``, ``aarch64``, ...
        physical_cores: of the whole machine.
        logical_cores: of the whole machine, hyper-threads counted.
        affinity: numbers of the logical cores that this process may use.
        quota_cores: cores that the cgroup's quota allows, a fraction possible.
        usable_cores: what remains of the three above.
        isa: instruction sets that matter for matrix products, under Linux's names.
        device_class: the widest of them; numerics agree within a class.
        cache_bytes: size of one instance of each cache: ``l1d``, ``l2``, ``l3``.
        max_frequency_hz: as the system states it.
    """

    model: Fact[str]
    architecture: Fact[str]
    physical_cores: Fact[int]
    logical_cores: Fact[int]
    affinity: Fact[tuple[int, ...]]
    quota_cores: Fact[float]
    usable_cores: Fact[float]
    isa: Fact[tuple[str, ...]]
    device_class: Fact[str]
    cache_bytes: Fact[dict[str, int]]
    max_frequency_hz: Fact[float]


@dataclass(frozen=True, kw_only=True)
class MemoryFacts:
    """Main memory, bytes.

    Attributes:
        total_bytes: of the machine.
        limit_bytes: of the cgroup, where it is lower.
        available_bytes: what a new process can take now, the cgroup's limit respected.
        swap_total_bytes: 0 is a machine known to have none.
    """

    total_bytes: Fact[int]
    limit_bytes: Fact[int]
    available_bytes: Fact[int]
    swap_total_bytes: Fact[int]


@dataclass(frozen=True, kw_only=True)
class SystemFacts:
    """Operating system and what lies between it and the hardware.

    Attributes:
        name: distribution or product with version.
        kernel: its release.
        python: version of this interpreter.
        virtualisation: ``none``, or the hypervisor's name as far as it tells.
        container: ``docker``, ``podman``, ``kubernetes``, ...
    """

    name: Fact[str]
    kernel: Fact[str]
    python: Fact[str]
    virtualisation: Fact[str]
    container: Fact[str]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Facts that do not change while a run lasts (available memory excepted)."""

    processor: ProcessorFacts
    memory: MemoryFacts
    system: SystemFacts


def read_machine(*, root: Path = _ROOT, platform_name: str = sys.platform) -> Machine:
    """Return the facts of this machine; never raises.

    Args:
        root: where ``proc`` and ``sys`` are looked for.
        platform_name: as ``sys.platform``; other than ``linux`` is asked through psutil.
    """
    is_linux = platform_name == "linux"
    return Machine(
        processor=_processor(root, is_linux=is_linux),
        memory=_memory(root, is_linux=is_linux),
        system=_system(root, is_linux=is_linux),
    )


def usable_cores(*, root: Path = _ROOT) -> float:
    """Return how many cores this process may keep busy, at least a fraction above 0.

    Affinity and the cgroup's quota are respected; a quota gives fractions.
    """
    quota = probe(lambda: cgroup.cpu_quota_cores(root)).value
    return min(float(len(_affinity())), math.inf if quota is None else quota)


def _affinity() -> tuple[int, ...]:
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _read(root: Path, path: str) -> str:
    return (root / path).read_text(encoding="utf-8", errors="replace").strip().strip("\0")


def _processor(root: Path, *, is_linux: bool) -> ProcessorFacts:
    def flags() -> frozenset[str]:
        return cpu_flags(_read(root, "proc/cpuinfo")) if is_linux else extensions()

    return ProcessorFacts(
        model=probe(lambda: _model_name(root) if is_linux else platform.processor()),
        architecture=probe(platform.machine),
        physical_cores=probe(lambda: _count(is_logical=False)),
        logical_cores=probe(lambda: _count(is_logical=True)),
        affinity=probe(_affinity)
        if hasattr(os, "sched_getaffinity")
        else not_applicable("this system has no processor affinity for processes"),
        quota_cores=probe(lambda: _quota(root, is_linux=is_linux)),
        usable_cores=probe(lambda: usable_cores(root=root)),
        isa=probe(lambda: relevant_extensions(flags())),
        device_class=probe(lambda: device_class(flags())),
        cache_bytes=probe(lambda: _caches(root)),
        max_frequency_hz=probe(_max_frequency_hz),
    )


def _model_name(root: Path) -> str:
    """Return the model: its name on x86, the board's or the core's number on Arm."""
    for line in _read(root, "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Hardware"):
            return value.strip()
    # Device trees name the board, for example "Raspberry Pi 5 Model B Rev 1.0".
    return _read(root, "proc/device-tree/model")


def _count(*, is_logical: bool) -> int | None:
    import psutil  # noqa: PLC0415 - keeps the import of this package light

    return psutil.cpu_count(logical=is_logical)


def _max_frequency_hz() -> float | Fact[float]:
    import psutil  # noqa: PLC0415 - keeps the import of this package light

    frequency = psutil.cpu_freq()
    highest = 0.0 if frequency is None else frequency.max
    # psutil answers 0 where the system does not tell, as in most virtual machines.
    if not highest:
        return Fact(status="unknown", reason="not reported by this system")
    return highest * 1e6


def _quota(root: Path, *, is_linux: bool) -> float | Fact[float]:
    if not is_linux:
        return not_applicable("control groups are a feature of Linux")
    quota = cgroup.cpu_quota_cores(root)
    return not_applicable("no control group limits the processor") if quota is None else quota


def _caches(root: Path) -> dict[str, int] | None:
    """Return the size of each cache of the first core; ``l1i`` is left out."""
    names = {("1", "Data"): "l1d", ("2", "Unified"): "l2", ("3", "Unified"): "l3"}
    sizes = {}
    for index in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
        name = names.get((_read(index, "level"), _read(index, "type")))
        size = _read(index, "size")
        if name is not None:
            sizes[name] = int(size[:-1]) * _SIZE_SUFFIX[size[-1]]
    return sizes or None


def _memory(root: Path, *, is_linux: bool) -> MemoryFacts:
    return MemoryFacts(
        total_bytes=probe(lambda: _virtual_memory()[0]),
        limit_bytes=probe(lambda: _memory_limit(root, is_linux=is_linux)),
        available_bytes=probe(lambda: _available(root, is_linux=is_linux)),
        swap_total_bytes=probe(_swap_bytes),
    )


def _virtual_memory() -> tuple[int, int]:
    import psutil  # noqa: PLC0415 - keeps the import of this package light

    memory = psutil.virtual_memory()
    return memory.total, memory.available


def _swap_bytes() -> int:
    import psutil  # noqa: PLC0415 - keeps the import of this package light

    return int(psutil.swap_memory().total)


def _memory_limit(root: Path, *, is_linux: bool) -> int | Fact[int]:
    if not is_linux:
        return not_applicable("control groups are a feature of Linux")
    limit = cgroup.memory_limit_bytes(root)
    return not_applicable("no control group limits the memory") if limit is None else limit


def _available(root: Path, *, is_linux: bool) -> int:
    machine = _virtual_memory()[1]
    group = cgroup.memory_available_bytes(root) if is_linux else None
    return machine if group is None else min(machine, group)


def _system(root: Path, *, is_linux: bool) -> SystemFacts:
    return SystemFacts(
        name=probe(lambda: _system_name(root) if is_linux else platform.platform()),
        kernel=probe(platform.release),
        python=probe(platform.python_version),
        virtualisation=probe(lambda: _virtualisation(root) if is_linux else None),
        container=probe(lambda: _container(root) if is_linux else _no_container()),
    )


def _system_name(root: Path) -> str:
    for line in _read(root, "etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip().strip('"')
    return platform.platform()


def _virtualisation(root: Path) -> str:
    """Return the hypervisor: WSL, what the firmware says, or that there is one."""
    if "microsoft" in _read(root, "proc/version").lower():
        return "wsl"
    vendor = root / "sys/class/dmi/id/sys_vendor"
    product = root / "sys/class/dmi/id/product_name"
    firmware = " ".join(path.read_text().strip() for path in (vendor, product) if path.is_file())
    known = ("KVM", "QEMU", "VMware", "VirtualBox", "Xen", "Hyper-V", "Virtual Machine", "EC2")
    for name in known:
        if name.lower() in firmware.lower():
            return name.lower()
    if "hypervisor" in cpu_flags(_read(root, "proc/cpuinfo")):
        return "hypervisor of unknown make"
    return "none"


def _container(root: Path) -> str | Fact[str]:
    if (root / "run/.containerenv").exists():
        return "podman"
    if (root / "var/run/secrets/kubernetes.io").exists():
        return "kubernetes"
    if (root / ".dockerenv").exists():
        return "docker"
    return _no_container()


def _no_container() -> Fact[str]:
    return not_applicable("no container was recognised")
