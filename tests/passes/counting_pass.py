"""A pass whose runs can be counted, and an executor that runs passes in this process.

Child processes of the tests import it as ``counting_pass``; the entry-point group
``autotune.passes`` names it so, through a distribution made by ``write_plugin``.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from autotune.errors import MergeError
from autotune.passes import Artifact, pass_key
from autotune.targets import Job, JobResult


@dataclass(frozen=True, kw_only=True)
class CountingPass:
    """Writes ``text`` to a file and a line to ``log`` per run; ``ending`` is how it ends."""

    name: ClassVar[str] = "counting"
    pool: ClassVar[str] = "test"
    timeout_s: ClassVar[float] = 60.0
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)

    text: str
    log: str
    ending: str = "ok"

    def key(self, inputs: Mapping[str, Artifact], versions: Mapping[str, str]) -> str:
        """Return the store key."""
        return pass_key(self, inputs, versions)

    def run(self, inputs: Mapping[str, Path], workdir: Path) -> dict[str, Any]:
        """Count the run, then write the file, or fail as asked."""
        with Path(self.log).open("a", encoding="utf-8") as stream:
            stream.write(f"{self.text}\n")
        time.sleep(0.02)
        (workdir / "out.txt").write_text(self.text)
        if self.ending == "merge error":
            raise MergeError("Logits must agree, they differ by 2.0; use merge_base full.")
        if self.ending == "value error":
            raise ValueError("numbers are odd")
        if self.ending == "disk full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(workdir / "out.txt"))
        return {"inputs": sorted(inputs), "characters": len(self.text)}


class InProcessExecutor:
    """Runs the entry of a job here and now; statuses other than ``error`` can be asked for."""

    def __init__(self, *, status: str = "ok") -> None:
        self.status = status
        self.jobs: list[Job] = []
        self._results: list[JobResult] = []

    def submit(self, job: Job) -> str:
        """Run the job."""
        self.jobs.append(job)
        handle = str(len(self.jobs))
        self._results.append(self._run(job, handle))
        return handle

    def _run(self, job: Job, handle: str) -> JobResult:
        if self.status != "ok":
            return JobResult(handle=handle, status=self.status)  # type: ignore[arg-type] # a test's word
        module, _, function = job.entry.partition(":")
        payload = json.loads(json.dumps(job.payload))
        try:
            value = getattr(import_module(module), function)(payload)
        except Exception as error:  # noqa: BLE001 - what the entry raises is the job's result
            message = f"{type(error).__name__}: {error}"
            return JobResult(handle=handle, status="error", error=message)
        return JobResult(handle=handle, status="ok", value=value, seconds=0.5)

    def poll(self, timeout_s: float | None = None) -> JobResult | None:
        """Return the next result."""
        del timeout_s
        return self._results.pop(0) if self._results else None

    def cancel(self, handle: str) -> None:
        """Do nothing: jobs end in ``submit``."""

    def capabilities(self, interpreter: str = "") -> dict[str, Any]:
        """Return nothing: the tests give versions."""
        del interpreter
        return {}

    def close(self) -> None:
        """Do nothing."""


def write_plugin(folder: Path, entries: Mapping[str, str]) -> Path:
    """Make ``folder`` a place for ``sys.path`` with a distribution of these passes."""
    info = folder / "counting-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: counting\nVersion: 1.0\n")
    lines = [f"{name} = {value}\n" for name, value in entries.items()]
    (info / "entry_points.txt").write_text("[autotune.passes]\n" + "".join(lines))
    return folder
