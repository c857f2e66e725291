"""The comparison with plain transformers: both arms on the tiny model, and what is made of it."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="extra 'train' is not installed")
pytest.importorskip("peft", reason="extra 'train' is not installed")

from bench import training as bench

from .training_data import write_training_data

compute, examples = (import_module(f"autotune.passes.{name}") for name in ("compute", "examples"))


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")
@pytest.mark.slow
def test_both_arms_train_the_same_number_of_steps_on_the_same_rows(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    rows, probe = examples.read_examples(write_training_data(tmp_path, rows=64) / "train.json")
    problem = bench.Problem(
        model_dir=tiny_model_dir,
        rows=rows,
        validation=probe,
        used=compute.training_compute(),
    )
    for train in (bench.train_here, bench.train_plainly):
        untrained = train(problem, seed=1, steps=2, scores=True)
        found = train(problem, seed=1, steps=4, scores=True)
        # Three steps of 16 rows of 6 to 20 tokens after the first one.
        assert 3 * 16 * 6 <= found["tokens"] <= 3 * 16 * 20, train.__name__
        assert found["seconds"] > 0
        assert 0 < found["nll"] < untrained["nll"], train.__name__


def test_arms_take_turns_in_going_first() -> None:
    parts = bench.parts(rounds=2, seeds=1)
    assert [part.name for part in parts] == [
        *("speed/0/autotune", "speed/0/plain", "speed/1/plain", "speed/1/autotune"),
        *("loss/0/autotune", "loss/0/plain"),
    ]


def test_figures_are_of_whole_pairs() -> None:
    found = {
        f"speed/{n}/{arm}": {"tokens": 1000.0, "seconds": seconds * (1 + n / 10)}
        for n in range(6)
        for arm, seconds in (("autotune", 5.0), ("plain", 10.0))
    }
    found["speed/6/autotune"] = {"tokens": 1000.0, "seconds": 1e6}
    found |= {
        f"loss/{n}/{arm}": {"tokens": 1.0, "seconds": 1.0, "nll": nll + n}
        for n in range(2)
        for arm, nll in (("autotune", 0.5), ("plain", 0.75))
    }
    result = bench.summary(found)
    assert result["seconds_per_token"]["ratio"] == pytest.approx(0.5, abs=1e-3)
    assert result["seconds_per_token"]["rounds"] == 6
    assert result["seconds_per_token"]["verdict"] == "faster"
    assert result["nll"] == {"autotune": [0.5, 1.5], "plain": [0.75, 1.75]}
    assert result["nll_difference"]["mean"] == -0.25
    assert math.isclose(result["nll_difference"]["standard_error"], 0.0)
    assert bench.summary({}) == {}
