"""``autotune compare``: what differs between reports, number by number."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from autotune.plain import to_plain
from autotune.reports import (
    compare,
    comparison_view,
    labelled,
    load_evidence,
    make_console,
)
from autotune.units import parse_fraction

__all__ = ["run_compare"]


def run_compare(reports: Sequence[Path], *, fail_on: str | None = None, as_json: bool) -> int:
    """Compare every report with the first and print it; return the exit code.

    Args:
        reports: report files, or run folders that hold a ``report.json``.
        fail_on: smallest change for the worse that fails, as typed (``5%``); of shares
            such as accuracy it is a difference.
        as_json: print the comparison as JSON instead of tables.

    Returns:
        1 where a change for the worse exceeds ``fail_on`` for sure, else 0.

    Raises:
        UsageError: a file that is no report, reports without a common model, or
            ``fail_on`` where nothing can be judged.
    """
    limit = parse_fraction(fail_on, what="--fail-on") if fail_on else None
    documents = labelled([load_evidence(path) for path in reports])
    comparison = compare(documents, fail_on=limit)
    if as_json:
        sys.stdout.write(json.dumps(to_plain(comparison), indent=2, ensure_ascii=False) + "\n")
    else:
        make_console(sys.stdout).print(comparison_view(comparison))
    return int(bool(comparison.regressions))
