"""Batches and learning rates are functions of the plan alone."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import DataError

examples = import_module("autotune.passes.examples")  # no part of the folder's front door


def plan_of(
    lengths: list[int],
    *,
    batch_size: int = 4,
    epochs: float = 2.0,
    warmup: float = 0.0,
    seed: int = 0,
    schedule: str = "cosine",
    steps: int | None = None,
) -> Any:
    return examples.StepPlan(
        lengths=tuple(lengths),
        batch_size=batch_size,
        epochs=epochs,
        learning_rate=1.0,
        warmup=warmup,
        seed=seed,
        schedule=schedule,
        steps=steps,
    )


PLANS = st.builds(
    plan_of,
    st.lists(st.integers(2, 60), min_size=1, max_size=200),
    batch_size=st.integers(1, 9),
    epochs=st.floats(0.1, 3),
    warmup=st.floats(0, 0.9),
    seed=st.integers(0, 9),
    schedule=st.sampled_from(["cosine", "linear", "constant"]),
    steps=st.none() | st.integers(1, 300),
)


@given(PLANS, st.integers(0, 5))
def test_an_epoch_holds_every_example_once_in_full_batches_but_one(plan: Any, epoch: int) -> None:
    batches = plan.epoch_batches(epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(plan.lengths)))
    assert len(batches) == plan.steps_per_epoch
    assert sum(len(batch) < plan.batch_size for batch in batches) <= 1
    assert batches == plan.epoch_batches(epoch)


@given(PLANS, st.floats(0.01, 1))
def test_the_steps_of_a_smaller_fraction_are_a_prefix_of_all_steps(
    plan: Any, fraction: float
) -> None:
    stop = plan.steps_at(fraction)
    everything = list(plan.batches(0, plan.total_steps))
    assert 1 <= stop <= plan.total_steps
    assert list(plan.batches(0, stop)) + list(plan.batches(stop, plan.total_steps)) == everything


@given(PLANS)
def test_the_rate_rises_then_falls_and_stays_between_a_tenth_of_the_last_and_the_peak(
    plan: Any,
) -> None:
    rates = [plan.learning_rate_at(step) for step in range(plan.total_steps)]
    peak = rates.index(max(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] >= 0.1 or peak == len(rates) - 1


def test_a_schedule_goes_where_its_name_says() -> None:
    rates = {
        schedule: [
            plan_of([5] * 40, epochs=10, warmup=0.2, schedule=schedule).learning_rate_at(step)
            for step in range(100)
        ]
        for schedule in ("cosine", "linear", "constant")
    }
    assert rates["cosine"][:20] == rates["linear"][:20] == rates["constant"][:20]
    assert rates["linear"][20] == rates["cosine"][20] == 1.0
    assert rates["linear"][60] == pytest.approx(0.55)
    assert rates["cosine"][60] == pytest.approx(0.55)
    assert rates["linear"][40] == pytest.approx(0.775)
    assert rates["cosine"][40] > rates["linear"][40]
    assert rates["linear"][99] == pytest.approx(0.1, abs=0.02)
    assert set(rates["constant"][20:]) == {1.0}


def test_steps_stand_in_the_place_of_epochs() -> None:
    plan = plan_of([5] * 40, batch_size=4, epochs=2.0, steps=7)
    assert plan.total_steps == 7
    assert plan_of([5] * 40, batch_size=4, epochs=2.0).total_steps == 20
    assert [step for step, _ in plan.batches(0, plan.steps_at(0.5))] == [0, 1, 2, 3]
    many = plan_of([5] * 40, batch_size=4, steps=25)
    seen = [i for _, batch in many.batches(0, 20) for i in batch]
    assert sorted(seen) == sorted([*range(40), *range(40)])


def test_rows_of_one_batch_have_similar_lengths() -> None:
    lengths = [5 + (i * 37) % 60 for i in range(256)]
    plan = plan_of(lengths, batch_size=8)
    padded = sum(len(b) * max(lengths[i] for i in b) for b in plan.epoch_batches(0))
    assert padded / sum(lengths) < 1.1
    assert plan.epoch_batches(0) != plan.epoch_batches(1)


@pytest.mark.parametrize("start", [0, 3, 4, -1])
def test_an_example_needs_a_prompt_and_an_answer(start: int) -> None:
    with pytest.raises(DataError, match="answer_start must be in"):
        examples.Example(ids=(1, 2, 3), answer_start=start)


def test_a_file_without_examples_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps({"examples": [], "probe": []}))
    with pytest.raises(DataError, match="no training examples"):
        examples.read_examples(tmp_path / "train.json")
