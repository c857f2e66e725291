"""What the store asks of a disk: that it has room, and that what was written stays.

Errors of the file system that a user can act on become an ``OutputError`` here.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autotune.errors import OutputError
from autotune.units import format_size

__all__ = ["free_bytes", "output_errors", "sync", "write_synced"]

# EFBIG is what a file size limit (RLIMIT_FSIZE, FAT) answers instead of "no space".
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR})


def free_bytes(path: Path) -> int:
    """Return the free bytes of the file system that ``path`` is or would be on."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


@contextmanager
def output_errors(
    path: Path, *, needed: int | None = None, variable: str = "AUTOTUNE_CACHE"
) -> Iterator[None]:
    """Turn a full disk or a refused access into an ``OutputError`` that names ``path``.

    Args:
        path: where something is written.
        needed: bytes that it takes, where known.
        variable: environment variable that moves the folder elsewhere.

    Raises:
        OutputError: in place of the ``OSError``; other errors pass.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            wanted = "more space" if needed is None else format_size(needed)
            raise OutputError(
                f"Writing to {path} needs {wanted}, {format_size(free_bytes(path))} are free or "
                f"allowed there; free some, or set {variable} to a larger disk."
            ) from error
        if error.errno in _DENIED:
            raise OutputError(
                f"A cache must be readable and writable, {error.filename or path} is not "
                f"({error.strerror}); set {variable} to a folder of yours."
            ) from error
        raise


def write_synced(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 and flush it to disk."""
    with path.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def sync(paths: list[Path]) -> None:
    """Flush files and folders to disk, so that a power cut keeps the rename's promise."""
    for path in paths:
        if path.is_dir() and os.name == "nt":  # Windows cannot open folders
            continue
        handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
