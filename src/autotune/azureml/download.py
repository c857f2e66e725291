"""The result of a job: fetched file by file, checked against its manifest, moved in place whole.

What has come stays in ``.incoming`` when a connection is lost, and the next try goes on there.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from autotune.errors import ServiceError
from autotune.progress import Progress
from autotune.run_folders import CONFIG, REPORT
from autotune.units import format_size

from .manifest import MANIFEST, HandedFile, Manifest, file_digest
from .storage import BlobFolder

__all__ = ["Download"]

T = TypeVar("T")

_INCOMING = ".incoming"
_TRIES, _PAUSE_S = 5, 10.0
# Their presence says that a run is there, so they come last.
_LAST = (CONFIG, REPORT)


@dataclass(frozen=True, kw_only=True)
class Download:
    """Brings a result into a run's folder.

    Attributes:
        source: where the job left it.
        folder: of the run.
        progress: told.
        pause: waits some seconds before another try.
    """

    source: BlobFolder
    folder: Path
    progress: Progress
    pause: Callable[[float], None] = time.sleep

    def bring(self) -> Manifest | None:
        """Return what came, or None where the job left nothing.

        Raises:
            ServiceError: no answer after some tries, or a file that stays damaged.
        """
        manifest = self._manifest()
        if manifest is None:
            return None
        total = sum(file.size for file in manifest.files.values())
        self.progress.working(f"fetching {len(manifest.files)} files, {format_size(total)}")
        for name, file in manifest.files.items():
            if not self._is_here(self.folder / name, file):
                self._fetch(name, file)
        self._move(manifest)
        self.progress.rest()
        self.progress.line(f"Result   {len(manifest.files)} files, {format_size(total)}, checked")
        return manifest

    def _manifest(self) -> Manifest | None:
        try:
            return Manifest.read(self._patiently(lambda: self.source.read(MANIFEST)))
        except ServiceError as error:
            if error.kind == "absent":
                return None
            raise

    def _is_here(self, path: Path, file: HandedFile) -> bool:
        return (
            path.is_file() and path.stat().st_size == file.size and file_digest(path) == file.sha256
        )

    def _fetch(self, name: str, file: HandedFile) -> None:
        path = self.folder / _INCOMING / name
        if path.exists() and path.stat().st_size > file.size:
            path.unlink()
        for _ in range(2):  # once more from the start, where what came is damaged
            self._patiently(lambda: self.source.append(name, path, size=file.size))
            if self._is_here(path, file):
                return
            path.unlink()
        raise ServiceError(
            f"{name} of the result does not have the digest that its manifest names; the copy in"
            " the datastore is damaged.",
            kind="refused",
        )

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Return what ``ask`` does, tried again where the connection is lost."""
        for attempt in range(1, _TRIES + 1):
            try:
                return ask()
            except ServiceError as error:
                if error.kind != "lost" or attempt == _TRIES:
                    raise
                self.progress.line(f"Azure    the connection was lost, going on there. ({error})")
                self.pause(_PAUSE_S)
        raise AssertionError("the last try returns or raises")

    def _move(self, manifest: Manifest) -> None:
        """Move what came in place, the files that make it a run last."""
        incoming = self.folder / _INCOMING
        for name in sorted(manifest.files, key=lambda one: (one in _LAST, one)):
            if (incoming / name).exists():
                target = self.folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                (incoming / name).replace(target)
        shutil.rmtree(incoming, ignore_errors=True)
