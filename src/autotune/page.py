"""Writing report.html into a run folder, and writing it again from what the folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autotune.reports import (
    MISTAKES_FILE,
    PAGE_FILE,
    EventLog,
    RunReport,
    read_mistakes,
    run_page,
    write_text_atomic,
)
from autotune.steps import Event

__all__ = ["refresh_page", "write_page"]


def write_page(
    folder: Path, report: RunReport, events: Sequence[Event], *, shows_mistakes: bool
) -> Path:
    """Write the page of the run in ``folder`` and return its path.

    Args:
        folder: of the run; commands on the page name it as it is given here.
        report: of the run.
        events: its journal.
        shows_mistakes: whether the test rows that were answered wrongly are on it.

    Raises:
        OutputError: the folder cannot be written or the disk is full.
        ReplayError: the record of the wrong answers is damaged.
    """
    mistakes = read_mistakes(folder / MISTAKES_FILE) if shows_mistakes else None
    page = folder / PAGE_FILE
    write_text_atomic(page, run_page(report, events, run=str(folder), mistakes=mistakes))
    return page


def refresh_page(folder: Path, report: RunReport, *, shows_mistakes: bool = True) -> Path:
    """Write the page again from the journal in ``folder``; errors as ``write_page``.

    Raises:
        ReplayError: the journal is damaged or of another version.
    """
    events = EventLog(folder / report.events_file).read()
    return write_page(folder, report, events, shows_mistakes=shows_mistakes)
