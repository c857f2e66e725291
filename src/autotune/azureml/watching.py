"""Waiting for a job: its status as it changes, its output as it comes, lost answers survived."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from autotune.errors import ServiceError
from autotune.progress import Progress
from autotune.units import format_duration

from .service import JobState, Service

__all__ = ["LOGS", "Watch", "bring_logs"]

# Below the run's folder.
LOGS = Path("logs", "azureml")
_OUTPUT = "user_logs/std_log.txt"  # what a command prints, since the runtime of 2021
_SHORTEST_S, _LONGEST_S, _GROWTH = 2.0, 30.0, 1.3
_PATIENCE_S = 3600.0  # of a service that does not answer


@dataclass(kw_only=True)
class Watch:
    """Waits for a job.

    Attributes:
        service: asked.
        folder: of the run, which gets the logs.
        job: name.
        progress: told.
        pause: waits some seconds.
        clock: seconds, monotonic.
    """

    service: Service
    folder: Path
    job: str
    progress: Progress
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _shown: str = ""
    _silent_since: float | None = field(default=None)

    def until_end(self) -> JobState:
        """Return the job's state when it has ended.

        Raises:
            ServiceError: the login is gone, the job is unknown, or no answer for an hour.
        """
        wait_s = _SHORTEST_S
        while True:
            state = self._asked()
            if state is not None:
                wait_s = _SHORTEST_S if self._tell(state) else wait_s
                if state.end:
                    self.progress.rest()
                    return state
            self.pause(wait_s)
            wait_s = min(wait_s * _GROWTH, _LONGEST_S)

    def _asked(self) -> JobState | None:
        """Return the state, or None where the service did not answer this time."""
        try:
            state = self.service.state(self.job)
            if state.status == "Running" or state.end:
                self._show_output()
        except ServiceError as error:
            if error.kind != "lost":
                raise
            self._bear(error)
            return None
        if self._silent_since is not None:
            self.progress.line("Azure    answers again")
            self._silent_since = None
        return state

    def _bear(self, error: ServiceError) -> None:
        """Say once that there is no answer, and give up after an hour."""
        now = self.clock()
        if self._silent_since is None:
            self._silent_since = now
            self.progress.line(
                f"Azure    does not answer; the job goes on, asking again. ({error})"
            )
        elif now - self._silent_since > _PATIENCE_S:
            raise ServiceError(
                f"Azure ML has not answered for {format_duration(now - self._silent_since)}"
                f" ({error}); the job goes on there.",
                kind="lost",
            ) from error

    def _tell(self, state: JobState) -> bool:
        """Say what is new; return whether anything is."""
        if state.status == self._shown:
            return False
        self.progress.line(f"Azure    {state.status}")
        self._shown = state.status
        if not state.end:
            self.progress.working(f"{state.status} at Azure ML, job {self.job}")
        return True

    def _show_output(self) -> None:
        """Print the lines that the command has printed since, and keep them in the folder."""
        path = self.folder / LOGS / _OUTPUT
        had = path.stat().st_size if path.exists() else 0
        logs = self.service.logs(self.job)
        size = logs.sizes(_OUTPUT).get(_OUTPUT, 0)
        if size <= had:
            return
        logs.append(_OUTPUT, path, size=size)
        with path.open("rb") as stream:
            stream.seek(had)
            for line in stream.read().decode("utf-8", errors="replace").splitlines():
                if line.strip():
                    self.progress.line(f"| {line}")


def bring_logs(service: Service, job: str, folder: Path) -> Path:
    """Bring everything that a job and its runtime logged into the run's folder.

    Returns:
        The log to read first.

    Raises:
        ServiceError: no answer.
    """
    logs = service.logs(job)
    for name, size in logs.sizes().items():
        target = (folder / LOGS / name).resolve()
        if target.is_relative_to((folder / LOGS).resolve()):  # names are the service's
            logs.append(name, target, size=size)
    output = folder / LOGS / _OUTPUT
    return output if output.exists() else folder / LOGS
