"""A run that is a job of Azure ML: begun, watched, taken up again, cancelled."""

from __future__ import annotations

import json
import shlex
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autotune.config import default_output, prepare_output
from autotune.errors import ServiceError, UsageError
from autotune.progress import Progress
from autotune.reports import redact_command
from autotune.termination import termination_as_interrupt

from .checks import check_specification
from .download import Download
from .place import Workspace
from .record import JobRecord
from .request import JobRequest
from .service import JobState, Service, connect, require_sdk
from .specification import RESULT, as_text, specification, write_code
from .watching import Watch, bring_logs

__all__ = ["RemoteRun", "begin", "plan_text"]

# Of the run's folder; kept, so that a failed job can be submitted again.
_CODE, _JOB = Path("azureml", "code"), Path("azureml", "job.json")
_FAILED, _INTERRUPTED = 4, 130
Connect = Callable[[Workspace], Service]


def plan_text(request: JobRequest, *, output: Path | None) -> str:
    """Return the specification that ``begin`` would submit, as JSON; nothing is written."""
    folder = output or Path("results", "RUN")
    return as_text(specification(request, name=_new_name(), code=folder / _CODE))


def begin(
    request: JobRequest, *, output: Path | None, command: Sequence[str], connect: Connect = connect
) -> RemoteRun:
    """Make the run's folder, check the job there, and return the run; nothing is submitted yet.

    Raises:
        UsageError: no SDK, or a job that the SDK or our own checks refuse; no folder is left.
        OutputError: the folder exists or cannot be written.
    """
    require_sdk()
    folder = output or default_output(f"azureml-{request.place.compute}")
    prepare_output(folder)
    try:
        write_code(request, folder / _CODE)
        record = JobRecord(
            place=request.place,
            title=request.title,
            job=_new_name(),
            target=request.target,
            command=tuple(redact_command(list(command))),
        )
        job = specification(request, name=record.job, code=(folder / _CODE).absolute())
        check_specification(job, request.place.workspace)
        (folder / _JOB).write_text(as_text(job), encoding="utf-8")
        connect(request.place.workspace).validate(folder / _JOB)
    except UsageError:
        shutil.rmtree(folder)  # nothing but what was written above
        raise
    record.save(folder)
    return RemoteRun(folder=folder, connect=connect)


def _new_name() -> str:
    """Return a job's name: told apart by people by its time, from all others by chance."""
    return f"autotune-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, kw_only=True)
class RemoteRun:
    """A run whose folder says which job it is.

    Attributes:
        folder: of the run.
        connect: reaches a workspace.
        pause: waits some seconds.
    """

    folder: Path
    connect: Connect = connect
    pause: Callable[[float], None] = time.sleep

    def go(self) -> int:
        """Submit the job if that is not done, wait, bring its result, and return the exit code.

        Returns:
            The exit code of the run there; 4 where the job failed or was cancelled, 130 after
            Ctrl-C, which leaves the job alone.

        Raises:
            ServiceError: the service refuses, or the login is gone; the message says how to go
                on.
        """
        record = JobRecord.load(self.folder)
        progress = Progress(log_path=self.folder / "logs" / "azureml.log")
        try:
            with termination_as_interrupt():
                service = self.connect(record.place.workspace)
                record = self._submitted(service, record, progress)
                state = Watch(
                    service=service,
                    folder=self.folder,
                    job=record.job,
                    progress=progress,
                    pause=self.pause,
                ).until_end()
                return self._ended(service, record, state, progress)
        except KeyboardInterrupt:
            progress.rest()
            progress.line(f"Detached; the job goes on. {self._ways()}")
            return _INTERRUPTED
        except ServiceError as error:
            progress.rest()
            raise ServiceError(f"{error} {self._ways()}", kind=error.kind) from error

    def cancel(self) -> None:
        """Ask the service to end the job.

        Raises:
            UsageError: it was never submitted, or has ended.
            ServiceError: no answer.
        """
        record = JobRecord.load(self.folder)
        if record.stage in ("failed", "canceled", "done"):
            raise UsageError(f"The job {record.job} has ended: {record.stage}.")
        service = self.connect(record.place.workspace)
        state = service.state(record.job)
        if state.end:
            raise UsageError(
                f"The job {record.job} has ended: {state.status}; `autotune resume {self._name}`"
                " brings what it left."
            )
        service.cancel(record.job)
        Progress().line(
            f"Asked to end the job {record.job}; autotune resume {self._name} waits for that and"
            " brings what it logged."
        )

    @property
    def _name(self) -> str:
        return shlex.quote(str(self.folder))

    def _ways(self) -> str:
        return f"Go on: autotune resume {self._name}; end it: autotune cancel {self._name}"

    def _submitted(self, service: Service, record: JobRecord, progress: Progress) -> JobRecord:
        """Return the record of a job that the service knows; a new one after a failure."""
        if record.stage in ("failed", "canceled"):
            record = self._another(record)
        if record.stage == "prepared":
            state = self._known(service, record) or service.submit(self.folder / _JOB)
            record = record.at("submitted", self.folder, studio_url=state.studio_url)
        workspace = record.place.workspace.workspace_name
        progress.line(f"Job      {record.job} on {record.place}, workspace {workspace}")
        if record.studio_url:
            progress.line(f"         {record.studio_url}")
        return record

    def _known(self, service: Service, record: JobRecord) -> JobState | None:
        """Return the job's state where an answer to its submission was lost, else None."""
        try:
            return service.state(record.job)
        except ServiceError as error:
            if error.kind == "absent":
                return None
            raise

    def _another(self, record: JobRecord) -> JobRecord:
        """Return the record of the next attempt, its specification rewritten."""
        path = self.folder / _JOB
        attempt = record.attempt + 1
        name = f"{record.job.partition('-try')[0]}-try{attempt}"
        job = json.loads(path.read_text(encoding="utf-8"))
        job["name"], job["outputs"]["run"]["path"] = name, RESULT.format(name=name)
        check_specification(job, record.place.workspace)
        path.write_text(as_text(job), encoding="utf-8")
        again = replace(record, job=name, attempt=attempt, stage="prepared", studio_url="")
        again.save(self.folder)
        shutil.rmtree(self.folder / "logs" / "azureml", ignore_errors=True)
        return again

    def _ended(
        self, service: Service, record: JobRecord, state: JobState, progress: Progress
    ) -> int:
        result = service.folder(RESULT.format(name=record.job))
        manifest = Download(
            source=result, folder=self.folder, progress=progress, pause=self.pause
        ).bring()
        if state.end == "completed" and manifest is not None:
            record.at("done", self.folder)
            return manifest.exit_code
        log = bring_logs(service, record.job, self.folder)
        record.at("canceled" if state.end == "canceled" else "failed", self.folder)
        reason = "it left no result" if state.end == "completed" else service.reason(record.job)
        said = f": {reason}" if reason else ""
        progress.line(
            f"The job {record.job} ended as {state.status}{said}. Its log: {log}."
            f" Once more: autotune resume {self._name}"
        )
        return _FAILED
