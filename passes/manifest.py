"""What an artifact folder says about itself: ``manifest.json`` and the digest of its files.

The manifest makes an artifact checkable without knowing the pass that made it. It
is not signed: it finds damage, not an attacker who can also rewrite the manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autotune.errors import StoreError
from autotune.plain import digest, from_plain

__all__ = [
    "MANIFEST",
    "SCHEMA",
    "FileEntry",
    "Manifest",
    "content_digest",
    "describe_files",
    "file_sha256",
    "read_manifest",
]

MANIFEST = "manifest.json"
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of an artifact: path with ``/`` below the folder, bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything that made an artifact, and what it consists of.

    Attributes:
        schema: version of this form; others are refused and rebuilt.
        key: what the artifact is found by.
        name: of the pass.
        parameters: of the pass, plain.
        inputs: content digests of the inputs, by name.
        versions: of the libraries that shape the result.
        facts: what the pass reported.
        seconds: what making it cost, wall time.
        files: sorted by path; ``manifest.json`` itself left out.
        digest: of ``files``.
        created: UTC, ISO 8601.
    """

    schema: int
    key: str
    name: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, str]
    versions: Mapping[str, str]
    facts: Mapping[str, Any]
    seconds: float
    files: tuple[FileEntry, ...]
    digest: str
    created: str


def file_sha256(path: Path) -> str:
    """Return the SHA-256 hex digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def describe_files(folder: Path, files: Iterable[Path]) -> tuple[FileEntry, ...]:
    """Return the entries of ``files`` (all below ``folder``), sorted by path; reads them whole."""
    entries = (
        FileEntry(
            path=file.relative_to(folder).as_posix(),
            size=file.stat().st_size,
            sha256=file_sha256(file),
        )
        for file in files
    )
    return tuple(sorted(entries, key=lambda entry: entry.path))


def content_digest(files: Iterable[FileEntry]) -> str:
    """Return one digest of names, sizes and contents; order does not matter."""
    return digest(sorted([entry.path, entry.size, entry.sha256] for entry in files))


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of ``folder``.

    Raises:
        StoreError: it is absent, not readable as a manifest, or of another schema.
    """
    path = folder / MANIFEST
    try:
        data = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(f"An artifact needs a {MANIFEST}, {folder} has none.") from error
    except ValueError as error:
        raise StoreError(f"A manifest is JSON, {path} is not ({error}).") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise StoreError(f"A manifest has schema {SCHEMA}, {path} has {schema!r}.")
    try:
        return from_plain(Manifest, data)
    except ValidationError as error:
        raise StoreError(f"{path} is no manifest: {error.error_count()} fields differ.") from error
