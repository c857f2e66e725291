"""``python -m bench.matrix``: examine, print counts, write a table."""

from __future__ import annotations

import argparse
import csv
import logging
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.candidate import Recipe
from autotune.errors import UsageError
from autotune.targets import check_recipe

from .examine import TOLERANCE, Row, examine
from .fixtures import Fixture, exchanged, make_fixtures
from .product import pairs, product

_OF_EACH_REASON = 4


def run(
    provider: str, *, pairwise: bool = False, every_level: bool = False, root: Path
) -> Iterator[Row]:
    """Yield a row for each combination; of each model refusals first.

    How products are computed does not touch what is stored, so unless ``every_level`` other
    accuracy levels than the builder's are met in pairs with everything else, and no further.
    """
    fixtures = make_fixtures(root)
    # Of four models two that differ in both head and depth.
    for fixture in (fixtures[1], fixtures[2]) if pairwise else fixtures:
        kept, refused = _sorted_out(provider, fixture)
        chosen = pairs(kept)
        if not pairwise:
            usual = (None, 4) if provider in ("cpu", "webgpu") else (None, 0)
            all_ = kept if every_level else [r for r in kept if r.accuracy_level in usual]
            chosen = list({recipe.name: recipe for recipe in (*all_, *chosen)}.values())
        for recipe in (*refused, *chosen):
            yield examine(recipe, fixture, root / "built")


def run_faults(provider: str, *, root: Path) -> Iterator[Row]:
    """Yield a row for each of some recipes, built of a model whose layers are exchanged."""
    fixture = make_fixtures(root / "whole", depths=(2,))[0]
    broken = exchanged(fixture, root / "exchanged")
    for recipe in pairs(_sorted_out(provider, fixture)[0]):
        row = examine(recipe, broken, root / "built")
        yield replace(row, fixture="exchanged")


def _sorted_out(provider: str, fixture: Fixture) -> tuple[list[Recipe], list[Recipe]]:
    kept: list[Recipe] = []
    refused: list[Recipe] = []
    for recipe in product(provider):
        is_kept = check_recipe(recipe, fixture.architecture) is None
        (kept if is_kept else refused).append(recipe)
    return kept, refused


def run_refused(provider: str, *, root: Path) -> Iterator[Row]:
    """Yield a row for the first few of each refusal of weights, built all the same."""
    for fixture in make_fixtures(root, depths=(2,)):
        seen: Counter[str] = Counter()
        for recipe in _sorted_out(provider, fixture)[1]:
            refusal = check_recipe(recipe, fixture.architecture)
            if refusal is None or recipe.precision not in TOLERANCE or recipe.accuracy_level == 0:
                continue
            seen[refusal.reason] += 1
            if seen[refusal.reason] <= _OF_EACH_REASON:
                row = examine(recipe, fixture, root / "built", anyway=True)
                yield replace(row, reason=f"[{refusal.reason}] {row.reason}")


def summary(rows: Iterable[Row]) -> str:
    """Return counts of outcomes, the largest difference per precision, and every reason."""
    rows = list(rows)
    lines = [", ".join(f"{n} {what}" for what, n in Counter(r.outcome for r in rows).items())]
    worst: dict[str, Row] = {}
    for row in rows:
        precision = row.recipe.split("-")[1]
        if row.difference > (worst[precision].difference if precision in worst else -1.0):
            worst[precision] = row
    lines += [
        f"{precision}: at most {row.difference:.2g} ({row.recipe}, {row.fixture})"
        for precision, row in sorted(worst.items())
    ]
    reasons = Counter((row.outcome, row.reason) for row in rows if row.reason)
    lines += [f"{count:6} {what}: {reason}" for (what, reason), count in reasons.most_common()]
    return "\n".join(lines)


def built_rows(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Yield what was built, accuracy levels together: their outcomes and largest differences."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.outcome != "refused":
            name = re.sub(r"-acc[0-9]", "", row.recipe)
            groups.setdefault((row.fixture, name), []).append(row)
    for (fixture, name), group in groups.items():
        yield {
            "fixture": fixture,
            "recipe": name,
            "built": len(group),
            "outcome": "+".join(sorted({row.outcome for row in group})),
            "difference": f"{max(row.difference for row in group):.3g}",
            "on_grid": f"{max(row.on_grid for row in group):.3g}",
            "bytes": max(row.bytes for row in group),
        }


def _write(rows: Iterable[Row], path: Path) -> None:
    table = list(built_rows(rows))
    with path.open("x", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(table[0]))
        writer.writeheader()
        writer.writerows(table)


def main() -> None:
    """Examine, print the summary, write the rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.matrix")
    parser.add_argument("--pairs", action="store_true", help="every pair of values, not all")
    parser.add_argument("--provider", default="cpu", help="in the builder's spelling")
    parser.add_argument("--every-level", action="store_true", help="all accuracy levels of all")
    parser.add_argument("--what-is-refused", action="store_true", help="build that")
    parser.add_argument("--csv", type=Path, help="a new file, for what was built")
    asked = parser.parse_args()
    if asked.csv and asked.csv.exists():
        raise UsageError(f"--csv names a new file, {str(asked.csv)!r} exists.")
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    logging.getLogger("onnxruntime").setLevel(logging.WARNING)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="autotune-matrix-") as root:
        if asked.what_is_refused:
            rows = list(run_refused(asked.provider, root=Path(root)))
        else:
            found = run(
                asked.provider,
                pairwise=asked.pairs,
                every_level=asked.every_level,
                root=Path(root),
            )
            rows = list(found)
        sys.stdout.write(f"{summary(rows)}\n")
        if asked.pairs and asked.provider == "cpu":
            faults = [row.outcome for row in run_faults(asked.provider, root=Path(root))]
            sys.stdout.write(f"{faults.count('third')} of {len(faults)} injected faults found\n")
    if asked.csv:
        _write(rows, asked.csv)
    sys.stdout.write(f"{time.perf_counter() - start:.0f} s\n")


if __name__ == "__main__":
    main()
