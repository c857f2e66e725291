"""Files that a configuration names: beside it first, then where the command runs."""

from __future__ import annotations

from pathlib import Path

from autotune.azureml import is_of_azure, model_inside
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
        UsageError: a name of Azure ML's, or an MLflow folder without the files of a model.
    """
    if is_of_azure(name):
        raise UsageError(
            f"The model {name!r} lies in Azure ML; for a run here name a folder or a hub id with"
            " --model."
        )
    path = looked_up(name, folder)
    if path is None:
        return name
    return str(model_inside(path))
