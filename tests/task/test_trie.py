from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import DataError
from autotune.task import decision_plan

END = 0
label_sets = st.sets(
    st.lists(st.integers(1, 3), min_size=1, max_size=5).map(lambda ids: (*ids, END)),
    min_size=2,
    max_size=8,
).map(sorted)


@pytest.mark.parametrize(
    ("labels", "depths", "nodes"),
    [
        ([(1, END), (2, END)], (1, 1), ((),)),
        ([(1, 2, END), (1, 3, END), (4, END)], (2, 2, 1), ((), (1,))),
        ([(1, END), (1, 2, END)], (2, 2), ((), (1,))),
        ([(1, 2, 3, END), (1, 2, 4, END)], (3, 3), ((), (1,), (1, 2))),
        ([(5, 6, END), (5, 7, END), (8, 9, END), (8, 1, END)], (2,) * 4, ((), (5,), (8,))),
    ],
)
def test_labels_are_decided_where_they_part(
    labels: list[tuple[int, ...]],
    depths: tuple[int, ...],
    nodes: tuple[tuple[int, ...], ...],
) -> None:
    plan = decision_plan(labels)
    assert (plan.depths, plan.nodes) == (depths, nodes)


@given(label_sets)
def test_nodes_are_just_the_prefixes_that_the_scores_need(labels: list[tuple[int, ...]]) -> None:
    plan = decision_plan(labels)
    needed = {ids[:k] for ids, depth in zip(labels, plan.depths, strict=True) for k in range(depth)}
    assert set(plan.nodes) == needed
    assert len(plan.nodes) == len(needed)
    assert plan.nodes[0] == ()


@given(label_sets)
def test_depth_is_the_shortest_beginning_that_no_other_label_has(
    labels: list[tuple[int, ...]],
) -> None:
    for ids, depth in zip(labels, decision_plan(labels).depths, strict=True):
        others = [other for other in labels if other != ids]
        assert all(other[:depth] != ids[:depth] for other in others)
        assert any(other[: depth - 1] == ids[: depth - 1] for other in others)


@pytest.mark.parametrize(
    "labels", [[], [(1, END)], [(1, END), (1, END)], [(1,), (1, 2)], [(), (1,)]]
)
def test_labels_that_no_tokens_tell_apart_are_refused(labels: list[tuple[int, ...]]) -> None:
    with pytest.raises(DataError):
        decision_plan(labels)
