"""Which folder may import which: one way, by the front door, model libraries in workers only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("evaluators", "passes", "reports", "search", "targets")
MODEL_LIBRARIES = {
    *("torch", "transformers", "peft", "bitsandbytes", "onnxruntime", "onnxruntime_genai")
}

_TYPES = {
    *("errors", "units", "plain", "candidate", "measurement", "constraint", "steps"),
    *("calibration", "chain", "confusion", "kinds", "recipe"),
}
_LAYERS: dict[str, set[str]] = {
    "task": _TYPES,
    "targets": _TYPES,
    "passes": _TYPES | {"task", "targets"},
    "evaluators": _TYPES | {"task", "targets"},
    "search": _TYPES | {"evaluators"},  # for its statistics, which are plain functions
    "reports": _TYPES,
    # A job knows how runs are kept and told, and nothing of how they are made.
    "azureml": _TYPES | {"config", "progress", "reports", "run_folders", "termination"},
    "olive": _TYPES | {"azureml", "config", "trainings"},
    "serving": _TYPES | {"task", "targets", "reports", "measured_folder", "run_folders"},
    "demo": set(),
    **dict.fromkeys(_TYPES, _TYPES),
}


def _sources() -> list[Path]:
    found = [path for top in (*FOLDERS, "src") for path in sorted((ROOT / top).rglob("*.py"))]
    return [path for path in found if "__pycache__" not in path.parts]


def _shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _layer_of(path: Path) -> str:
    """Return a folder, ``task``, ``demo``, or the name of a module of the spine."""
    parts = path.relative_to(ROOT).parts
    if parts[0] != "src":
        return parts[0]
    return parts[2] if len(parts) > 3 else path.stem


def _imports(tree: ast.Module) -> Iterator[tuple[int, str, list[str]]]:
    """Yield line, module and names of every absolute import, nested ones included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module, [alias.name for alias in node.names]


def _parts_of_autotune(module: str, names: list[str]) -> list[str]:
    head, _, rest = module.partition(".")
    if head != "autotune":
        return []
    return [rest] if rest else [name for name in names if not name.startswith("__")]


def test_dependencies_between_folders_point_one_way() -> None:
    wrong = [
        f"{_shown(path)}:{line} imports {part}"
        for path in _sources()
        if _layer_of(path) in _LAYERS
        for line, module, names in _imports(_tree(path))
        for part in _parts_of_autotune(module, names)
        if part.partition(".")[0] not in _LAYERS[_layer_of(path)]
    ]
    assert wrong == []


def test_every_folder_has_its_row_in_the_table() -> None:
    # A module of the spine that is no type may import anything; a folder may not.
    assert set(FOLDERS) | {"task", "demo", "olive", "azureml", "serving"} <= set(_LAYERS)
    assert {_layer_of(path) for path in _sources()} >= set(_LAYERS)


def test_folders_are_imported_by_their_front_door() -> None:
    # What is not in a folder's __all__ is its own business; relative imports are inside.
    wrong = [
        f"{_shown(path)}:{line} imports {module}"
        for path in _sources()
        for line, module, _ in _imports(_tree(path))
        if module.startswith("autotune.") and module.count(".") > 1
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", ["search", "reports", "src"])
def test_search_reports_and_spine_never_import_a_model_library(folder: str) -> None:
    wrong = [
        f"{_shown(path)}:{line} imports {module}"
        for path in _sources()
        if path.relative_to(ROOT).parts[0] == folder
        for line, module, _ in _imports(_tree(path))
        if module.partition(".")[0] in MODEL_LIBRARIES
    ]
    assert wrong == []
