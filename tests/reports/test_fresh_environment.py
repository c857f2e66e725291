"""A deploy folder in an environment that has the runtime, or the runtime and our core, only.

The environment is made of what is installed here: the distribution that was asked for and
whatever it requires, and nothing else can be imported in it. So no network is needed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from autotune.reports import DecisionRule

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUNTIME = "onnxruntime-genai"
CORE: list[str] = PROJECT["project"]["dependencies"]


def _required(wanted: Iterable[str]) -> set[str]:
    """Return the names of ``wanted`` and of all that they require."""
    found: set[str] = set()
    waiting = [Requirement(one) for one in wanted]
    while waiting:
        requirement = waiting.pop()
        extras = requirement.extras or {""}
        if requirement.marker and not any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras
        ):
            continue
        name = requirement.name.lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        for text in distribution(name).requires or ():
            inner = Requirement(text)
            if inner.marker is None or any(
                inner.marker.evaluate({"extra": extra}) for extra in extras
            ):
                inner.marker = None
                waiting.append(inner)
    return found


def _link(name: str, site: Path) -> None:
    """Make the files of an installed distribution importable from ``site``."""
    installed = distribution(name)
    tops = {path.parts[0] for path in installed.files or ()} - {"..", "__pycache__"}
    for top in tops:
        if not (site / top).exists():
            (site / top).symlink_to(Path(str(installed.locate_file(top))).resolve())


def _link_ourselves(site: Path) -> None:
    """Put our packages where an installation puts them."""
    package = site / "autotune"
    package.mkdir()
    for path in (ROOT / "src" / "autotune").iterdir():
        (package / path.name).symlink_to(path)
    for dotted, folder in PROJECT["tool"]["setuptools"]["package-dir"].items():
        if "." in dotted:
            (package / dotted.partition(".")[2]).symlink_to(ROOT / folder)


@pytest.fixture
def environment(tmp_path: Path) -> Callable[..., Path]:
    """Make an environment of distributions; return its interpreter."""

    def make(*wanted: str, ourselves: bool = False) -> Path:
        folder = tmp_path / "environment"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        (site,) = folder.rglob("site-packages")
        try:
            for name in _required(wanted):
                _link(name, site)
        except PackageNotFoundError as error:
            pytest.skip(f"{error.name} is not installed (extra 'cpu')")
        if ourselves:
            _link_ourselves(site)
        return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    return make


def _run(python: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(python), *words], cwd=cwd, env=bare, capture_output=True, text=True, check=False
    )


def _importable(python: Path, *modules: str, cwd: Path) -> set[str]:
    program = "import importlib.util as u, sys; print(*[m for m in sys.argv[1:] if u.find_spec(m)])"
    return set(_run(python, "-c", program, *modules, cwd=cwd).stdout.split())


def test_the_script_answers_with_the_runtime_alone(
    environment: Callable[..., Path],
    deploy: Callable[[DecisionRule], Path],
    classification_rule: DecisionRule,
    tmp_path: Path,
) -> None:
    python = environment(RUNTIME)
    modules = ("onnxruntime_genai", "autotune", "torch", "transformers", "tokenizers", "typer")
    assert _importable(python, *modules, cwd=tmp_path) == {"onnxruntime_genai"}
    folder = deploy(classification_rule)
    done = _run(python, str(folder / "run.py"), "a dark house", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] in classification_rule.labels


def test_a_folder_is_checked_and_timed_with_the_core_and_the_runtime(
    environment: Callable[..., Path],
    deploy: Callable[[DecisionRule], Path],
    classification_rule: DecisionRule,
    tmp_path: Path,
) -> None:
    python = environment(RUNTIME, *CORE, ourselves=True)
    modules = ("autotune", "onnxruntime_genai", "torch", "transformers", "peft", "onnx_ir")
    assert _importable(python, *modules, cwd=tmp_path) == {"autotune", "onnxruntime_genai"}
    folder = deploy(classification_rule)
    words = ("-m", "autotune", "validate", str(folder), "--rounds", "1", "--json")
    done = _run(python, *words, cwd=tmp_path)
    found = json.loads(done.stdout)
    checks = {check["name"]: check for check in found["checks"]}
    assert done.returncode == 0, (checks, done.stderr)
    assert checks["digests"]["status"] == checks["provider"]["status"] == "pass"
    # Other requests than the published ones were timed, so that no time is compared.
    assert checks["latency.p50"]["status"] == "not_checked"

    graph = folder / "model.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    done = _run(python, *words, cwd=tmp_path)
    (digests,) = json.loads(done.stdout)["checks"]
    assert (done.returncode, digests["name"], digests["status"]) == (1, "digests", "fail")
