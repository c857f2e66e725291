"""``autotune cache``: what the artifact store holds, and making room in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autotune.errors import UsageError
from autotune.passes import (
    ArtifactStore,
    Stored,
    chosen_to_go,
    default_root,
    prune_store,
    stored_artifacts,
)
from autotune.units import format_size, parse_duration, parse_size

__all__ = ["PrunePlan", "plan_prune", "size_lines"]


def _open() -> ArtifactStore | None:
    """Return the store, None where there is none yet: looking makes no folder."""
    return ArtifactStore() if default_root().is_dir() else None


def size_lines() -> Iterator[str]:
    """Yield what the store holds by kind, then the whole and what is free."""
    store = _open()
    if store is None:
        yield f"{default_root()}: nothing stored yet"
        return
    by_kind: dict[str, list[int]] = {}
    for one in stored_artifacts(store):
        by_kind.setdefault(one.name, []).append(one.size_bytes)
    for name, sizes in sorted(by_kind.items(), key=lambda item: -sum(item[1])):
        yield f"{name:<14} {format_size(sum(sizes)):>9}  {len(sizes)} artifacts"
    downloads = _bytes_below(store.root / "downloads")
    if downloads:
        yield f"{'downloads':<14} {format_size(downloads):>9}"
    yield f"{'all':<14} {format_size(store.size()):>9}  in {store.root}"
    yield f"{'free':<14} {format_size(store.free_bytes()):>9}  on its disk"


def _bytes_below(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


@dataclass(frozen=True, kw_only=True)
class PrunePlan:
    """What would go.

    Attributes:
        store: of which.
        gone: artifacts, the oldest first.
        kept: how many stay.
    """

    store: ArtifactStore
    gone: tuple[Stored, ...]
    kept: int

    @property
    def freed_bytes(self) -> int:
        """Bytes of what would go; a deploy folder that shares some keeps them on the disk."""
        return sum(one.size_bytes for one in self.gone)

    def carry_out(self) -> int:
        """Remove it and return the bytes; errors as ``prune_store``."""
        return prune_store(self.store, self.gone)


def plan_prune(*, older_than: str | None, to: str | None, everything: bool) -> PrunePlan | None:
    """Return what the flags ask to remove, None where there is no store.

    Raises:
        UsageError: no flag says what may go.
        UnitError: an age or a size without unit.
    """
    if older_than is None and to is None and not everything:
        raise UsageError(
            "Say what may go: --older-than 30d, --to 20GB (the oldest first), or --all;"
            " --dry-run only tells what that would be."
        )
    if everything and (older_than is not None or to is not None):
        raise UsageError("--all leaves nothing for --older-than and --to to choose; drop one.")
    age_s = None if older_than is None else parse_duration(older_than, what="--older-than")
    limit = None if to is None else parse_size(to, what="--to")
    store = _open()
    if store is None:
        return None
    stored = stored_artifacts(store)
    gone = (
        stored
        if everything
        else chosen_to_go(stored, now_s=time.time(), older_than_s=age_s, to_bytes=limit)
    )
    return PrunePlan(store=store, gone=tuple(gone), kept=len(stored) - len(gone))
