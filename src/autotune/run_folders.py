"""Run folders as they lie on disk: finding, listing and telling about them.

Read as plain JSON, without the types of the reports: listing a hundred runs must not wait
for libraries, and a folder of an older version or half a run is listed with what it tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autotune.errors import UsageError

__all__ = [
    "JOB",
    "RESULTS",
    "RunFolder",
    "find_run",
    "has_report",
    "is_held",
    "list_runs",
    "read_run",
]

RESULTS = Path("results")
CONFIG, REPORT, TRIALS = "run.json", "report.json", "trials.jsonl"
JOB = "azureml.json"  # of a run that is a job of Azure ML
# Stages of a job as states of its run.
_STAGES = {"prepared": "unfinished", "submitted": "at Azure ML"}
_HELD = "study.journal.held"
# Keys that every run.json has had from the start.
_MARKS = ("target", "model", "seed", "sampler")


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """A run folder.

    Attributes:
        path: of the folder.
        config: content of ``run.json``.
        report: content of ``report.json``, empty where there is none that can be read.
        state: the outcome in the report, or ``running``, ``unfinished``, ``damaged``; of a job
            of Azure ML whose result is not here, ``at Azure ML``, ``failed`` or ``canceled``.
        problem: why it is damaged.
        job: content of ``azureml.json``, empty for a run that was here all along.
    """

    path: Path
    config: dict[str, Any]
    report: dict[str, Any] = field(default_factory=dict)
    state: str
    problem: str = ""
    job: dict[str, Any] = field(default_factory=dict)

    @property
    def created(self) -> str:
        """UTC time of the report, RFC 3339; empty without one."""
        return str(self.report.get("created", ""))

    def trials(self) -> list[dict[str, Any]]:
        """Return the trials in the journal that can be read, in order."""
        try:
            lines = (self.path / TRIALS).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return []
        found = [_parsed(line) for line in lines]
        return [trial for trial in found if trial]


def _parsed(text: str) -> dict[str, Any]:
    """Return a JSON object; empty where the text is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _config(path: Path) -> dict[str, Any] | None:
    """Return what ``run.json`` says; None where the folder is no run.

    A job of Azure ML that has brought nothing yet says no more than what it is.
    """
    found = _read(path / CONFIG)
    if all(mark in found for mark in _MARKS):
        return found
    job = _read(path / JOB)
    return {"target": job.get("target"), "model": job.get("title")} if "job" in job else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def read_run(path: Path) -> RunFolder:
    """Return the run in the folder ``path``.

    Raises:
        UsageError: it is no run folder.
    """
    config, job = _config(path), _read(path / JOB)
    if config is None:
        raise UsageError(
            f"A run folder has a whole {CONFIG}, {str(path)!r} has none;"
            " `autotune ls` lists the runs of a folder."
        )
    run = RunFolder(path=path, config=config, job=job, state="")
    if (stage := job.get("stage", "done")) != "done":
        return replace(run, state=_STAGES.get(str(stage), str(stage)))
    try:
        text = (path / REPORT).read_text(encoding="utf-8")
    except FileNotFoundError:
        return replace(run, state="running" if is_held(path) else "unfinished")
    except (OSError, ValueError) as error:
        return replace(run, state="damaged", problem=f"{REPORT}: {error}")
    report = _parsed(text)
    if problem := _problem(report):
        return replace(run, state="damaged", problem=problem)
    state = "running" if is_held(path) else str(report.get("outcome"))
    return replace(run, report=report, state=state)


def _problem(report: dict[str, Any]) -> str:
    if not report:
        return f"{REPORT} is no whole JSON document"
    found = (report.get("schema"), report.get("schema_version"))
    if found != ("autotune.run", "1.0"):
        return f"{REPORT} is of {found[0]!r} {found[1]!r}, this autotune reads 'autotune.run' '1.0'"
    return ""


def has_report(path: Path) -> bool:
    """Whether the folder ``path`` has a whole report, of whatever version."""
    return bool(_read(path / REPORT))


def is_held(path: Path) -> bool:
    """Whether a run is writing into the folder ``path`` now."""
    held = path / _HELD
    if not held.exists():
        return False
    from filelock import FileLock, Timeout  # noqa: PLC0415 - startup time

    lock = FileLock(held)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def list_runs(root: Path) -> list[RunFolder]:
    """Return the runs directly below ``root``, the latest first, those without a report last.

    Raises:
        UsageError: ``root`` is no folder.
    """
    return sorted(_runs(root), key=lambda run: (run.created, run.path.name), reverse=True)


def _runs(root: Path) -> Iterator[RunFolder]:
    try:
        folders = sorted(path for path in root.iterdir() if path.is_dir())
    except OSError as error:
        raise UsageError(
            f"Runs lie in a folder, {str(root)!r} cannot be listed ({error.strerror});"
            " name the folder that holds them."
        ) from None
    for folder in folders:
        if _config(folder) is not None:
            yield read_run(folder)


def find_run(name: str | None) -> Path:
    """Return the folder that a person means: a path, a name below ``results``, or the latest run.

    Raises:
        UsageError: no run to take the latest of, or two of that name.
    """
    if name is None:
        runs = list_runs(RESULTS) if RESULTS.is_dir() else []
        if not runs:
            raise UsageError(
                f"There is no run in {str(RESULTS)!r} to take the latest of; name a run folder."
            )
        return runs[0].path
    here, stored = Path(name), RESULTS / name
    is_bare = "/" not in name and "\\" not in name
    if not is_bare or _config(stored) is None:
        return here
    if _config(here) is not None and not here.samefile(stored):
        raise UsageError(f"{name!r} names two runs; say {f'./{name}'!r} or {str(stored)!r}.")
    return stored
