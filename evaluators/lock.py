"""One measurement at a time on a machine, across processes and checkouts.

The lock is the operating system's, so a killed holder releases it. A file beside it
says who holds it, for people only; nothing depends on its content.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from autotune.errors import RunError

__all__ = ["measurement_lock"]

_NAME = "autotune-measurement.lock"


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8").strip() or "a process that has just started"
    return "another process"


@contextlib.contextmanager
def measurement_lock(
    *,
    what: str,
    timeout_s: float = 3600.0,
    on_wait: Callable[[str], None] | None = None,
    folder: Path | None = None,
) -> Iterator[None]:
    """Hold the machine's measurement lock.

    Args:
        what: is measured, for those who wait.
        timeout_s: to wait for another holder.
        on_wait: called once with a sentence on who holds it, before waiting.
        folder: of the lock; None is the machine's folder for temporary files.

    Raises:
        RunError: the other holder did not release it in time.
    """
    root = folder or Path(tempfile.gettempdir())
    lock, note = FileLock(root / _NAME), root / f"{_NAME}.holder"
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if on_wait is not None:
            on_wait(f"waiting for {_holder(note)}, which is measuring on this machine")
        try:
            lock.acquire(timeout=timeout_s)
        except Timeout as error:
            raise RunError(
                f"Only one measurement may run on a machine, and {_holder(note)} has held it"
                f" for more than {timeout_s:.0f} s; end it or wait."
            ) from error
    try:
        since = time.strftime("%H:%M:%S")
        with contextlib.suppress(OSError):  # a note of another user cannot be replaced
            note.write_text(f"process {os.getpid()} ({what}, since {since})", encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink()
        lock.release()
