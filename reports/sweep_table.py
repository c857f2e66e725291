"""TABLE.csv: rows with a heading, appended whole or not at all and synced.

One row is one line of the file, so that a line without its newline, torn by a crash,
is known for what it is: it never happened, and the next row takes its place.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune.errors import UsageError

from .durable import append_whole

__all__ = ["Cell", "SweepTable"]

Cell = str | float | None


@dataclass(frozen=True, kw_only=True)
class SweepTable:
    """A table in the file ``path`` with the columns ``columns``, which need not exist yet."""

    path: Path
    columns: tuple[str, ...]

    def read(self) -> list[dict[str, str]]:
        """Return the whole rows as text by column; [] where there is no file.

        Raises:
            UsageError: other columns, or a row that has more or fewer cells.
        """
        if not self.path.exists():
            return []
        text = self.path.read_bytes().decode("utf-8", errors="replace")
        lines = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
        if lines and tuple(lines[0]) != self.columns:
            raise self._damaged(1, repr(",".join(lines[0])[:60]))
        rows = lines[1:]
        for number, row in enumerate(rows, start=2):
            if len(row) != len(self.columns):
                raise self._damaged(number, f"{len(row)} cells")
        return [dict(zip(self.columns, row, strict=True)) for row in rows]

    def append(self, rows: Sequence[Mapping[str, Cell]]) -> list[dict[str, str]]:
        """Append rows in a single write, and return them as they will be read.

        Numbers are written so that they are read back equal; what is absent or None is
        an empty cell; white space in text becomes single spaces.

        Raises:
            OutputError: the file cannot be written or the disk is full; it is as it was.
            ValueError: a cell of no column, or NaN or an infinity.
        """
        written = [self._as_text(row) for row in rows]
        heading = _lines([dict(zip(self.columns, self.columns, strict=True))])
        append_whole(self.path, _lines(written), heading=heading)
        return written

    def _as_text(self, row: Mapping[str, Cell]) -> dict[str, str]:
        if unknown := set(row) - set(self.columns):
            raise ValueError(f"cells belong to columns, got {sorted(unknown)}")
        return {column: _text(row.get(column)) for column in self.columns}

    def _damaged(self, number: int, found: str) -> UsageError:
        return UsageError(
            f"Line {number} of {str(self.path)!r} should have the {len(self.columns)} columns"
            f" of its sweep, it has {found}; restore the file, or name another."
        )


def _lines(rows: Sequence[Mapping[str, str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(row.values() for row in rows)
    return text.getvalue().encode()


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return " ".join(cell.split())
    if cell - cell != 0:  # NaN and the infinities
        raise ValueError(f"a number in a table is finite, got {cell!r}")
    return repr(cell)
