from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from autotune.candidate import AdapterConfig, Candidate
from autotune.search import Point, dominates, pareto_front

from .world import INT8

_COARSE = st.integers(min_value=0, max_value=4)


@st.composite
def _points(draw: st.DrawFn) -> list[Point]:
    rows = draw(st.lists(st.tuples(_COARSE, _COARSE, _COARSE, st.booleans()), max_size=25))
    return [
        Point(
            candidate=Candidate(adapter=AdapterConfig(seed=n), fraction=1.0, recipe=INT8),
            values=(-accuracy / 4, 0.01 * (latency + 1), 1e6 * (size + 1)),
            feasible=feasible,
        )
        for n, (accuracy, latency, size, feasible) in enumerate(rows)
    ]


@given(_points())
def test_no_member_is_beaten_by_what_competes_with_it(points: list[Point]) -> None:
    front = pareto_front(points)
    for member in front:
        rivals = [p for p in points if p.feasible or not member.feasible]
        assert not any(dominates(rival, member) for rival in rivals)


@given(_points())
def test_every_feasible_point_is_in_the_front_or_beaten_by_a_feasible_member(
    points: list[Point],
) -> None:
    front = pareto_front(points)
    for point in (p for p in points if p.feasible):
        beaten = any(dominates(member, point) for member in front if member.feasible)
        assert beaten != (point in front)


@given(_points(), st.integers(min_value=0, max_value=10_000))
def test_the_order_of_the_points_does_not_matter(points: list[Point], seed: int) -> None:
    shuffled = list(points)
    Random(seed).shuffle(shuffled)
    assert pareto_front(points) == pareto_front(shuffled)


@given(_points())
def test_feasible_members_come_first_and_by_their_first_value(points: list[Point]) -> None:
    front = pareto_front(points)
    assert list(front) == sorted(front, key=lambda p: (not p.feasible, p.values[0]))
