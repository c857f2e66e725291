"""No child outlives a parent that was killed without a chance to clean up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

JOBS = Path(__file__).parent / "jobs.py"
PARENT = """
import sys, time
from autotune.targets import Job, LocalExecutor
jobs, folder = sys.argv[1:]
executor = LocalExecutor()
idle = executor.run(Job(name="i", entry=f"{jobs}:add", payload={"a": 1, "b": 1}, pool="idle"))
for number, pool in enumerate((None, "p")):
    payload = {"pids": f"{folder}/{number}"}
    entry = f"{jobs}:sleep_for_ever_with_grandchild"
    executor.submit(Job(name="s", entry=entry, payload=payload, pool=pool))
print(idle.value["pid"], flush=True)
executor.poll()
"""


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_killing_the_parent_ends_all_its_children_and_their_files(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(JOBS), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    ) as parent:
        assert parent.stdout is not None
        pids = [int(parent.stdout.readline())]
        start = time.monotonic()
        while len(done := list(tmp_path.glob("*.done"))) < 2:
            assert time.monotonic() - start < 20
            time.sleep(0.05)
        for path in done:
            pids += [int(pid) for pid in path.read_text(encoding="utf-8").split()]
        assert len(pids) == 5
        assert all(is_running(pid) for pid in pids)
        assert list(temporary.iterdir())
        parent.kill()
    start = time.monotonic()
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() - start < 5, [pid for pid in pids if is_running(pid)]
        time.sleep(0.05)
    assert list(temporary.iterdir()) == []
