"""Bytes that a built model takes on the machine it deploys to."""

from __future__ import annotations

from pathlib import Path

from autotune.measurement import Measurement, metric_unit

__all__ = ["measure_size"]

# What the artifact store adds to a folder; it stays behind when a model is deployed.
_NOT_DEPLOYED = {"manifest.json"}


def measure_size(folder: Path) -> Measurement:
    """Return the sum of the sizes of all files in ``folder`` that deploy, in bytes.

    Raises:
        FileNotFoundError: there is no such folder, or nothing in it.
    """
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).as_posix() not in _NOT_DEPLOYED
    ]
    if not files:
        raise FileNotFoundError(f"a built model has files, found none in {folder}")
    return Measurement(
        metric="size",
        unit=metric_unit("size"),
        value=float(sum(path.stat().st_size for path in files)),
        n=1,
        method=f"{len(files)} files on disk: graph, weights, tokenizer and configuration",
    )
