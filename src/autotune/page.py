"""Writing report.html into a run folder, and writing it again from what the folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autotune.known_machine import calibrated_for
from autotune.reports import (
    MISTAKES_FILE,
    PAGE_FILE,
    EventLog,
    HardwareReport,
    RunReport,
    check_machine,
    read_mistakes,
    run_page,
    write_text_atomic,
)
from autotune.steps import Event

__all__ = ["refresh_page", "write_page"]


def write_page(
    folder: Path,
    report: RunReport,
    events: Sequence[Event],
    *,
    shows_mistakes: bool,
    hardware: HardwareReport | None = None,
) -> Path:
    """Write the page of the run in ``folder`` and return its path.

    Args:
        folder: of the run; commands on the page name it as it is given here.
        report: of the run.
        events: its journal.
        shows_mistakes: whether the test rows that were answered wrongly are on it.
        hardware: calibrated report of the run's machine, for floors.

    Raises:
        OutputError: the folder cannot be written or the disk is full.
        ReplayError: the record of the wrong answers is damaged.
    """
    mistakes = read_mistakes(folder / MISTAKES_FILE) if shows_mistakes else None
    page = folder / PAGE_FILE
    text = run_page(report, events, run=str(folder), mistakes=mistakes, hardware=hardware)
    write_text_atomic(page, text)
    return page


def refresh_page(
    folder: Path,
    report: RunReport,
    *,
    shows_mistakes: bool = True,
    hardware: HardwareReport | None = None,
) -> Path:
    """Write the page again from the journal in ``folder``; arguments and errors as ``write_page``.

    Floors come from ``hardware``, else from the model's ``hardware.json`` or the last
    calibration of the same machine, where there is one.

    Raises:
        ReplayError: the journal is damaged or of another version.
        UsageError: ``hardware`` is of another machine or without calibration.
    """
    if hardware is not None:
        check_machine(report, hardware)
    else:
        hardware = calibrated_for(report, folder=folder)
    events = EventLog(folder / report.events_file).read()
    return write_page(folder, report, events, shows_mistakes=shows_mistakes, hardware=hardware)
