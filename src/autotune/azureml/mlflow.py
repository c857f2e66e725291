"""Models in MLflow's layout, in which Azure's catalogue keeps them."""

from __future__ import annotations

from pathlib import Path

from autotune.errors import UsageError

__all__ = ["model_inside"]


def model_inside(path: Path) -> Path:
    """Return the folder with the model's files: ``path`` itself, or the one inside MLflow's.

    Raises:
        UsageError: an MLflow folder without the files of a model.
    """
    if (path / "MLmodel").is_file():
        return _inside(path)
    # A registry's model may be mounted one folder higher than its MLmodel.
    below = [one.parent for one in path.glob("*/MLmodel")] if path.is_dir() else []
    return _inside(below[0]) if len(below) == 1 else path


def _inside(folder: Path) -> Path:
    """Return the folder with config and tokenizer; the catalogue keeps the tokenizer apart."""
    for config in sorted(folder.rglob("config.json")):
        if (config.parent / "tokenizer.json").is_file():
            return config.parent
    raise UsageError(
        f"An MLflow model holds a folder with config.json and tokenizer.json, {str(folder)!r} has"
        " none; put the tokenizer's files beside config.json."
    )
