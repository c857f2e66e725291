"""``autotune hardware``: what this machine is, what runs on it, and how fast it is."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from autotune.errors import OutputError, UsageError
from autotune.machine_report import CALIBRATION_S, MachineRequest, take_hardware_report
from autotune.plain import to_plain
from autotune.progress import Progress
from autotune.reports import (
    HardwareReport,
    hardware_page,
    hardware_summary,
    make_console,
    write_json_atomic,
    write_text_atomic,
)
from autotune.targets import Family, LocalExecutor, families, family_named

__all__ = ["asks_of_census", "read_assertions", "run_hardware"]

_OK, _NO_HARDWARE = 0, 3
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def run_hardware(
    *,
    target: str = "auto",
    output: Path | None = None,
    html: Path | None = None,
    as_json: bool = False,
    calibrate: bool = True,
    asserted: Sequence[str] = (),
    limit_s: float = CALIBRATION_S,
) -> int:
    """Take a hardware report, write and print it, and return the exit code.

    Args:
        target: ``auto``, or names separated by commas, each with an interpreter of its
            own if needed, as for a run.
        output: file for the JSON document.
        html: file for the page.
        as_json: print the document instead of the tables.
        calibrate: measure; takes at most ``limit_s`` per target.
        asserted: ``KEY=VALUE``, facts that a person knows.
        limit_s: of the calibration of one target.

    Returns:
        0; or 3 where no target, or not every target named, is usable.

    Raises:
        UsageError: an unknown target, an assertion that is none, an existing file.
        HardwareError: an interpreter that cannot be run.
        RunError: another measurement on this machine does not end.
    """
    request = MachineRequest(
        asks=_read_targets(target),
        calibrates=calibrate,
        asserted=read_assertions(asserted),
        limit_s=limit_s,
    )
    for path in (output, html):
        _refuse_existing(path)
    progress = Progress()
    with LocalExecutor() as executor:
        report = take_hardware_report(request, executor=executor, progress=progress)
    if output is not None:
        write_json_atomic(output, to_plain(report))
    if html is not None:
        write_text_atomic(html, hardware_page(report))
    _print(report, as_json=as_json)
    return _exit_code(report, is_automatic=target.strip() == "auto", progress=progress)


def _print(report: HardwareReport, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(to_plain(report), indent=2) + "\n")
    else:
        make_console(sys.stdout).print(hardware_summary(report))


def _exit_code(report: HardwareReport, *, is_automatic: bool, progress: Progress) -> int:
    for conflict in report.conflicts:
        names = " and ".join(conflict.distributions)
        commands = " && ".join(conflict.commands)
        progress.line(f"{names} exclude each other; mend it with: {commands}")
    unusable = [one for one in report.targets if one.status != "proven"]
    if report.conflicts or len(unusable) == len(report.targets):
        return _NO_HARDWARE
    if is_automatic:
        return _OK
    for one in unusable:
        progress.line(f"Target {one.name!r} is not usable here: {one.reason}")
    return _NO_HARDWARE if unusable else _OK


def _refuse_existing(path: Path | None) -> None:
    if path is not None and path.exists():
        raise OutputError(f"{str(path)!r} exists and is kept; name another file.")


def _read_targets(text: str) -> Mapping[str, tuple[Family, ...] | None]:
    """Return the families asked for by interpreter; None is all of them."""
    names = [part.strip() for part in text.split(",")]
    if names == ["auto"]:
        return {sys.executable: None}
    if "auto" in names:
        raise UsageError(f"'auto' stands alone, got {text!r}; give auto or a list of names.")
    known, asks = tuple(families().values()), dict[str, tuple[Family, ...]]()
    for name in names:
        word, _, interpreter = name.partition("@")
        place = interpreter or sys.executable
        asks[place] = (*asks.get(place, ()), family_named(word, known))
    return asks


def asks_of_census(target: str) -> Mapping[str, tuple[Family, ...] | None]:
    """Return the families to prove by interpreter, for the report that a census is part of.

    Every family of this interpreter, whatever is built for, so that the report says what
    else there is; and those that ``target`` finds in another one, there alone.

    Raises:
        UsageError: an unknown target.
    """
    asked = _read_targets(target)
    elsewhere = {
        place: named for place, named in asked.items() if named and place != sys.executable
    }
    if not elsewhere:
        return {sys.executable: None}
    taken = {family.name for named in elsewhere.values() for family in named}
    here = tuple(family for family in families().values() if family.name not in taken)
    return {sys.executable: here, **elsewhere}


def read_assertions(texts: Sequence[str]) -> dict[str, str | float]:
    """Return ``KEY=VALUE`` pairs; a value that is a finite number becomes one.

    >>> read_assertions(["label=edge box", "price_per_hour=0.4"])
    {'label': 'edge box', 'price_per_hour': 0.4}

    Raises:
        UsageError: not of that form, or a key twice.
    """
    found: dict[str, str | float] = {}
    for text in texts:
        key, separator, value = (part.strip() for part in text.partition("="))
        if not separator or not value or not _NAME.fullmatch(key):
            raise UsageError(
                f"An asserted fact is KEY=VALUE with a key in lower case, got {text!r};"
                " write for example label=edge-box or price_per_hour=0.4."
            )
        if key in found:
            raise UsageError(f"Each fact is asserted once, got {key!r} twice; leave one out.")
        found[key] = _number_or_text(value)
    return found


def _number_or_text(value: str) -> str | float:
    try:
        number = float(value)
    except ValueError:
        return value
    return number if math.isfinite(number) else value
