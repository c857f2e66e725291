"""The form that all tables on the terminal share."""

from __future__ import annotations

from rich import box
from rich.table import Table

__all__ = ["plain_table"]


def plain_table() -> Table:
    """Return an empty table in the form of all of ours: a rule under the heading, no frame."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
