"""The last calibration of this machine, so that later runs know its floors without taking one.

It is kept in the cache folder by whatever calibrates (``autotune hardware``, a census) and is
used for the same processor, cores and onnxruntime only. Removing it loses the floors on pages
that are written afterwards, nothing else.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from autotune.errors import OutputError, UsageError
from autotune.passes import default_root
from autotune.plain import to_plain
from autotune.reports import (
    HARDWARE_FILE,
    HardwareReport,
    RunReport,
    check_machine,
    load_hardware_report,
    write_json_atomic,
)

__all__ = ["calibrated_for", "remember"]

_RUNTIME = "onnxruntime"


def remember(report: HardwareReport) -> None:
    """Keep a calibrated report of this machine in the place of the one before, if that works."""
    if report.calibration is None:
        return
    root = default_root()
    with contextlib.suppress(OSError, OutputError):  # a report must not fail for its copy
        root.mkdir(parents=True, exist_ok=True)
        write_json_atomic(root / HARDWARE_FILE, to_plain(report))


def calibrated_for(report: RunReport, *, folder: Path | None = None) -> HardwareReport | None:
    """Return a calibrated report of the machine that ``report`` is about; None where none is known.

    Args:
        report: of a run.
        folder: of the run, whose model may bring the report that it was chosen on.
    """
    places = [] if folder is None else [folder / "model" / HARDWARE_FILE]
    for path in (*places, default_root() / HARDWARE_FILE):
        with contextlib.suppress(UsageError):  # absent, of another version, of another machine
            found = load_hardware_report(path)
            check_machine(report, found)
            if found.versions.get(_RUNTIME) == report.versions.get(_RUNTIME):
                return found
    return None
