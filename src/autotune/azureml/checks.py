"""What the SDK lets through and the service, or the job, would stumble over minutes later."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from autotune.errors import UsageError
from autotune.reports import redact_text

from .names import is_of_azure, problem_of_name
from .place import Workspace

__all__ = ["check_specification", "problems_of"]

_REFERENCE = re.compile(r"\$\{\{(.*?)\}\}")
_NAME = re.compile(r"[A-Za-z0-9][\w-]{0,254}")
_COMPUTE = re.compile(r"azureml:[A-Za-z][A-Za-z0-9-]{1,31}")


def check_specification(job: Mapping[str, Any], workspace: Workspace) -> None:
    """Check a job before anything of it leaves this machine.

    Raises:
        UsageError: the first problem, and how many more there are.
    """
    found = list(problems_of(job, workspace))
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise UsageError(f"Azure ML would not run this job: {found[0]}{more}.")


def problems_of(job: Mapping[str, Any], workspace: Workspace) -> Iterator[str]:
    """Yield what is wrong with a job, a clause each."""
    if workspace.missing:
        yield f"the workspace lacks {', '.join(workspace.missing)}"
    if not _NAME.fullmatch(str(job.get("name", ""))):
        yield f"a job's name has letters, digits, '_' and '-', got {job.get('name')!r}"
    if not _COMPUTE.fullmatch(str(job.get("compute", ""))):
        yield f"a compute is azureml:NAME, got {job.get('compute')!r}"
    if not str(job.get("command", "")).strip():
        yield "it has no command"
    environment = job.get("environment") or {}
    if not environment.get("image"):
        yield "its environment has no docker image"
    if not Path(str(job.get("code", ""))).is_dir():
        yield f"its code folder {job.get('code')!r} is not there"
    yield from _problems_of_references(job)
    for name, one in (job.get("inputs") or {}).items():
        yield from _problems_of_input(name, str(one.get("path", "")))
    for name, value in (job.get("environment_variables") or {}).items():
        if redact_text(f"{name}={value}") != f"{name}={value}":
            yield (
                f"the variable {name} looks like a secret, and jobs are stored in clear; put it"
                " into a key vault"
            )


def _problems_of_references(job: Mapping[str, Any]) -> Iterator[str]:
    command = str(job.get("command", ""))
    used = {text.strip() for text in _REFERENCE.findall(command)}
    given = {f"{kind}.{name}" for kind in ("inputs", "outputs") for name in job.get(kind) or {}}
    for name in sorted(used - given):
        yield f"its command names ${{{{{name}}}}}, which it does not have"
    for name in sorted(given - used):
        yield f"its command does not use {name}"


def _problems_of_input(name: str, path: str) -> Iterator[str]:
    if is_of_azure(path):
        if problem := problem_of_name(path):
            yield f"its input {name} is not to be found: {problem}"
    elif not Path(path).exists():
        yield f"its input {name} is not here: {path!r}"
