"""One worker process seen from the parent: start it, send it a line, end its group.

Two threads block per child: one reads its answers, one waits for its death.
Both report to a queue, so nobody polls.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Child", "Dead", "Reply"]

_WORKER_FILE = Path(__file__).with_name("worker.py")
_LAST_WORDS_S = 1.0
# The flag exists on Windows only, where it stands for what a session is elsewhere.
_NEW_GROUP: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A line that a child sent."""

    child: Child
    line: bytes


@dataclass(frozen=True, kw_only=True)
class Dead:
    """A child ended; ``code`` is negative for a signal."""

    child: Child
    code: int


class Child:
    """A worker process in a session of its own, so Ctrl-C reaches the parent only.

    Args:
        interpreter: Python to run.
        environment: all of the child's variables.
        scratch: the folder that it removes when this process dies.
        events: where ``Reply`` and, after the last of them, ``Dead`` are put.
    """

    def __init__(
        self,
        *,
        interpreter: str,
        environment: Mapping[str, str],
        scratch: Path,
        events: queue.SimpleQueue[Any],
    ) -> None:
        # -P keeps the folder of the file off sys.path, where names like `search` would
        # hide other modules.
        self._process = subprocess.Popen(
            [interpreter, "-P", str(_WORKER_FILE), str(scratch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
            start_new_session=True,
            creationflags=_NEW_GROUP,
        )
        self._events = events
        self._lock = threading.Lock()
        self._is_reaped = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        threading.Thread(target=self._await_death, daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its group."""
        return self._process.pid

    def send(self, line: str) -> None:
        """Send one line; a child that is gone is reported by ``Dead``, not here."""
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101 - opened with a pipe above
        with contextlib.suppress(BrokenPipeError, OSError):
            pipe.write(line.encode() + b"\n")
            pipe.flush()

    def kill(self) -> None:
        """End the process and all that it started, at once."""
        self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))

    def terminate(self) -> None:
        """Ask the process and all that it started to end."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        # Under the lock the process is not reaped, so its id cannot be another's.
        with self._lock:
            if not self._is_reaped:
                _signal_group(self._process.pid, number)

    def _read(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None  # noqa: S101 - opened with a pipe above
        for line in pipe:
            self._events.put(Reply(child=self, line=line))

    def _await_death(self) -> None:
        if hasattr(os, "waitid"):
            # Without reaping: the group's id stays taken while its leftovers are ended.
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._process.wait()
        self.kill()
        self._reader.join(_LAST_WORDS_S)
        with self._lock:
            code = self._process.wait()
            self._is_reaped = True
        self._close_pipes()
        self._events.put(Dead(child=self, code=code))

    def _close_pipes(self) -> None:
        # A grandchild that left the group may still hold the pipe; then its reader keeps it.
        pipes = [self._process.stdin]
        if not self._reader.is_alive():
            pipes.append(self._process.stdout)
        for pipe in pipes:
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _signal_group(pid: int, number: int) -> None:
    if sys.platform == "win32":
        _end_tree(pid)
        return
    # PermissionError is what macOS answers for a group of zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _end_tree(pid: int) -> None:
    """Windows has no process groups that can be ended; walk the tree."""
    import psutil  # noqa: PLC0415 - needed on Windows only

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (*process.children(recursive=True), process):
            with contextlib.suppress(psutil.Error):
                one.kill()
