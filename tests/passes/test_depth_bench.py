"""The comparison of depths: one real part of every kind, and what is made of many."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="extra 'train' is not installed")
pytest.importorskip("onnxruntime_genai", reason="extra 'cpu' is not installed")

from bench import depth as bench
from tests.tiny_model import make_tiny_model


@pytest.mark.slow
def test_both_arms_are_trained_built_and_scored_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_tiny_model(tmp_path / "model", layers=4)
    result = tmp_path / "depth.json"
    monkeypatch.setenv("AUTOTUNE_CACHE", str(tmp_path / "store"))
    command = (
        f"--model {model} --depths 3 --seeds 1 --epochs 0.1 --rows 32 --rounds 6 --json {result}"
    )
    monkeypatch.setattr(sys, "argv", ["depth", *command.split(), "--at-most", "1"])
    bench.main()
    assert set(json.loads(result.read_text())["parts"]) == {"score/whole/0"}
    monkeypatch.setattr(sys, "argv", ["depth", *command.split()])
    bench.main()
    found = json.loads(result.read_text())["summary"]
    assert set(found) == {"whole", "influence-3"}
    assert len(found["influence-3"]["kept"]) == 3
    assert len(found["influence-3"]["accuracy"]) == 1
    assert found["influence-3"]["latency"]["rounds"] == 6
    assert found["whole"]["latency"]["ratio"] == 1
    assert found["whole"]["kept"] is None


def test_rows_are_paired_and_seeds_averaged() -> None:
    right = {
        ("whole", 0): "1111111100",
        ("whole", 1): "1111111110",
        ("influence-3", 0): "1111111100",
        ("influence-3", 1): "1111111000",
        ("influence-2", 0): "0" * 10,
    }
    parts: dict[str, Any] = {
        f"score/{arm}/{seed}": {
            "accuracy": correct.count("1") / 10,
            "nll": 0.5,
            "correct": correct,
            "training_s": 2.0,
            "kept": None if arm == "whole" else [0, 1, 3],
        }
        for (arm, seed), correct in right.items()
    }
    parts["times"] = {
        "whole": [[0.2, 0.21]] * 6,
        "influence-3": [[0.14, 0.147]] * 6,
    }
    found = bench.summary(parts)
    assert found["influence-3"]["accuracy"] == [0.8, 0.7]
    assert found["influence-3"]["accuracy_difference_by_seed"] == [0, -0.2]
    assert found["influence-3"]["accuracy_difference"] == -0.1
    low, high = found["influence-3"]["accuracy_difference_ci95"]
    assert low < -0.1 < high <= 0
    assert not found["influence-3"]["within_a_point_in_every_seed"]
    assert found["influence-2"]["accuracy_difference"] == -0.8
    assert found["influence-3"]["latency"]["ratio"] == pytest.approx(0.7, abs=1e-3)
    assert found["influence-3"]["latency"]["verdict"] == "faster"
    assert "accuracy_difference" not in found["whole"]
    assert bench.summary({}) == {}
