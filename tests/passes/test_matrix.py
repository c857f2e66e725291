"""The recipe space on a tiny model: every pair of options built, loaded and compared."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="extra 'train' is not installed")
pytest.importorskip("onnxruntime_genai", reason="extra 'cpu' is not installed")

ROOT = Path(__file__).parents[2]


def matrix(*arguments: str) -> list[str]:
    """Return what the benchmark prints; the builder leaves names in its process, so it has one."""
    command = [sys.executable, "-m", "bench.matrix", *arguments]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return found.stdout.splitlines()


def outcomes(line: str) -> dict[str, int]:
    """Read ``28660 refused, 130 agrees``."""
    parts = [part.split(" ") for part in line.split(", ")]
    return {name: int(count) for count, name in parts}


@pytest.mark.slow
def test_every_pair_of_options_is_refused_or_agrees_and_a_broken_model_never_does(
    tmp_path: Path,
) -> None:
    table = tmp_path / "built.csv"
    printed = matrix("--pairs", "--csv", str(table))
    found = outcomes(printed[0])
    assert found.keys() == {"refused", "agrees"}
    assert found["agrees"] > 50
    injected = next(line for line in printed if line.endswith("injected faults found"))
    caught, _, faults, *_ = injected.split(" ")
    assert caught == faults
    assert int(faults) > 20
    with table.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["outcome"] for row in rows} == {"agrees"}
    assert {row["fixture"] for row in rows} == {"tied-l2", "untied-l1"}


@pytest.mark.slow
def test_graphs_for_a_device_that_is_not_here_have_the_attributes_asked_for() -> None:
    printed = matrix("--pairs", "--provider", "cuda")
    assert outcomes(printed[0]).keys() == {"refused", "built"}
