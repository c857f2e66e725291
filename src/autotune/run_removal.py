"""``autotune rm``: what a run left is removed, and nothing else.

Only names that a run writes are taken; what somebody put beside them stays, and so does
its folder. ``run.json`` goes last, so that a removal that was cut off can be taken up again.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autotune.errors import OutputError, UsageError
from autotune.run_folders import CONFIG, is_held, read_run

__all__ = ["Removal", "plan_removal", "remove"]

_OURS = re.compile(
    r"(run|command|azureml|hardware)\.json|azureml|\.incoming|identity\.json|(events|trials|mistakes)\.jsonl|report\.(json|html)"
    r"|study\.journal(\.lock|\.held)?|logs|model|model-\d+"
)


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What removing a run would do.

    Attributes:
        path: of the run folder.
        ours: entries that go, ``run.json`` last.
        others: entries that stay.
        freed_bytes: of files that have no other name; the store keeps what it shares.
    """

    path: Path
    ours: tuple[Path, ...]
    others: tuple[Path, ...]
    freed_bytes: int


def plan_removal(path: Path) -> Removal:
    """Return what removing the run in ``path`` would do; nothing is changed.

    Raises:
        UsageError: no run folder, a link to one, or a run that is going on.
    """
    if path.is_symlink():
        raise UsageError(
            f"A run is removed where it lies, {str(path)!r} is a link to"
            f" {str(path.resolve())!r}; name that."
        )
    read_run(path)
    if is_held(path):
        raise UsageError(
            f"{str(path)!r} is being written by a run; end that first, with Ctrl-C or SIGTERM."
        )
    entries = sorted(path.iterdir(), key=lambda entry: (entry.name == CONFIG, entry.name))
    ours = tuple(entry for entry in entries if _OURS.fullmatch(entry.name))
    return Removal(
        path=path,
        ours=ours,
        others=tuple(entry for entry in entries if entry not in ours),
        freed_bytes=sum(_freed(file) for entry in ours for file in _files(entry)),
    )


def _files(entry: Path) -> Iterator[Path]:
    """Yield the files of an entry; links are files, they are not followed."""
    if entry.is_symlink() or not entry.is_dir():
        yield entry
        return
    for top, folders, names in os.walk(entry):
        yield from (Path(top, name) for name in names)
        yield from (Path(top, name) for name in folders if Path(top, name).is_symlink())


def _freed(file: Path) -> int:
    facts = file.lstat()
    return facts.st_size if facts.st_nlink == 1 else 0


def remove(removal: Removal) -> None:
    """Carry ``removal`` out.

    Raises:
        OutputError: an entry cannot be removed; ``run.json`` is still there then.
    """
    try:
        for entry in removal.ours:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)
        if not removal.others:
            removal.path.rmdir()
    except OSError as error:
        raise OutputError(
            f"{error.filename or str(removal.path)!r} could not be removed ({error.strerror});"
            f" mend that and give the command again."
        ) from error
