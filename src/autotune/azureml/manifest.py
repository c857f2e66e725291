"""What a job handed over, by name, size and digest: written last there, checked first here."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from autotune.errors import ServiceError
from autotune.plain import from_plain, to_plain

__all__ = ["MANIFEST", "HandedFile", "Manifest", "file_digest"]

MANIFEST = "manifest.json"
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class HandedFile:
    """A file: size in bytes and SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a job handed over.

    Attributes:
        exit_code: of the command that ran there.
        files: by path relative to the run's folder, with ``/``.
    """

    exit_code: int
    files: dict[str, HandedFile]

    @classmethod
    def of(cls, folder: Path, *, exit_code: int) -> Manifest:
        """Return the manifest of every file in ``folder``."""
        files = {
            path.relative_to(folder).as_posix(): HandedFile(
                size=path.stat().st_size, sha256=file_digest(path)
            )
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        return cls(exit_code=exit_code, files=files)

    @property
    def text(self) -> str:
        """As JSON."""
        return json.dumps(to_plain(self), indent=1)

    @classmethod
    def read(cls, text: bytes) -> Manifest:
        """Return the manifest that ``text`` holds.

        Raises:
            ServiceError: it is none, or it names a path outside of the run's folder.
        """
        try:
            found = from_plain(cls, json.loads(text))
        except (ValueError, ValidationError) as error:
            raise ServiceError(
                f"The result's {MANIFEST} is damaged ({error}); `autotune resume` reads it again.",
                kind="refused",
            ) from None
        for name in found.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
                raise ServiceError(
                    f"The result names {name!r}, which is outside of a run's folder; nothing of"
                    " it is taken.",
                    kind="refused",
                )
        return found


def file_digest(path: Path) -> str:
    """Return the SHA-256 hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
