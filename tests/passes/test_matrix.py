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


def matrix(*arguments: str) -> str:
    """Return what the benchmark prints; the builder leaves names in its process, so it has one."""
    command = [sys.executable, "-m", "bench.matrix", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_every_pair_of_options_is_refused_or_agrees_and_a_broken_model_never_does(
    tmp_path: Path,
) -> None:
    table = tmp_path / "built.csv"
    printed = matrix("--pairs", "--csv", str(table)).splitlines()
    outcomes = dict(reversed(part.split(" ")) for part in printed[0].split(", "))
    assert outcomes.keys() == {"refused", "agrees"}
    assert int(outcomes["agrees"]) > 100
    found, of = (
        next(line for line in printed if "injected" in line).split(" injected")[0].split(" of ")
    )
    assert found == of
    assert int(of) > 20
    with table.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["outcome"] for row in rows} == {"agrees"}
    assert {row["fixture"] for row in rows} == {"tied-l1", "tied-l2", "untied-l1", "untied-l2"}


@pytest.mark.slow
@pytest.mark.parametrize("provider", ["cuda"])
def test_graphs_for_devices_that_are_not_here_have_the_attributes_asked_for(provider: str) -> None:
    first = matrix("--pairs", "--provider", provider).splitlines()[0]
    outcomes = dict(reversed(part.split(" ")) for part in first.split(", "))
    assert outcomes.keys() == {"refused", "built"}
