"""The bundle folder: written whole by a machine that builds, checked whole where it is measured.

``models/<recipe>/``, ``bundle.json`` and ``SHA256SUMS``. Nothing of it is run before
every file was compared with its digest.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune.census_entries import Tried
from autotune.command_line import shared_command_line
from autotune.errors import StoreError, UsageError
from autotune.evaluators import RowSet, Workload, workload_digest
from autotune.passes import FileEntry, content_digest
from autotune.plain import from_plain, to_plain
from autotune.publish import model_facts, workload_facts
from autotune.reports import (
    BUNDLE_FILE,
    SUMS,
    Bundle,
    BundledRecipe,
    BundledRequests,
    bundled_folder,
    check_sums,
    file_digests,
    load_bundle,
    place_built,
    read_sums,
    whole_folder,
    write_json_atomic,
    write_sums,
)
from autotune.session import Session

__all__ = ["OpenBundle", "open_bundle", "write_bundle"]

_AGAIN = "copy the bundle again, or export it again"


@dataclass(frozen=True, kw_only=True)
class OpenBundle:
    """A bundle whose files are what they were when it was written.

    Attributes:
        path: of the folder.
        bundle: what it says about itself.
        workload: the requests to time.
        digest: of bundle.json, and through it of everything.
    """

    path: Path
    bundle: Bundle
    workload: Workload
    digest: str


def write_bundle(
    path: Path, session: Session, tried: Sequence[Tried], *, requests_per_block: int
) -> Bundle:
    """Write the bundle ``path`` of what was built; it exists whole or not at all.

    Raises:
        OutputError: ``path`` exists, or the disk is full or cannot be written.
    """
    bundle = Bundle(
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command=shared_command_line(),
        device=session.device,
        versions=session.all_versions,
        seed=session.config.seed,
        model=model_facts(session),
        workload=workload_facts(session),
        requests=from_plain(BundledRequests, to_plain(session.workload.rows)),
        requests_per_block=requests_per_block,
        recipes=tuple(_bundled(one) for one in tried),
    )
    with whole_folder(path, flag="--export") as folder:
        for one in tried:
            if one.folder is not None:
                place_built(one.folder, folder / bundled_folder(one.recipe))
        write_json_atomic(folder / BUNDLE_FILE, to_plain(bundle))
        write_sums(folder)
    return bundle


def _bundled(one: Tried) -> BundledRecipe:
    return BundledRecipe(
        recipe=one.recipe,
        status=one.status,
        reason=one.reason,
        folder=bundled_folder(one.recipe) if one.folder is not None else "",
        digest=one.digest,
        metrics=dict(one.metrics),
    )


def open_bundle(path: Path) -> OpenBundle:
    """Read a bundle and compare every file with its digest; run nothing.

    Raises:
        UsageError: no bundle, or one of another version.
        StoreError: a file is missing, added or differs.
    """
    listed = read_sums(path, again=_AGAIN)
    if not (path / BUNDLE_FILE).is_file() and BUNDLE_FILE not in (listed or {}):
        raise UsageError(
            f"A bundle is a folder with a {BUNDLE_FILE}, {str(path)!r} has none; name one that"
            " `autotune census --export` wrote. A single model is timed by `autotune measure`."
        )
    if listed is None:
        raise StoreError(f"A bundle has its {SUMS}, {str(path)!r} has lost it; {_AGAIN}.")
    found = file_digests(path)
    check_sums(path, listed=listed, found=found, what="bundle", again=_AGAIN)
    if added := sorted(set(found) - set(listed) - {SUMS}):
        raise StoreError(
            f"A bundle holds the files that its {SUMS} lists, {str(path)!r} has {added[0]!r}"
            f" beside them; {_AGAIN}."
        )
    bundle = load_bundle(path)
    for one in bundle.recipes:
        _check_build(path, one, found)
    rows = from_plain(RowSet, to_plain(bundle.requests))
    if workload_digest(rows) != bundle.workload.digest:
        raise StoreError(
            f"The requests in {str(path / BUNDLE_FILE)!r} do not have the digest that stands"
            f" there, {bundle.workload.digest[:12]!r}; {_AGAIN}."
        )
    workload = Workload(rows=rows, digest=bundle.workload.digest)
    return OpenBundle(path=path, bundle=bundle, workload=workload, digest=found[BUNDLE_FILE])


def _check_build(path: Path, one: BundledRecipe, found: Mapping[str, str]) -> None:
    """Compare the files of a build with the digest that bundle.json has of them."""
    if not one.folder:
        return
    folder = f"{one.folder}/"
    files = [
        FileEntry(path=name.removeprefix(folder), size=(path / name).stat().st_size, sha256=sha256)
        for name, sha256 in found.items()
        if name.startswith(folder)
    ]
    if content_digest(files) != one.digest:
        raise StoreError(
            f"The files of {one.folder!r} in {str(path)!r} are not those that were built, their"
            f" digest is not {one.digest[:12]!r}; {_AGAIN}."
        )
