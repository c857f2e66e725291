"""A compute for the fake service: a job's command, run for real in a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from pathlib import Path

from .results import log_of, of_job
from .service import FakeAzure, FakeJob

__all__ = ["Compute"]


class Compute:
    """Runs a job when it is first seen running: its code, its inputs, its result.

    Only pip's target differs from what a machine of Azure's does: the wheel goes into a folder
    of the job's, so that the tests' own environment stays as it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._thread: threading.Thread | None = None

    def look(self, service: FakeAzure, job: FakeJob) -> None:
        """Begin with the job at the first look, as ``FakeAzure.on_look``."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(service, job))
            self._thread.start()

    def rest(self) -> None:
        """Wait for the job's end."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, service: FakeAzure, job: FakeJob) -> None:
        work, result = self.folder / "work", self.folder / "result"
        code = re.findall(r"/codes/([^/]+)/", job.asked["codeId"])[0]
        _fetch(service, f"code-{code}/code", work)
        places = {"outputs.run": str(result)}
        for name, one in job.asked["inputs"].items():
            # Mounted under a name of the service's, not the file's own.
            target = self.folder / "mounts" / f"INPUT_{name}"
            _fetch(service, f"blobs/{one['uri'].partition('/paths/')[2]}", target)
            places[f"inputs.{name}"] = str(target)
        command = re.sub(r"\$\{\{(.*?)\}\}", lambda m: places[m[1]], job.asked["command"])
        site = str(self.folder / "site")
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("AZURE_")},
            **job.asked["environmentVariables"],
            "AZUREML_RUN_ID": job.name,
            "PIP_TARGET": site,
            "PYTHONPATH": site,
        }
        with subprocess.Popen(
            ["bash", "-c", command],
            cwd=work,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as running:
            assert running.stdout is not None
            for line in running.stdout:
                service.blobs[log_of(job)] = service.blobs.get(log_of(job), b"") + line
        for path in result.rglob("*"):
            if path.is_file():
                name = of_job(job, path.relative_to(result).as_posix())
                service.blobs[name] = path.read_bytes()
        job.statuses = ["Failed" if running.returncode else "Completed"]


def _fetch(service: FakeAzure, prefix: str, target: Path) -> None:
    """Write the blobs below ``prefix`` to a folder, or the one of that name to a file."""
    prefix = prefix.rstrip("/")
    for name, content in list(service.blobs.items()):
        if name == prefix or name.startswith(f"{prefix}/"):
            path = target / name.removeprefix(prefix).lstrip("/") if name != prefix else target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
