"""The fixed requests that are timed: chosen once from the validation split, by seed.

The digest covers all that decides what a request costs (texts, token ids, number of
answer tokens, label tokens), so equal digests mean comparable numbers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autotune.kinds import is_decision
from autotune.plain import digest
from autotune.task import RowSet

from .contract import Workload
from .statistics import MINIMUM_SAMPLES

__all__ = ["make_workload", "workload_digest"]

_SCHEMA = 1


def make_workload(rows: RowSet, *, n: int = 64, seed: int) -> Workload:
    """Choose ``n`` requests from ``rows`` without repeats; with fewer rows, repeat in turn.

    Args:
        rows: of the validation split.
        n: requests, at least 59 (what a 95th percentile takes).
        seed: of choice and order.

    Raises:
        ValueError: no rows, or ``n`` too small.
    """
    if n < MINIMUM_SAMPLES[0.95]:
        raise ValueError(f"a workload has at least {MINIMUM_SAMPLES[0.95]} requests, got {n!r}")
    if not rows.rows:
        raise ValueError("a workload needs at least one row")
    order = np.random.default_rng(seed).permutation(len(rows.rows))
    chosen = tuple(rows.rows[order[i % len(order)]] for i in range(n))
    selected = replace(rows, rows=chosen)
    return Workload(rows=selected, digest=workload_digest(selected))


def workload_digest(rows: RowSet) -> str:
    """Return the hex digest of what decides the cost of these requests, in this order."""
    has_labels = rows.kind == "classification"
    return digest(
        {
            "schema": _SCHEMA,
            "kind": rows.kind,
            "label_ids": [list(ids) for ids in rows.label_ids] if has_labels else [],
            "requests": [
                {
                    "prompt": row.prompt,
                    "prompt_ids": list(row.prompt_ids),
                    "new_tokens": 0 if is_decision(rows.kind) else len(row.answer_ids),
                    **({"options": row.option_ids} if row.option_ids else {}),
                }
                for row in rows.rows
            ],
        }
    )
