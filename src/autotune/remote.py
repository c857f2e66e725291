"""Runs that go to Azure ML: what flags ask for as a job's request, and how a run there is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from autotune.azureml import (
    COMMAND,
    REQUEST,
    JobInput,
    JobRequest,
    Place,
    RemoteRun,
    begin,
    input_of,
    is_of_azure,
    plan_text,
)
from autotune.command_line import command_line
from autotune.config import RunConfig
from autotune.errors import UsageError
from autotune.narrate import print_report
from autotune.plain import to_plain
from autotune.reports import load_report, redact_command
from autotune.run_folders import REPORT

__all__ = ["check_is_here", "request_of", "run_elsewhere", "told"]

_PATHS = ("model", "data", "validation_data", "test_data", "target_report")
_TARGETS = {"auto": "cuda", "cuda": "cuda", "cpu": "cpu", "cuda,cpu": "cuda", "cpu,cuda": "cuda"}


def run_elsewhere(
    request: JobRequest,
    *,
    output: Path | None,
    dry_run: bool,
    as_json: bool,
    command: Sequence[str] | None = None,
) -> int:
    """Submit ``request``, wait for its result, print it and return the exit code.

    With ``dry_run``, print the job's specification instead.

    Raises:
        AutotuneError: as ``begin`` and ``RemoteRun.go``.
    """
    if dry_run:
        sys.stdout.write(plan_text(request, output=output) + "\n")
        return 0
    run = begin(request, output=output, command=command or command_line())
    return told(run, as_json=as_json)


def told(run: RemoteRun, *, as_json: bool) -> int:
    """Go on with a run elsewhere, print what came of it and return the exit code.

    Raises:
        ServiceError: as ``RemoteRun.go``.
    """
    code = run.go()
    if code in (0, 1) and (run.folder / REPORT).exists():
        print_report(load_report(run.folder / REPORT), folder=run.folder, as_json=as_json)
    return code


def check_is_here(config: RunConfig) -> None:
    """Check that a run on this machine reads nothing that only a job can.

    Raises:
        UsageError: a name of Azure ML's.
    """
    for name in _PATHS:
        value = getattr(config, name)
        if value and is_of_azure(value):
            raise UsageError(
                f"--{name.replace('_', '-')} {value} lies in Azure ML; run there with"
                " --on azureml:COMPUTE, or name what is here."
            )


def request_of(config: RunConfig, place: Place, *, command: Sequence[str]) -> JobRequest:
    """Return the request for a run of flags.

    Args:
        config: the run; what it names here is uploaded.
        place: where it runs.
        command: that asked for it, for the report.

    Raises:
        UsageError: a target that a job's environment has no runtime for.
        DataError: data here that cannot be used.
    """
    target = _TARGETS.get(config.target)
    if target is None:
        raise UsageError(
            f"A job of Azure ML has the runtimes for cpu and cuda, --target is {config.target!r};"
            " leave it out, or give one of them."
        )
    values = {name: getattr(config, name) for name in _PATHS}
    inputs = {name: one for name, value in values.items() if (one := _input(name, value))}
    if not any(is_of_azure(str(value)) for name, value in values.items() if name != "model"):
        from autotune.run_task import read_task  # noqa: PLC0415 - startup time

        read_task(config)  # a typo must not wait for a machine
    there = to_plain(config) | {name: one.place for name, one in inputs.items()}
    return JobRequest(
        place=place,
        title=Path(config.data).stem or "demo",
        words=("resume", "run"),
        files={
            REQUEST: json.dumps(there, indent=2),
            COMMAND: json.dumps(redact_command(list(command))),
        },
        inputs=tuple(inputs.values()),
        target=target,
    )


def _input(name: str, value: str | None) -> JobInput | None:
    """Return the input for what lies here or in Azure; None for names that the job fetches."""
    if not value or not (is_of_azure(value) or Path(value).exists()):
        return None
    return input_of(name, value, is_model=name == "model")
