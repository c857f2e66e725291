"""The steps of docs/extending.md, followed with the code that stands there."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's package as pip leaves one behind, beside its script."""
    folder = tmp_path_factory.mktemp("site")
    text = PAGE.read_text(encoding="utf-8")
    target, pass_, script = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (folder / "extras.py").write_text(f"{target}\n{pass_}", encoding="utf-8")
    (folder / "try_pass.py").write_text(script, encoding="utf-8")
    info = folder / "extras-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extras\nVersion: 1.0\n")
    tables = re.findall(r'```toml\n\[project\.entry-points\."(.*?)"\]\n(.*?) = "(.*?)"\n', text)
    lines = [f"[{group}]\n{name} = {value}\n" for group, name, value in tables]
    (info / "entry_points.txt").write_text("".join(lines), encoding="utf-8")
    return folder


def _run(package: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_genai") is None,
    reason="onnxruntime-genai is not installed",
)
def test_the_target_of_the_page_is_found_and_proven(package: Path) -> None:
    out = _run(package, "-m", "autotune", "hardware", "--target", "second-cpu", "--no-calibration")
    (line,) = [one for one in out.splitlines() if one.strip().startswith("second-cpu")]
    assert "proven" in line
    assert "CPUExecutionProvider ran 1 node" in line


def test_the_pass_of_the_page_is_run_once_and_then_found(package: Path) -> None:
    wanted = re.findall(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    assert _run(package, str(package / "try_pass.py")) == wanted
