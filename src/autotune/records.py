"""What identifies a run, and the shelf of finished records that identical runs replay."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from autotune.errors import ReplayError, UsageError
from autotune.reports import EventLog, write_json_atomic
from autotune.steps import Event

__all__ = ["RecordShelf", "RunIdentity", "first_change"]

_DIGEST = re.compile(r"[0-9a-f]{64}")  # SHA-256


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """The facts that a run and its continuation must share, kept in ``path``."""

    path: Path

    def check_or_write(self, facts: Mapping[str, str]) -> None:
        """Write the facts of a new run; compare those of a resumed one.

        Raises:
            UsageError: a fact differs; it is named with both values.
        """
        if not self.path.exists():
            write_json_atomic(self.path, dict(facts))
            return
        self.check(facts)

    def check(self, facts: Mapping[str, str], *, ignoring: Collection[str] = ()) -> None:
        """Compare the facts of a run that began before, but for those named in ``ignoring``.

        Raises:
            UsageError: a fact differs, or the record of them is missing or damaged.
        """
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{str(self.path)!r} says what a run began with, and cannot be read ({error});"
                " restore it, or start a new run."
            ) from error
        kept, facts = (
            {name: fact for name, fact in one.items() if name not in ignoring}
            for one in (kept, facts)
        )
        if (change := first_change(kept, facts)) is not None:
            raise UsageError(
                f"A run goes on only with what it began with, but {change}; start a new run,"
                " it reuses all it can."
            )


def first_change(kept: Mapping[str, str], facts: Mapping[str, str]) -> str | None:
    """Return the first fact that differs, with both values, for people; None if none does.

    >>> first_change({"seed": "0"}, {"seed": "1"})
    "seed was '0' and is '1' now"
    """
    for name in sorted({*kept, *facts}):
        before, now = kept.get(name, "absent"), facts.get(name, "absent")
        if before != now:
            return f"{name} was {_shown(before)!r} and is {_shown(now)!r} now"
    return None


def _shown(fact: str) -> str:
    """Return a digest by its first 16 digits, and anything else whole."""
    return fact[:16] if _DIGEST.fullmatch(fact) else fact


@dataclass(frozen=True, kw_only=True)
class RecordShelf:
    """Journals of finished runs by record key, in the folder ``root``."""

    root: Path

    def find(self, key: str) -> list[Event]:
        """Return the events of a finished run with ``key``, or none.

        A record that cannot be read any more is no record: the run is done again.
        """
        path = self._path(key)
        if not path.exists():
            return []
        try:
            return EventLog(path).read()
        except ReplayError:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            return []

    def keep(self, key: str, journal: Path) -> None:
        """Copy ``journal`` to the shelf, whole or not at all; the latest record stays."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        os.close(handle)
        shutil.copyfile(journal, name)
        Path(name).replace(path)

    def _path(self, key: str) -> Path:
        return self.root / f"{key}.jsonl"
