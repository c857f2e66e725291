"""The environment of a job: a docker image and a conda file in which autotune runs.

What autotune depends on comes from the environment, so that the service builds it once and
keeps it; autotune itself comes along as a wheel with every job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune.errors import UsageError

__all__ = ["DISTRIBUTION", "IMAGE", "our_conda", "read_conda", "requirements", "what_it_lacks"]

DISTRIBUTION = "autotune-slm"
# Ubuntu with conda and nothing of a framework; the wheels of torch and of the runtime bring
# CUDA's libraries along, and the driver is the host's.
# https://github.com/Azure/AzureML-Containers
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"
_PYTHON = "3.11"
# Of a job, whatever runs here.
_MACHINE = {
    "python_version": _PYTHON,
    "python_full_version": f"{_PYTHON}.0",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
}


def our_conda(target: str, *, with_identity: bool = False) -> dict[str, Any]:
    """Return a conda file with all that autotune depends on for ``target``.

    Args:
        target: ``cuda`` or ``cpu``.
        with_identity: the job asks a key vault for a secret.

    Raises:
        UsageError: autotune is not installed as a package, so that its needs are unknown.
    """
    pip = requirements({"cuda", "train"} if target == "cuda" else {"cpu", "train"})
    if with_identity:
        pip += [one for one in requirements({"azureml"}) if one.startswith("azure-identity")]
    return {
        "name": "autotune",
        "channels": ["conda-forge"],
        "dependencies": [f"python={_PYTHON}", "pip", {"pip": pip}],
    }


def requirements(extras: set[str]) -> list[str]:
    """Return what this installation of autotune depends on with ``extras``, for a job's machine.

    Raises:
        UsageError: as ``our_conda``.
    """
    from importlib.metadata import PackageNotFoundError, distribution  # noqa: PLC0415 - slow

    from packaging.requirements import Requirement  # noqa: PLC0415 - startup time

    try:
        declared = distribution(DISTRIBUTION).requires or []
    except PackageNotFoundError:
        raise UsageError(
            f"A job runs the autotune that is installed here, and {DISTRIBUTION!r} is not;"
            " install it with pip."
        ) from None
    found = set()
    for text in declared:
        one = Requirement(text)
        is_wanted = one.marker is None or any(
            one.marker.evaluate({**_MACHINE, "extra": extra}) for extra in ("", *extras)
        )
        if is_wanted and one.name != DISTRIBUTION:
            one.marker = None
            found.add(str(one))
    return sorted(found)


def read_conda(path: Path) -> dict[str, Any]:
    """Return the content of a conda file.

    Raises:
        UsageError: it cannot be read, or is no conda file.
    """
    import yaml  # noqa: PLC0415 - startup time

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"The conda file {str(path)!r} cannot be read ({error}).") from None
    if not isinstance(content, dict):
        raise UsageError(f"A conda file is an object with dependencies, {str(path)!r} is none.")
    return content


def what_it_lacks(conda: Mapping[str, Any]) -> str:
    """Return what a conda file lacks for autotune to run; empty where it lacks nothing."""
    flat = [str(word) for word in _flat(conda.get("dependencies", []))]
    pythons = [word for word in flat if word.startswith("python=")]
    lacks = []
    if not any(_is_recent(word) for word in pythons):
        lacks.append(f"Python {_PYTHON} or later (it has {', '.join(pythons) or 'none named'})")
    if not any(word.startswith(DISTRIBUTION) for word in flat):
        lacks.append(DISTRIBUTION)
    return " and ".join(lacks)


def _flat(dependencies: Sequence[Any]) -> Iterator[Any]:
    for word in dependencies:
        yield from word.get("pip", []) if isinstance(word, dict) else [word]


def _is_recent(word: str) -> bool:
    numbers = [n for n in word.removeprefix("python").strip("=<>~ ").split(".") if n.isdigit()]
    return tuple(map(int, numbers[:2])) >= tuple(map(int, _PYTHON.split(".")))
