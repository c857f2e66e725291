"""Rows as they stand in a file, every value read as its text.

Numbers and booleans become the text that the file holds (``1.50`` stays ``1.50``
in JSON), so a label is the same whatever type a tool gave it. Missing values are
None; lists and objects are kept as they are, for the caller to refuse.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from autotune.errors import DataError

__all__ = ["SPLIT_NAMES", "Cell", "Record", "SplitName", "Table", "cell", "listing", "near"]

Cell = str | list[Any] | dict[str, Any] | None
SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")

_MOST_LISTED = 12


@dataclass(frozen=True, kw_only=True)
class Record:
    """One row of a file.

    Attributes:
        fields: value by column; a column that this row lacks is missing here too.
        number: line or row in the file, from 1.
        split: where the source itself names one (splits of a hub data set).
    """

    fields: Mapping[str, Cell]
    number: int
    split: SplitName | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """All rows of one source.

    Attributes:
        name: the source as the user named it, for messages.
        unit: what ``Record.number`` counts.
        records: at least one.
        notes: what was found out while reading, for people.
    """

    name: str
    unit: Literal["line", "row"]
    records: tuple[Record, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.records:
            raise DataError(f"A data set needs rows, {self.name!r} has none.")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns in the order of their first appearance."""
        return tuple(dict.fromkeys(name for record in self.records for name in record.fields))

    def place(self, record: Record) -> str:
        """Return where a row is, without folders: warnings go into reports, which are shared."""
        return f"{PurePath(self.name).name}, {self.unit} {record.number}"

    def at(self, numbers: Iterable[int]) -> str:
        """Return where rows are: ``data.csv, lines 3, 9 and 2 more``."""
        found = list(numbers)
        unit = self.unit if len(found) == 1 else f"{self.unit}s"
        return f"{self.name}, {unit} {listing([str(number) for number in found], most=5)}"


def cell(value: Any) -> Cell:
    """Return ``value`` as its text; None for missing values, NaN among them."""
    if value is None or isinstance(value, str | dict):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return None if math.isnan(value) else repr(value)
    if isinstance(value, list | tuple):
        return list(value)
    return {"bytes": len(value)} if isinstance(value, bytes) else str(value)


def listing(names: Iterable[str], *, most: int = _MOST_LISTED) -> str:
    """Return ``a, b, c`` and, beyond ``most`` names, how many more there are."""
    found = list(names)
    if len(found) <= most:
        return ", ".join(found)
    return f"{', '.join(found[:most])} and {len(found) - most} more"


def near(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the known name nearest to ``name``, or nothing."""
    by_folded = {other.casefold().strip(): other for other in known}
    match = difflib.get_close_matches(name.casefold().strip(), by_folded, n=1)
    return f" Did you mean {by_folded[match[0]]!r}?" if match else ""
