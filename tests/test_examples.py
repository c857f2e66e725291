"""The complete runs of examples/ are understood as their pages say."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .tiny_model import make_tiny_model

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tickets", "classification, 4 labels"),
        ("orders", "generation"),
        ("manual", "perplexity"),
    ],
)
def test_an_example_is_planned_from_its_own_settings(name: str, words: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("onnxruntime_genai") is None:
        pytest.skip("onnxruntime-genai is not installed (extra 'cpu')")
    shutil.copytree(EXAMPLES / name, tmp_path / name)
    model = make_tiny_model(tmp_path / "model")
    done = subprocess.run(
        [sys.executable, "-m", "autotune", "--model", str(model), "--dry-run"],
        cwd=tmp_path / name,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert words in done.stderr
    assert done.stdout.startswith("Plan")
