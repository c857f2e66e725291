"""The artifact store: a folder of folders, each named by the hash of what made it.

An artifact exists whole or not at all: it is filled in a temporary folder of the
same file system, flushed to disk and renamed. A damaged one is set aside and
reported as missing, so that it is made again. Failures are never stored.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from autotune.errors import OutputError, StoreError
from autotune.plain import to_plain

from .contract import Artifact
from .disk import free_bytes, output_errors, sync, write_synced
from .manifest import (
    MANIFEST,
    SCHEMA,
    FileEntry,
    Manifest,
    content_digest,
    describe_files,
    file_sha256,
    read_manifest,
)

__all__ = ["ArtifactStore", "Origin", "default_root"]

_LOG = logging.getLogger(__name__)
_TEMPORARY = "tmp"
_LOCKS = "locks"
_DOWNLOADS = "downloads"
_USER = "user-"  # locks of commands at work
_RESERVED = frozenset({_TEMPORARY, _LOCKS, _DOWNLOADS})
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_KEY = re.compile(r"[0-9a-f]{16,64}")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What an artifact is made from: the part of its manifest that is known beforehand.

    Attributes:
        key: hex digest of the rest (``Pass.key``).
        name: of the pass, and of the folder in the store.
        parameters: of the pass, plain.
        inputs: content digests of its inputs, by name.
        versions: of the libraries that shape the result.
    """

    key: str
    name: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, str]
    versions: Mapping[str, str]


def default_root() -> Path:
    """Return ``$AUTOTUNE_CACHE``, or ``store`` in the user's cache folder."""
    if named := os.environ.get("AUTOTUNE_CACHE"):
        return Path(named).expanduser()
    import platformdirs  # noqa: PLC0415 - most runs of the command need no store

    return platformdirs.user_cache_path("autotune") / "store"


class ArtifactStore:
    """Artifacts below ``root``, as ``<pass>/<key[:2]>/<key>/``.

    Safe for several processes on one machine: ``lock`` lets one of them make a key,
    and a commit is a rename, so readers need no lock.
    """

    def __init__(self, root: Path | None = None) -> None:
        """Open (and create) the store; reclaim what killed processes left behind.

        Raises:
            OutputError: the folder cannot be made or written.
        """
        self.root = (root or default_root()).absolute()
        self._verified: set[str] = set()
        # Held while a temporary folder gets its lock, and while stale ones are sought:
        # without it a reclaimer could delete a folder in the moment of its birth.
        self._births = FileLock(self.root / _LOCKS / "births.lock")
        with output_errors(self.root):
            try:
                self.root.mkdir(parents=True, exist_ok=True)
            except FileNotFoundError as error:  # a drive or a file system that takes no folders
                raise OutputError(
                    f"A cache must be a folder, {self.root} cannot be made ({error.strerror});"
                    " set AUTOTUNE_CACHE to a folder of yours."
                ) from error
            for name in _RESERVED:
                (self.root / name).mkdir(parents=True, exist_ok=True)
            with self._births:
                self._reclaim()

    def path_of(self, key: str, name: str) -> Path:
        """Return where the artifact of pass ``name`` with ``key`` is, or would be.

        Raises:
            ValueError: the name or the key could leave the store.
        """
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise ValueError(f"A pass name is lower case words with '-', got {name!r}.")
        return self.root / name / _checked(key)[:2] / key

    def downloads(self, name: str) -> Path:
        """Return the folder that keeps downloads called ``name``; it may not exist yet."""
        return self.root / _DOWNLOADS / name

    def get(self, key: str, name: str) -> Artifact | None:
        """Return the artifact, or None where there is none or its manifest or sizes are wrong."""
        path = self.path_of(key, name)
        with output_errors(path):
            if not path.exists():
                return None
            try:
                manifest = _check_sizes(path, key=key, name=name)
            except StoreError as error:
                self._set_aside(path, reason=str(error))
                return None
        return _artifact(manifest, path)

    def get_verified(self, key: str, name: str) -> Artifact | None:
        """Return the artifact after its contents were checked once in this process."""
        artifact = self.get(key, name)
        if artifact is None or str(artifact.path) in self._verified:
            return artifact
        try:
            self.verify(artifact)
        except StoreError as error:
            self._set_aside(artifact.path, reason=str(error))
            return None
        return artifact

    def verify(self, artifact: Artifact) -> None:
        """Read every file of a stored artifact and compare it with the manifest.

        Raises:
            StoreError: a file is absent or its SHA-256 differs.
        """
        name = artifact.path.relative_to(self.root).parts[0]
        manifest = _check_sizes(artifact.path, key=artifact.key, name=name)
        for entry in manifest.files:
            found = file_sha256(artifact.path / entry.path)
            if found != entry.sha256:
                raise StoreError(
                    f"A stored file keeps its SHA-256, {artifact.path / entry.path} changed from "
                    f"{entry.sha256[:12]} to {found[:12]}; delete the folder to make it again."
                )
        self._verified.add(str(artifact.path))

    def lock(self, key: str) -> FileLock:
        """Return the lock to hold while ``key`` is made; the system frees it if we die."""
        return FileLock(self.root / _LOCKS / f"{_checked(key)}.lock")

    @contextmanager
    def workdir(self, key: str) -> Iterator[Path]:
        """Give an empty folder on the store's file system; what is left of it is removed.

        Its name has our process id for people. Whether it is stale is told by a file
        lock that we hold for as long: ids are reused, and differ between containers.
        """
        name = f"{_checked(key)[:16]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        folder = self.root / _TEMPORARY / name
        lock = FileLock(folder.with_suffix(".lock"))
        with output_errors(folder), self._births:
            lock.acquire(timeout=0)
            folder.mkdir()
        try:
            yield folder
        finally:
            _remove(folder, lock)

    def commit(
        self, workdir: Path, origin: Origin, *, facts: Mapping[str, Any], seconds: float
    ) -> Artifact:
        """Make ``workdir`` the artifact of ``origin``; where one exists already, that one stays.

        Raises:
            OutputError: the disk is full or refuses.
            StoreError: the folder holds links, special files or a manifest of its own.
        """
        path = self.path_of(origin.key, origin.name)
        files = list(_regular_files(workdir))
        with output_errors(path, needed=sum(file.stat().st_size for file in files)):
            if (existing := self.get_verified(origin.key, origin.name)) is not None:
                return existing
            for file in files:
                # safetensors writes files for the owner alone, and copies would keep that.
                file.chmod(0o644)
            entries = describe_files(workdir, files)
            manifest = _manifest(origin, entries, facts=facts, seconds=seconds)
            write_synced(workdir / MANIFEST, json.dumps(to_plain(manifest), indent=1))
            sync([*files, *(file for file in workdir.rglob("*") if file.is_dir()), workdir])
            self._publish(workdir, path)
        return self._committed(origin)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keep what is in the store from being pruned, until the block ends."""
        lock = FileLock(self.root / _LOCKS / f"{_USER}{os.getpid()}-{uuid.uuid4().hex[:8]}.lock")
        with output_errors(self.root), self._births:
            lock.acquire(timeout=0)
        try:
            yield
        finally:
            with suppress(OSError):  # Windows removes no open file
                Path(lock.lock_file).unlink()
            lock.release()

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Tell whether nobody uses the store; until the block ends nobody begins to."""
        with output_errors(self.root), self._births:
            yield not any(_is_held(path) for path in (self.root / _LOCKS).glob(f"{_USER}*.lock"))

    def folders(self) -> Iterator[Path]:
        """Yield the folders of all artifacts; they may vanish meanwhile."""
        for manifest in sorted(self.root.glob(f"*/??/*/{MANIFEST}")):
            if manifest.relative_to(self.root).parts[0] not in _RESERVED:
                yield manifest.parent

    def discard(self, artifact: Artifact) -> None:
        """Remove an artifact that nobody uses any more; asked for again, it is made again."""
        with self.lock(artifact.key), output_errors(artifact.path):
            self._bury(artifact.path)

    def size(self) -> int:
        """Return the bytes of all files in the store, downloads and temporary ones included."""
        sizes = (_size(Path(top, name)) for top, _, names in os.walk(self.root) for name in names)
        return sum(max(size, 0) for size in sizes)  # some may vanish meanwhile

    def free_bytes(self) -> int:
        """Return the free bytes of the store's file system."""
        return free_bytes(self.root)

    def _committed(self, origin: Origin) -> Artifact:
        artifact = self.get(origin.key, origin.name)
        if artifact is None:
            raise StoreError(f"A committed artifact must be readable, {origin.key} is not.")
        self._verified.add(str(artifact.path))
        return artifact

    def _publish(self, workdir: Path, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            workdir.rename(path)
        except OSError as error:
            # Someone without the lock was first; both were made from the same origin.
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
        sync([path.parent, path.parent.parent, self.root])

    def _set_aside(self, path: Path, *, reason: str) -> None:
        _LOG.warning("Removing a damaged artifact, it will be made again: %s", reason)
        self._bury(path)

    def _bury(self, path: Path) -> None:
        """Take ``path`` out of sight in one step, then delete it at leisure."""
        grave = self.root / _TEMPORARY / f"removed-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._verified.discard(str(path))
        try:
            path.rename(grave)
        except FileNotFoundError:  # another process was faster
            return
        shutil.rmtree(grave, ignore_errors=True)

    def _reclaim(self) -> None:
        names = {path.stem for path in (self.root / _TEMPORARY).iterdir()}
        for name in sorted(names):
            folder = self.root / _TEMPORARY / name
            lock = FileLock(folder.with_suffix(".lock"))
            try:
                lock.acquire(timeout=0)
            except Timeout:  # its owner lives
                continue
            _LOG.info("Removing what an ended process left: %s", folder)
            _remove(folder, lock)


def _is_held(path: Path) -> bool:
    """Whether a living process holds the lock; one that a dead process left is removed."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    with suppress(OSError):  # Windows removes no open file
        path.unlink()
    lock.release()
    return False


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"A store key is 16 to 64 lower case hex digits, got {key!r}.")
    return key


def _remove(folder: Path, lock: FileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_suffix(".lock").unlink(missing_ok=True)
    lock.release()


def _regular_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise StoreError(f"An artifact holds plain files only, {path} is a link or special.")
        if path == folder / MANIFEST:
            raise StoreError(f"{MANIFEST} is written by the store, the pass must not: {path}.")
        if path.is_file():
            yield path


def _check_sizes(path: Path, *, key: str, name: str) -> Manifest:
    manifest = read_manifest(path)
    if (manifest.key, manifest.name) != (key, name):
        raise StoreError(f"{path} belongs to another key or pass, {manifest.name} {manifest.key}.")
    if content_digest(manifest.files) != manifest.digest:
        raise StoreError(f"The list of files in {path / MANIFEST} does not have its own digest.")
    for entry in manifest.files:
        found = _size(path / entry.path)
        if found != entry.size:
            raise StoreError(f"{path / entry.path} has {found} bytes instead of {entry.size}.")
    return manifest


def _size(path: Path) -> int:
    """Return the size of a plain file; -1 where it is absent or something else."""
    return path.lstat().st_size if path.is_file() and not path.is_symlink() else -1


def _manifest(
    origin: Origin, entries: tuple[FileEntry, ...], *, facts: Mapping[str, Any], seconds: float
) -> Manifest:
    return Manifest(
        schema=SCHEMA,
        key=origin.key,
        name=origin.name,
        parameters=origin.parameters,
        inputs=origin.inputs,
        versions=origin.versions,
        facts=facts,
        seconds=seconds,
        files=entries,
        digest=content_digest(entries),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _artifact(manifest: Manifest, path: Path) -> Artifact:
    return Artifact(
        key=manifest.key,
        digest=manifest.digest,
        path=path,
        facts=manifest.facts,
        seconds=manifest.seconds,
    )
