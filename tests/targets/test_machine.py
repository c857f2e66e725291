"""Machine facts from made-up trees of /proc and /sys, and from this machine."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.plain import from_plain, to_plain
from autotune.targets import (
    Conditions,
    Fact,
    Machine,
    cpu_flags,
    device_class,
    known_facts,
    probe,
    read_conditions,
    read_machine,
    relevant_extensions,
    usable_cores,
)

XEON = "model name\t: Xeon\nflags\t\t: fpu avx2 avx512f avx512_vnni hypervisor\n"
RASPBERRY = "Features\t: fp asimd asimddp\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


V2_OWN = "0::/box/job\n"
V1_OWN = "4:memory:/box\n2:cpu,cpuacct:/box\n1:name=systemd:/\n0::/\n"


@pytest.mark.parametrize(
    ("files", "quota", "limit"),
    [
        ({"proc/self/cgroup": "0::/\n"}, None, None),
        (
            {
                "proc/self/cgroup": V2_OWN,
                "sys/fs/cgroup/box/job/cpu.max": "max 100000",
                "sys/fs/cgroup/box/cpu.max": "50000 100000",
                "sys/fs/cgroup/box/job/memory.max": "4000000",
                "sys/fs/cgroup/box/memory.max": "max",
            },
            0.5,
            4_000_000,
        ),
        (
            {
                "proc/self/cgroup": V1_OWN,
                "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "150000",
                "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "2000000",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            },
            1.5,
            2_000_000,
        ),
        # In a container the path of the host is not mounted; the files stand at the top.
        (
            {
                "proc/self/cgroup": "2:cpu:/host/only\n4:memory:/host/only\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "25000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000000",
            },
            0.25,
            1_000_000,
        ),
    ],
    ids=["none", "version 2", "version 1", "container"],
)
def test_the_smallest_limit_of_all_groups_holds(
    tmp_path: Path, files: dict[str, str], quota: float | None, limit: int | None
) -> None:
    machine = read_machine(root=tree(tmp_path, files), platform_name="linux")
    for fact, expected in (
        (machine.processor.quota_cores, quota),
        (machine.memory.limit_bytes, limit),
    ):
        assert fact.value == expected
        assert fact.status == ("not_applicable" if expected is None else "detected")


def test_a_quota_lowers_the_usable_cores(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000"}
    assert usable_cores(root=tree(tmp_path, files)) == 0.5
    assert usable_cores(root=tmp_path / "nothing") >= 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_lowers_the_usable_cores(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores(root=tmp_path) == 1
        assert read_machine().processor.affinity.value == (min(before),)
    finally:
        os.sched_setaffinity(0, before)


def test_available_memory_respects_the_group_and_counts_what_can_be_dropped(
    tmp_path: Path,
) -> None:
    files = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": "1000",
        "sys/fs/cgroup/memory.current": "900",
        "sys/fs/cgroup/memory.stat": "anon 600\ninactive_file 250\n",
    }
    machine = read_machine(root=tree(tmp_path, files), platform_name="linux")
    assert machine.memory.available_bytes.value == 350


@pytest.mark.parametrize(
    ("cpuinfo", "model", "isa", "kind"),
    [
        (XEON, "Xeon", ("avx2", "avx512f", "avx512_vnni"), "avx512_vnni"),
        (RASPBERRY, "Raspberry Pi 5 Model B Rev 1.0", ("asimd", "asimddp"), "neon_dotprod"),
    ],
)
def test_the_processor_is_read_on_x86_and_arm(
    tmp_path: Path, cpuinfo: str, model: str, isa: tuple[str, ...], kind: str
) -> None:
    machine = read_machine(root=tree(tmp_path, {"proc/cpuinfo": cpuinfo}), platform_name="linux")
    assert machine.processor.model.value == model
    assert machine.processor.isa.value == isa
    assert machine.processor.device_class.value == kind


@pytest.mark.parametrize(
    ("flags", "kind"),
    [
        ({"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16"}, "amx_bf16"),
        ({"avx2", "avx512f", "avx512_vnni", "avx512_bf16"}, "avx512_bf16"),
        ({"avx2", "avx512f"}, "avx512"),
        ({"avx2", "avx_vnni"}, "avx_vnni"),
        ({"avx2"}, "avx2"),
        ({"asimd", "i8mm"}, "neon_i8mm"),
        ({"asimd"}, "neon"),
    ],
)
def test_the_widest_instruction_set_names_the_device_class(flags: set[str], kind: str) -> None:
    assert device_class(frozenset(flags)) == kind


@pytest.mark.parametrize(
    ("files", "virtualisation", "container"),
    [
        ({"proc/version": "Linux 5.15-microsoft-standard-WSL2", "proc/cpuinfo": XEON}, "wsl", None),
        (
            {
                "proc/version": "Linux",
                "sys/class/dmi/id/sys_vendor": "QEMU\n",
                "run/.containerenv": "",
            },
            "qemu",
            "podman",
        ),
        (
            {"proc/version": "Linux", "proc/cpuinfo": XEON, ".dockerenv": ""},
            "hypervisor of unknown make",
            "docker",
        ),
        ({"proc/version": "Linux", "proc/cpuinfo": RASPBERRY}, "none", None),
    ],
)
def test_what_lies_between_the_system_and_the_hardware_is_named(
    tmp_path: Path, files: dict[str, str], virtualisation: str, container: str | None
) -> None:
    system = read_machine(root=tree(tmp_path, files), platform_name="linux").system
    assert system.virtualisation.value == virtualisation
    assert system.container.value == container


def test_an_empty_tree_gives_reasons_and_no_exception(tmp_path: Path) -> None:
    machine = read_machine(root=tmp_path, platform_name="linux")
    assert machine.processor.model.status == "unknown"
    assert "FileNotFoundError" in machine.processor.model.reason
    conditions = read_conditions(root=tmp_path, platform_name="linux")
    assert conditions.pressure_cpu.status == "unknown"


@settings(max_examples=40, deadline=None)
@given(
    text=st.one_of(
        st.text(max_size=60),
        st.sampled_from(
            [
                "flags :",
                "Features",
                "max",
                "-1 x",
                "some avg10=",
                "some avg10=nan total=inf",
                "nan nan",
                "cpu 1 2",
                "2::",
            ]
        ),
    )
)
def test_no_content_of_the_files_raises(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    names = [
        "proc/cpuinfo",
        "proc/self/cgroup",
        "proc/version",
        "proc/stat",
        "proc/loadavg",
        "proc/pressure/cpu",
        "sys/fs/cgroup/cpu.max",
        "sys/fs/cgroup/memory.max",
        "sys/devices/system/cpu/cpu0/cache/index0/size",
        "etc/os-release",
    ]
    root = tmp_path_factory.mktemp("tree")
    # Surrogates cannot be written; any other text can stand in such a file.
    safe = text.encode("utf-8", errors="replace").decode()
    tree(root, {**dict.fromkeys(names, safe), "proc/self/cgroup": "0::/\n"})
    to_plain(read_machine(root=root, platform_name="linux"))
    to_plain(read_conditions(root=root, platform_name="linux"))


@pytest.mark.parametrize("platform_name", ["darwin", "win32"])
def test_other_systems_are_read_without_linux_files(tmp_path: Path, platform_name: str) -> None:
    machine = read_machine(root=tmp_path, platform_name=platform_name)
    assert machine.memory.total_bytes.status == "detected"
    assert machine.processor.quota_cores.status == "not_applicable"
    assert read_conditions(root=tmp_path, platform_name=platform_name).steal_s.value is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads this machine's /proc")
def test_this_machine_is_known_and_its_facts_survive_json() -> None:
    machine, conditions = read_machine(), read_conditions()
    assert machine.processor.usable_cores.value == usable_cores() > 0
    assert (machine.memory.total_bytes.value or 0) > 2**28
    assert machine.processor.device_class.value == device_class()
    for kind, value in ((Machine, machine), (Conditions, conditions)):
        assert from_plain(kind, json.loads(json.dumps(to_plain(value)))) == value


def test_known_facts_leave_out_what_is_unknown(tmp_path: Path) -> None:
    machine = read_machine(root=tmp_path, platform_name="linux")
    known = known_facts(to_plain(machine))
    assert "processor.model" not in known
    assert known["system.python"] == machine.system.python.value
    assert None not in known.values()


@pytest.mark.parametrize(
    ("status", "value", "reason"),
    [("detected", None, ""), ("detected", 1, "why"), ("unknown", 1, "x"), ("unknown", None, "")],
)
def test_a_fact_has_a_value_or_a_reason(status: str, value: int | None, reason: str) -> None:
    with pytest.raises(ValueError, match="a value or a reason"):
        Fact(status=status, value=value, reason=reason)  # type: ignore[arg-type]  # by table


def test_zero_and_false_are_values() -> None:
    assert probe(lambda: 0).value == 0
    assert probe(lambda: ()).status == "unknown"


@given(st.text())
def test_flags_are_found_or_absent(text: str) -> None:
    assert set(relevant_extensions(cpu_flags(text))) <= cpu_flags(text)
