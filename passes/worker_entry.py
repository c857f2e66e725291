"""What a worker process calls to run a pass: plain values in, plain facts out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotune.plain import from_plain

from .disk import output_errors
from .registry import pass_class

__all__ = ["run_pass", "training_device"]


def run_pass(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Run the pass that ``payload`` describes and return its facts.

    Args:
        payload: ``name`` of the pass, its ``parameters`` (plain), ``inputs`` (name to
            path), ``workdir`` (an empty folder that the pass fills).

    Raises:
        UsageError: there is no such pass.
        OutputError: the disk is full or refuses.
        AutotuneError: what the pass raises.
    """
    pass_ = from_plain(pass_class(payload["name"]), payload["parameters"])
    inputs = {name: Path(path) for name, path in payload["inputs"].items()}
    workdir = Path(payload["workdir"])
    with output_errors(workdir):
        return pass_.run(inputs, workdir)


def training_device(_payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``device``: what this process trains on, for people and store keys.

    Raises:
        HardwareError: a GPU that torch sees but cannot compute on.
    """
    from .compute import training_compute  # noqa: PLC0415 - imports torch

    used = training_compute()
    return {"device": " ".join(part for part in (used.device, used.model) if part)}
