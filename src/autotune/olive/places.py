"""Files that a configuration names: beside it first, then where the command runs."""

from __future__ import annotations

from pathlib import Path

from autotune.errors import UsageError

__all__ = ["found_file", "found_model", "looked_up"]


def looked_up(name: str, folder: Path) -> Path | None:
    """Return the absolute path of what ``name`` means, or None where there is nothing."""
    for base in (folder, Path()):
        path = base / Path(name).expanduser()
        if path.exists():
            return path.absolute()
    return None


def found_file(name: str, folder: Path, *, place: str) -> str:
    """Return the absolute path of a file that has to be there.

    Raises:
        UsageError: it is neither beside the configuration nor in the working directory.
    """
    path = looked_up(name, folder)
    if path is None:
        raise UsageError(
            f"{place} names {name!r}, which is neither in {str(folder)!r} nor in"
            f" {str(Path().absolute())!r}; give another with --set {place}=PATH."
        )
    return str(path)


def found_model(name: str, folder: Path) -> str:
    """Return the absolute path of a model folder; other names (of a hub) stay as they are.

    Raises:
        UsageError: an MLflow folder without a model that transformers saved.
    """
    path = looked_up(name, folder)
    if path is None:
        return name
    return str(_inside_mlflow(path)) if (path / "MLmodel").is_file() else str(path)


def _inside_mlflow(folder: Path) -> Path:
    """Return the folder with the model's files; Azure's catalogue keeps the tokenizer there."""
    for config in sorted(folder.rglob("config.json")):
        if (config.parent / "tokenizer.json").is_file():
            return config.parent
    raise UsageError(
        f"An MLflow model holds a folder with config.json and tokenizer.json, {str(folder)!r} has"
        " none; put the tokenizer's files beside config.json."
    )
