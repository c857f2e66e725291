"""``azureml.json`` in a run's folder: which job a run is, so that it is found again.

Names alone; whoever reads the file learns where the job is, and needs a login of their own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from autotune.errors import UsageError
from autotune.plain import first_problem, from_plain, to_plain
from autotune.reports import write_json_atomic
from autotune.run_folders import JOB

from .place import Place

__all__ = ["JobRecord", "Stage", "is_remote"]

Stage = Literal["prepared", "submitted", "failed", "canceled", "done"]


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """A run's job.

    Attributes:
        place: where it runs.
        title: for people.
        job: its name in the workspace.
        stage: ``prepared`` before the service answered, ``done`` when the result is here.
        target: provider that it is for.
        command: that asked for it.
        attempt: 1, and one more each time it is submitted again after a failure.
        studio_url: its page; empty before the service answered.
    """

    place: Place
    title: str
    job: str
    stage: Stage = "prepared"
    target: str = ""
    command: tuple[str, ...] = ()
    attempt: int = 1
    studio_url: str = ""
    schema: str = field(default="autotune.azureml")
    schema_version: str = field(default="1.0")

    def at(self, stage: Stage, folder: Path, *, studio_url: str = "") -> JobRecord:
        """Return the record at another stage, written to ``folder``."""
        changed = replace(self, stage=stage, studio_url=studio_url or self.studio_url)
        changed.save(folder)
        return changed

    def save(self, folder: Path) -> None:
        """Write the file, whole or not at all."""
        write_json_atomic(folder / JOB, to_plain(self))

    @classmethod
    def load(cls, folder: Path) -> JobRecord:
        """Read the file.

        Raises:
            UsageError: it is absent or damaged.
        """
        path = folder / JOB
        try:
            return from_plain(cls, json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise UsageError(
                f"A run of Azure ML has {JOB}, {str(folder)!r} has none that can be read"
                f" ({error.strerror})."
            ) from None
        except ValueError as error:
            problem = first_problem(error) if isinstance(error, ValidationError) else error
            raise UsageError(f"{str(path)!r} is damaged ({problem}).") from None


def is_remote(folder: Path) -> bool:
    """Whether the run in ``folder`` is a job of Azure ML whose result is not here yet."""
    return (folder / JOB).exists() and JobRecord.load(folder).stage != "done"
