"""What the store holds, and which of it can go: everything in it can be made again.

Deploy folders do not suffer: their weights are links of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune.errors import UsageError

from .store import ArtifactStore

__all__ = ["Stored", "chosen_to_go", "prune_store", "stored_artifacts"]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An artifact as it lies in the store.

    Attributes:
        name: of the pass that made it.
        key: what it is found by.
        size_bytes: of its files.
        made_s: when it was made, seconds since the epoch.
    """

    name: str
    key: str
    size_bytes: int
    made_s: float


def stored_artifacts(store: ArtifactStore) -> list[Stored]:
    """Return every artifact, the oldest first; some may vanish meanwhile."""
    found = [one for path in store.folders() if (one := _stored(path)) is not None]
    return sorted(found, key=lambda one: (one.made_s, one.key))


def _stored(path: Path) -> Stored | None:
    try:
        sizes = [file.lstat().st_size for file in _files(path)]
        made_s = path.stat().st_mtime
    except FileNotFoundError:
        return None
    return Stored(name=path.parts[-3], key=path.name, size_bytes=sum(sizes), made_s=made_s)


def _files(path: Path) -> Iterator[Path]:
    return (file for file in path.rglob("*") if not file.is_dir())


def chosen_to_go(
    stored: Sequence[Stored],
    *,
    now_s: float,
    older_than_s: float | None = None,
    to_bytes: float | None = None,
) -> list[Stored]:
    """Return the artifacts made longer ago than ``older_than_s``, and the oldest until fit.

    Args:
        stored: as ``stored_artifacts`` returns it, the oldest first.
        now_s: seconds since the epoch.
        older_than_s: age in seconds; None lets all stay.
        to_bytes: what the artifacts may hold together afterwards; None is no limit.
    """
    old = {
        one.key for one in stored if older_than_s is not None and now_s - one.made_s > older_than_s
    }
    left = sum(one.size_bytes for one in stored if one.key not in old)
    for one in stored:
        if to_bytes is None or left <= to_bytes:
            break
        if one.key not in old:
            old.add(one.key)
            left -= one.size_bytes
    return [one for one in stored if one.key in old]


def prune_store(store: ArtifactStore, gone: Sequence[Stored]) -> int:
    """Remove ``gone`` from the store and return how many bytes that were.

    Raises:
        UsageError: a command is at work with the store.
        OutputError: the disk refuses.
    """
    with store.alone() as is_alone:
        if not is_alone:
            raise UsageError(
                f"A command is at work with the store {str(store.root)!r} and may need what would"
                " go; prune when it has ended."
            )
        freed = 0
        for one in gone:
            artifact = store.get(one.key, one.name)
            if artifact is not None:  # a damaged one is gone by having been looked at
                store.discard(artifact)
            freed += one.size_bytes
    return freed
