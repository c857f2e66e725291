"""Files in a datastore: listed, and read from where an earlier reading ended."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["BlobFolder"]


@dataclass(frozen=True, kw_only=True)
class BlobFolder:
    """The files below a path of a datastore.

    Attributes:
        container: client of azure-storage-blob.
        prefix: the path, with a ``/`` at its end.
        answering: turns errors of the SDK into ours.
    """

    container: Any
    prefix: str
    answering: Callable[[str], AbstractContextManager[None]]

    def sizes(self, below: str = "") -> dict[str, int]:
        """Return sizes in bytes by name relative to this folder, of what is ``below``.

        Raises:
            ServiceError: no answer, or no permission.
        """
        with self.answering("Listing files"):
            blobs = list(self.container.list_blobs(name_starts_with=self.prefix + below))
        return {blob.name.removeprefix(self.prefix): int(blob.size) for blob in blobs}

    def read(self, name: str) -> bytes:
        """Return a small file.

        Raises:
            ServiceError: there is none (``absent``), or no answer.
        """
        with self.answering(f"Reading {name}"):
            return bytes(self.container.download_blob(self.prefix + name).readall())

    def append(self, name: str, path: Path, *, size: int) -> int:
        """Add to ``path`` what it lacks of the file's first ``size`` bytes; return how many.

        A connection that is lost on the way leaves what has come; the next call goes on there.

        Raises:
            ServiceError: as ``read``.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        had = path.stat().st_size if path.exists() else 0
        if had >= size:
            path.touch()
            return 0
        with path.open("ab") as stream, self.answering(f"Reading {name}"):
            blob = self.container.download_blob(
                self.prefix + name, offset=had, length=size - had, max_concurrency=1
            )
            for chunk in blob.chunks():
                stream.write(chunk)
        return size - had
