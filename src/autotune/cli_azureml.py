"""Runs that went elsewhere or stopped: ``--on``, ``resume`` and ``cancel``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotune.run_folders import JOB, find_run

if TYPE_CHECKING:
    from autotune.config import RunConfig

__all__ = ["add_azureml", "run_flags_elsewhere"]


def add_azureml(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    app.command("resume")(resume)
    app.command("cancel")(cancel)


def run_flags_elsewhere(
    config: RunConfig,
    *,
    on: str,
    output: Path | None,
    dry_run: bool,
    as_json: bool,
    command: Sequence[str] | None = None,
) -> int:
    """Run ``config`` as a job and return the exit code; as ``runner.tune`` does here.

    Raises:
        AutotuneError: the request cannot work, or the service refuses.
    """
    from autotune.azureml import parse_place  # noqa: PLC0415 - startup time
    from autotune.remote import request_of, run_elsewhere  # noqa: PLC0415 - same

    request = request_of(config, parse_place(on, folder=Path()), command=command or ())
    return run_elsewhere(request, output=output, dry_run=dry_run, as_json=as_json, command=command)


def _is_job(folder: Path) -> bool:
    """Whether the run in ``folder`` is a job whose result is not here yet."""
    if not (folder / JOB).exists():
        return False
    from autotune.azureml import is_remote  # noqa: PLC0415 - startup time

    return is_remote(folder)


def _resume_job(folder: Path, *, as_json: bool) -> int:
    """Watch the job of the run in ``folder`` again and return the exit code.

    Raises:
        AutotuneError: the service refuses, or the record is damaged.
    """
    from autotune.azureml import RemoteRun  # noqa: PLC0415 - startup time
    from autotune.remote import told  # noqa: PLC0415 - same

    return told(RemoteRun(folder=folder), as_json=as_json)


def resume(
    run: Annotated[str, typer.Argument(help="Run folder, or its name below results/.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON on stdout.")] = False,
) -> None:
    """Go on with an interrupted run: no finished step is done again.

    Of a run that is a job of Azure ML: watch it again, and bring its result.
    """
    folder = find_run(run)
    if _is_job(folder):
        raise typer.Exit(_resume_job(folder, as_json=as_json))
    from autotune.runner import resume as resume_run  # noqa: PLC0415 - startup time

    raise typer.Exit(resume_run(folder, as_json=as_json))


def cancel(
    run: Annotated[str, typer.Argument(help="Run folder, or its name below results/.")],
) -> None:
    """End the job of a run at Azure ML."""
    from autotune.azureml import RemoteRun  # noqa: PLC0415 - startup time

    RemoteRun(folder=find_run(run)).cancel()
