"""What jobs leave in the datastore when they end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from .service import FakeAzure, FakeJob

__all__ = ["OUTPUT", "RESULT", "leave", "log_of", "of_job"]

OUTPUT = "user_logs/std_log.txt"
RESULT = {
    "run.json": b"{}",
    "hardware.json": b'{"machine": "theirs"}',
    "logs/run.log": b"12:00:00 trained\n",
    "model/weights": bytes(range(256)) * 64,
}


def of_job(job: FakeJob, name: str) -> str:
    """Return where a file of a job's result lies."""
    return f"blobs/azureml/{job.name}/run/{name}"


def log_of(job: FakeJob, name: str = OUTPUT) -> str:
    """Return where a log of a job lies."""
    return f"artifacts/ExperimentRun/dcid.{job.name}/{name}"


def leave(
    files: dict[str, bytes] | None = None, *, exit_code: int = 0
) -> Callable[[FakeAzure, FakeJob], None]:
    """Return what fills in a job's result, its manifest too."""
    files = RESULT if files is None else files

    def fill(service: FakeAzure, job: FakeJob) -> None:
        described = {
            name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        }
        manifest = json.dumps({"exit_code": exit_code, "files": described}).encode()
        for name, content in {**files, "manifest.json": manifest}.items():
            service.blobs[of_job(job, name)] = content

    return fill
