"""Examples in docstrings are run, so they cannot rot."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    ROOT / "src" / "autotune": "autotune",
    **{
        ROOT / name: f"autotune.{name}"
        for name in ("evaluators", "passes", "reports", "search", "targets")
    },
}


def _modules_with_examples() -> list[str]:
    found = []
    for folder, package in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            if "__pycache__" not in path.parts and ">>> " in path.read_text(encoding="utf-8"):
                inner = path.relative_to(folder).with_suffix("").as_posix().replace("/", ".")
                found.append(f"{package}.{inner}")
    return found


@pytest.mark.parametrize("name", _modules_with_examples())
def test_examples_do_what_they_say(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0, f"the examples of {name} are not found by doctest"
    assert result.failed == 0
