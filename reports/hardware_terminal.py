"""A hardware report on the terminal: the same tables as the page, 100 columns, no colour needed."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .hardware_report import HardwareReport
from .hardware_sections import Section, hardware_sections, headline

__all__ = ["hardware_summary"]


def hardware_summary(report: HardwareReport) -> RenderableType:
    """Return everything that the report holds, in reading order."""
    parts: list[RenderableType] = [_prose(headline(report), style="bold")]
    for section in hardware_sections(report):
        parts += ["", _prose(section.title, style="bold")]
        if section.rows:
            parts.append(_table(section))
        parts += [Padding(_prose(note), (0, 0, 0, 2)) for note in section.notes]
    return Group(*parts)


def _prose(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=False, overflow="fold")


def _table(section: Section) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for head in section.columns:
        table.add_column(head, overflow="fold", no_wrap=False)
    for row in section.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
