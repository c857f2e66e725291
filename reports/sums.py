"""SHA256SUMS: the digests of a folder's files, in the format that ``sha256sum -c`` reads.

The runtime loads damaged weights without a word, so what leaves a machine carries its
sums and what arrives is compared with them before anything of it runs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from autotune.errors import StoreError

__all__ = ["SUMS", "check_sums", "file_digests", "read_sums", "write_sums"]

SUMS = "SHA256SUMS"
# coreutils' format: digest, a space, a space or an asterisk, the name.
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def file_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file by its name below ``folder``, with ``/``.

    Hidden files (version control, desktops) are left out.
    """
    return {name: _sha256(folder / name) for name in _names(folder)}


def _names(folder: Path) -> Iterator[str]:
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            yield name.as_posix()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(folder: Path) -> None:
    """Write the sums of all files in ``folder``, hidden ones left out; call it last."""
    found = file_digests(folder)
    lines = [f"{value}  {name}\n" for name, value in found.items() if name != SUMS]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")


def read_sums(folder: Path, *, again: str) -> dict[str, str] | None:
    """Return the listed digests by name; None where ``folder`` has no sums.

    Args:
        folder: that the sums lie in.
        again: what to do where they are damaged, ``fetch the model again``.

    Raises:
        StoreError: the file is not of its form.
    """
    path = folder / SUMS
    if not path.is_file():
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise StoreError(f"{str(path)!r} is no text ({error}); {again}.") from error
    found = {}
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            raise StoreError(
                f"A line of {SUMS} is a SHA-256 and a name, {str(path)!r} has {line[:80]!r};"
                f" {again}."
            )
        found[PurePosixPath(match[2]).as_posix()] = match[1]
    return found


def check_sums(
    folder: Path, *, listed: Mapping[str, str], found: Mapping[str, str], what: str, again: str
) -> None:
    """Compare ``found`` (``file_digests``) with ``listed`` (``read_sums``).

    Raises:
        StoreError: a listed file is missing or differs.
    """
    for name, expected in listed.items():
        actual = found.get(name)
        if actual != expected:
            state = f"is now {actual[:12]}" if actual else "is not there"
            raise StoreError(
                f"The {what} {str(folder)!r} is damaged: {name!r} was {expected[:12]} when {SUMS}"
                f" was written and {state}; {again}. Nothing was run."
            )
