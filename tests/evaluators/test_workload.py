from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.evaluators import EvaluationRow, RowSet, block_rows, make_workload, workload_digest


def _rows(n: int, *, kind: str = "generation") -> RowSet:
    rows = tuple(
        EvaluationRow(
            prompt=f"p{i}", prompt_ids=(i, 7), reference="x", answer_ids=(1,) * (i % 3 + 1)
        )
        for i in range(n)
    )
    if kind == "classification":
        rows = tuple(replace(row, reference=0, answer_ids=(1, 0)) for row in rows)
        return RowSet(
            kind="classification", rows=rows, labels=("a", "b"), label_ids=((1, 0), (2, 0))
        )
    return RowSet(kind="generation", rows=rows, max_new_tokens=5)


@given(st.integers(1, 150), st.integers(59, 100), st.integers(0, 5))
def test_rows_are_used_evenly_and_by_seed(n_rows: int, n: int, seed: int) -> None:
    rows = _rows(n_rows)
    workload = make_workload(rows, n=n, seed=seed)
    counts = Counter(row.prompt for row in workload.rows.rows)
    assert len(workload.rows.rows) == n
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(counts) == min(n, n_rows)
    assert make_workload(rows, n=n, seed=seed) == workload


def test_another_seed_is_another_workload() -> None:
    first, second = (make_workload(_rows(90), seed=seed) for seed in (0, 1))
    assert first.digest != second.digest


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "other"},
        {"prompt_ids": (9, 9)},
        {"answer_ids": (1, 1, 1, 1)},
    ],
)
def test_the_digest_knows_all_that_decides_the_cost(change: dict[str, Any]) -> None:
    rows = _rows(60)
    first = replace(rows.rows[0], **change)
    changed = replace(rows, rows=(first, *rows.rows[1:]))
    assert workload_digest(changed) != workload_digest(rows)


def test_the_digest_knows_the_tokens_of_labels_but_not_which_is_right() -> None:
    rows = _rows(60, kind="classification")
    assert workload_digest(replace(rows, label_ids=((1, 0), (3, 0)))) != workload_digest(rows)
    right = replace(rows.rows[0], reference=1, answer_ids=(2, 0))
    assert workload_digest(replace(rows, rows=(right, *rows.rows[1:]))) == workload_digest(rows)


@pytest.mark.parametrize(("n_rows", "n", "words"), [(70, 58, "at least 59"), (0, 64, "one row")])
def test_too_small_workloads_are_refused(n_rows: int, n: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_workload(_rows(n_rows), n=n, seed=0)


@given(st.integers(1, 80), st.integers(1, 20), st.integers(1, 12))
def test_rounds_together_cover_the_workload_evenly(n: int, per_block: int, rounds: int) -> None:
    used = Counter(
        i for r in range(rounds) for i in block_rows(n, round_number=r, per_block=per_block)
    )
    counts = [used[i] for i in range(n)]
    assert sum(counts) == rounds * per_block
    assert max(counts) - min(counts) <= 1
