"""``autotune pick``: the best model of each report under one set of bounds."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from autotune.config import Bounds
from autotune.plain import to_plain
from autotune.reports import (
    check_measured,
    labelled,
    load_evidence,
    make_console,
    pick,
    picking_view,
)

__all__ = ["run_pick"]


def run_pick(reports: Sequence[Path], *, bounds: Bounds, as_json: bool) -> int:
    """Pick one model per report and print it with the reason; return the exit code.

    Args:
        reports: report files, or run folders that hold a ``report.json``.
        bounds: as typed.
        as_json: print the answer as JSON instead of sentences.

    Returns:
        0, or 1 where a report has no model that meets the bounds.

    Raises:
        UsageError: a file that is no report, or a bound that cannot be read, or one that no
            model of a report has a number for.
    """
    constraints = bounds.resolve()
    documents = labelled([load_evidence(path) for path in reports])
    check_measured(documents, constraints)
    picking = pick(documents, constraints)
    if as_json:
        sys.stdout.write(json.dumps(to_plain(picking), indent=2, ensure_ascii=False) + "\n")
    else:
        make_console(sys.stdout).print(picking_view(picking))
    return int(any(one.picked is None for one in picking.picks))
