"""A run that a configuration file asks for: its account first, then the chain or the search."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.chain_run import run_chain
from autotune.config import RunConfig
from autotune.errors import OutputError, UsageError
from autotune.olive import OlivePlan, OliveRequest, Verdict, read_olive
from autotune.progress import Progress
from autotune.remote import run_elsewhere
from autotune.run_file import load_run_file, run_text
from autotune.runner import tune

__all__ = ["import_configuration", "run_configuration"]


def run_configuration(
    request: OliveRequest, *, output: Path | None, dry_run: bool, as_json: bool
) -> int:
    """Run the configuration of ``request`` and return the exit code.

    With ``dry_run``, what is still open is listed and the rest is planned.

    Raises:
        UsageError: what the file asks for cannot be done, or something in it is still open.
        AutotuneError: as ``tune``.
    """
    if (own := load_run_file(request.path)) is not None:
        return _start(_changed(own, request), output=output, dry_run=dry_run, as_json=as_json)
    plan = _told(request)
    if plan.open_points and not dry_run:
        raise UsageError(_open(plan, request))
    if plan.job is not None:
        return run_elsewhere(
            plan.job, output=output or plan.output, dry_run=dry_run, as_json=as_json
        )
    return _start(_config(plan), output=output or plan.output, dry_run=dry_run, as_json=as_json)


def _start(config: RunConfig, *, output: Path | None, dry_run: bool, as_json: bool) -> int:
    run = run_chain if config.chain is not None and not config.chain.is_whole else tune
    return run(config, output=output, dry_run=dry_run, as_json=as_json)


def _changed(config: RunConfig, request: OliveRequest) -> RunConfig:
    """Return a run of our own form with the flags of ``request``.

    Raises:
        UsageError: a flag that only configurations of Olive's take.
    """
    asked = {"--on": request.on, "--set": request.sets, "--search": request.is_search}
    if refused := [flag for flag, value in asked.items() if value]:
        raise UsageError(
            f"{refused[0]} is for configurations of Olive's, {str(request.path)!r} is a whole run;"
            " change the value in the file."
        )
    given: dict[str, Any] = {
        "target": request.target,
        "model": request.model,
        "budget_s": request.budget_s,
        "max_trials": request.max_trials,
    }
    return replace(
        config,
        **{name: value for name, value in given.items() if value is not None},
        constraints=(*config.constraints, *request.constraints),
        trust_remote_code=config.trust_remote_code and request.trust_remote_code,
    )


def import_configuration(request: OliveRequest, *, output: Path | None) -> int:
    """Write the run that the configuration of ``request`` comes to; return the exit code.

    Raises:
        UsageError: as ``run_configuration``, or an Azure ML job.
        OutputError: the file exists or cannot be written.
    """
    plan = _told(request)
    if plan.job is not None:
        raise UsageError(
            f"{str(request.path)!r} is a job of Azure ML; name the target that it has there with"
            " --target, and the data with --set."
        )
    text = run_text(_config(plan), suffix="" if output is None else output.suffix)
    if output is None:
        sys.stdout.write(text)
        return 0
    try:
        with output.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise OutputError(
            f"--output {str(output)!r} cannot be written ({error.strerror}); choose another name."
        ) from None
    return 0


def _told(request: OliveRequest) -> OlivePlan:
    """Return the plan after its account was printed: a line for all that is not as written.

    Raises:
        UsageError: a field is refused.
    """
    plan = read_olive(request)
    progress = Progress()
    kept = [said.place for said in plan.account if said.verdict is Verdict.HONOURED]
    progress.line(f"Config   {request.path}: {len(plan.account)} fields, {len(kept)} as written")
    for said in plan.account:
        if said.verdict is not Verdict.HONOURED:
            progress.line(f"         {said.line}")
    for note in plan.notes:
        progress.line(f"         {note}")
    for point in plan.open_points:
        progress.line(f"Open     {point}")
    if plan.refused:
        first = plan.refused[0]
        more = f" and {len(plan.refused) - 1} more" if len(plan.refused) > 1 else ""
        raise UsageError(
            f"{first.place} = {first.value} is refused{more}: {first.says}. Change it with --set,"
            f" or take it out with --set {first.place}=null."
        )
    return plan


def _open(plan: OlivePlan, request: OliveRequest) -> str:
    first, count = plan.open_points[0], len(plan.open_points)
    more = f" (and {count - 1} more, listed above)" if count > 1 else ""
    return f"{str(request.path)!r} is not complete: {first}{more}."


def _config(plan: OlivePlan) -> RunConfig:
    if plan.config is None:
        raise ValueError("a plan without refused fields is a run or a job")
    return plan.config
