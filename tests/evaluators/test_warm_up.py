"""Before requests are timed, times settle and a device has met every prompt length."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

warm_up = import_module("autotune.evaluators.warm_up")

RULES = {"least": 3, "most": 20, "tolerance": 0.02}


def rows(lengths: list[int]) -> list[dict[str, Any]]:
    return [{"prompt_ids": [0] * length} for length in lengths]


class Device:
    """Takes ``new_s`` for a length it has not met and ``known_s`` for one it has."""

    def __init__(self, *, new_s: float, known_s: float) -> None:
        self.seconds = (known_s, new_s)
        self.met: list[int] = []

    def __call__(self, row: dict[str, Any]) -> tuple[float, ...]:
        length = len(row["prompt_ids"])
        second = self.seconds[length not in self.met]
        self.met.append(length)
        return (second, second)


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=40))
def test_a_device_that_prepares_for_a_length_meets_each_once(lengths: list[int]) -> None:
    device = Device(new_s=0.042, known_s=0.004)
    settled = warm_up.settle(device, rows([max(lengths)])[0], RULES, float("inf"))
    found = warm_up.first_of_each_length(
        device, rows(lengths), seen=max(lengths), settled_s=settled[-1]
    )
    assert set(device.met) == set(lengths)
    assert found == [0.042] * (len(set(lengths)) - 1)


def test_one_that_does_not_is_let_go_after_a_few() -> None:
    device = Device(new_s=0.0041, known_s=0.004)
    found = warm_up.first_of_each_length(device, rows(list(range(1, 20))), seen=20, settled_s=0.004)
    assert len(found) == 3


def test_a_hopeless_model_is_not_repeated_until_it_settles() -> None:
    device = Device(new_s=9.0, known_s=9.0)
    assert warm_up.settle(device, rows([5])[0], RULES, 0.1) == [9.0] * 3


def test_times_that_fall_are_repeated_until_they_do_not() -> None:
    falling = iter([1.0, 0.8, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    seconds = warm_up.settle(lambda _row: (next(falling),), rows([5])[0], RULES, float("inf"))
    assert seconds[-1] == 0.5
    assert len(seconds) > 5
