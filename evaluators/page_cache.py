"""The same state of the system's page cache for the files of every model that is timed.

Tables that a runtime reads where they lie (embeddings) count into the resident set by the
pieces in which the system caches the file, and those depend on how it was written: the same
model took 317 to 356 MB (Linux 6.18, ext4; docs/LOG.md).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["read_evenly"]

_PIECE_BYTES = 2**20


def read_evenly(folder: Path) -> None:
    """Let the system forget what it caches of the files in ``folder``, then read them in order.

    What another process has mapped stays as it is. Without ``posix_fadvise`` (Windows, macOS)
    the files are read only.
    """
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):
                with contextlib.suppress(OSError):  # not on every file system
                    os.fsync(file.fileno())  # what was not written yet cannot be forgotten
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while file.read(_PIECE_BYTES):
                pass
