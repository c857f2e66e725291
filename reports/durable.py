"""Files that exist whole or not at all: JSON documents and journals of JSON lines.

A document is written beside its place and renamed over it; a journal line goes
out in a single write that ends with its newline. A line without newline at the
end of a journal was torn by a crash: it never happened, and the next append
takes its place.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from autotune.errors import OutputError, ReplayError
from autotune.plain import canonical_json

__all__ = [
    "append_json_line",
    "append_whole",
    "cannot_write",
    "read_json_lines",
    "sync_folder",
    "whole_folder",
    "write_json_atomic",
    "write_text_atomic",
]


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable (a no-op on Windows, which cannot)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json_atomic(path: Path, data: Any) -> None:
    """Write a plain value as indented JSON; readers see the old file or the new one.

    Raises:
        OutputError: the folder cannot be written or the disk is full.
        ValueError: ``data`` holds NaN or an infinity; nothing is written.
    """
    write_text_atomic(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text_atomic(path: Path, text: str) -> None:
    """Write ``text`` in UTF-8; readers see the old file or the new one.

    Raises:
        OutputError: the folder cannot be written or the disk is full.
    """
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(
            "wb", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # temporary files are private, reports are not
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError, *, flag: str = "--output") -> OutputError:
    """Return the error that a person can act on when ``path`` could not be written."""
    return OutputError(
        f"{str(path)!r} could not be written ({error.strerror or error});"
        f" free some space or choose another {flag}."
    )


@contextmanager
def whole_folder(path: Path, *, flag: str = "--output") -> Iterator[Path]:
    """Give a folder to fill, which becomes ``path`` at the end of the block or vanishes.

    Args:
        path: must not exist.
        flag: of the command line that named it.

    Raises:
        OutputError: ``path`` exists, or the disk is full or cannot be written.
    """
    if path.exists():
        raise OutputError(f"{str(path)!r} exists; choose another {flag}.")
    try:
        with tempfile.TemporaryDirectory(
            dir=path.parent, prefix=f".{path.name}.", ignore_cleanup_errors=True
        ) as temporary:
            folder = Path(temporary) / "whole"
            folder.mkdir()
            yield folder
            for written in (folder, *(one for one in folder.rglob("*") if one.is_dir())):
                sync_folder(written)
            folder.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error, flag=flag) from error


def _end_of_whole_lines(file: BinaryIO) -> int:
    """Return the size of the part of a journal that ends with a newline."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return 0
    file.seek(size - 1)
    if file.read(1) == b"\n":
        return size
    file.seek(0)
    return file.read().rfind(b"\n") + 1


def append_json_line(path: Path, data: Any) -> None:
    """Append a plain value as one line of JSON, whole or not at all, and sync it.

    Raises:
        OutputError: the file cannot be written or the disk is full.
        ValueError: ``data`` holds NaN or an infinity; nothing is written.
    """
    append_whole(path, canonical_json(data).encode() + b"\n")


def append_whole(path: Path, lines: bytes, *, heading: bytes = b"") -> None:
    """Append whole lines in a single write and sync them; a torn last line is replaced.

    Args:
        path: made where it is missing.
        lines: each with its newline.
        heading: a whole line that goes before the first one of the file.

    Raises:
        OutputError: the file cannot be written or the disk is full; it is as it was.
    """
    is_new = not path.exists()
    try:
        with path.open("ab+", buffering=0) as file:
            end = _end_of_whole_lines(file)
            file.truncate(end)
            data = lines if end else heading + lines
            if file.write(data) != len(data):
                file.truncate(end)
                raise OutputError(f"The disk is full at {str(path)!r}; free some space.")
            os.fsync(file.fileno())
        if is_new:
            sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def read_json_lines(path: Path) -> list[Any]:
    """Return the values of a journal, without a torn last line; [] where it is missing.

    Raises:
        ReplayError: a line that ended with its newline is no JSON.
    """
    if not path.exists():
        return []
    *lines, _torn_or_empty = path.read_bytes().split(b"\n")
    values = []
    for number, line in enumerate(lines, start=1):
        try:
            values.append(json.loads(line))
        except ValueError as error:
            raise ReplayError(
                f"Line {number} of {str(path)!r} is damaged: {line[:40]!r}; restore the file"
                " or start a run in a new --output folder."
            ) from error
    return values
