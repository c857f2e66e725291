"""Script: kill a process at every file operation of a commit; print what a reader sees.

Usage: crash_commit.py ROOT. For point 1, 2, ... a forked child commits and is ended
by SIGKILL at that audit event (open, mkdir, rename, ...), until one gets through.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from autotune.passes import ArtifactStore, Origin

_EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "os.listdir"}
KEY = "ab" * 32


def _commit(root: Path, kill_at: int) -> None:
    store = ArtifactStore(root)
    seen = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in _EVENTS and str(root) in str(args[0]):
            seen += 1
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    origin = Origin(key=KEY, name="counting", parameters={}, inputs={}, versions={})
    with store.workdir(KEY) as workdir:
        (workdir / "deep").mkdir()
        (workdir / "deep" / "a.bin").write_bytes(b"a" * 100_000)
        (workdir / "b.txt").write_text("b")
        store.commit(workdir, origin, facts={}, seconds=1.0)


def _state(root: Path) -> dict[str, Any]:
    final = root / "counting" / KEY[:2] / KEY
    before = final.exists()
    store = ArtifactStore(root)  # as the next start does: reclaims
    artifact = store.get(KEY, "counting")
    if artifact is not None:
        store.verify(artifact)
    left = [path.name for path in (root / "tmp").iterdir()]
    return {"visible": before, "whole": artifact is not None, "left": left}


def main() -> None:
    """Print a JSON list with one state per point."""
    root = Path(sys.argv[1])
    states = []
    for point in itertools.count(1):
        place = root / str(point)
        child = os.fork()
        if child == 0:
            _commit(place, point)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        states.append({"killed": killed, **_state(place)})
        if not killed:
            break
    sys.stdout.write(json.dumps(states))


main()
