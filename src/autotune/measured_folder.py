"""Opening a model folder that anybody may have made: checked before anything of it runs.

The runtime loads damaged weights without a word, so the sums come first. Native code
that a configuration names is refused by the process that loads the model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.errors import ModelSourceError
from autotune.plain import digest
from autotune.reports import (
    HARDWARE_FILE,
    SUMS,
    ModelDescription,
    check_sums,
    file_digests,
    load_model,
    read_sums,
)

__all__ = ["ModelFolder", "open_folder"]

_CONFIG = "genai_config.json"
_AGAIN = "fetch or build the model again"
# What stands beside a model, in our deploy folders and in others.
_COMPANIONS = {
    *(SUMS, "autotune.json", "eval_results.json", "provenance.json", "manifest.json"),
    *(HARDWARE_FILE, "run.py", "README.md", "LICENSE", "NOTICE"),
}


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """An onnxruntime-genai folder.

    Attributes:
        path: of the folder.
        name: ``training/recipe`` where this tool made it, else the folder's name.
        digest: over names and contents of its files.
        runtime_bytes: of graph, weights, tokenizer and configuration.
        checked_files: files that agree with SHA256SUMS, 0 where there is none.
        description: of a folder that this tool made, else None.
        context_length: tokens of prompt and answer together.
        eos_ids: tokens that end a generation.
    """

    path: Path
    name: str
    digest: str
    runtime_bytes: int
    checked_files: int
    description: ModelDescription | None
    context_length: int
    eos_ids: tuple[int, ...]


def open_folder(path: Path) -> ModelFolder:
    """Read what ``path`` says about itself, and compare every file with SHA256SUMS.

    Raises:
        ModelSourceError: no onnxruntime-genai folder.
        UsageError: an autotune.json that is damaged or of another version.
        StoreError: a file that SHA256SUMS lists is missing or differs.
    """
    if not (path / _CONFIG).is_file():
        raise ModelSourceError(
            f"A model folder has a {_CONFIG}, {str(path)!r} has none; name a folder that"
            " onnxruntime-genai's builder or autotune wrote."
        )
    found = file_digests(path)
    checked = _check(path, found)
    is_ours = (path / "autotune.json").is_file()
    description = load_model(path) if is_ours else None
    config = _model_config(path)
    return ModelFolder(
        path=path,
        name=description.name if description else path.resolve().name,
        digest=digest(found),
        runtime_bytes=sum((path / name).stat().st_size for name in found if _is_needed(name)),
        checked_files=checked,
        description=description,
        context_length=int(config.get("context_length", 0)),
        eos_ids=_eos_ids(config, description),
    )


def _is_needed(name: str) -> bool:
    """Whether a file is for running the model: what a search measures as its size."""
    return name not in _COMPANIONS and not name.startswith("adapter/")


def _check(path: Path, found: dict[str, str]) -> int:
    """Return how many files SHA256SUMS lists, all of them unchanged."""
    listed = read_sums(path, again=_AGAIN) or {}
    check_sums(path, listed=listed, found=found, what="model", again=_AGAIN)
    return len(listed)


def _model_config(path: Path) -> dict[str, Any]:
    try:
        data = json.loads((path / _CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelSourceError(
            f"{str(path / _CONFIG)!r} is no JSON ({error}); build the model again."
        ) from error
    config = data.get("model") if isinstance(data, dict) else None
    return config if isinstance(config, dict) else {}


def _eos_ids(config: dict[str, Any], description: ModelDescription | None) -> tuple[int, ...]:
    """Return the shipped task's, whose first ends every answer, else the configuration's."""
    if description is not None:
        return description.task.eos_ids
    found = config.get("eos_token_id")
    ids = found if isinstance(found, list) else [found]
    return tuple(number for number in ids if type(number) is int)
