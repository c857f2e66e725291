"""Jobs that the tests of the executor submit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune.targets import Job

HERE = Path(__file__).parent
JOBS = HERE / "jobs.py"


def job(name: str, *, pool: str | None = None, timeout_s: float = 30.0, **payload: Any) -> Job:
    return Job(name=name, entry=f"{JOBS}:{name}", payload=payload, pool=pool, timeout_s=timeout_s)


def script(name: str, log_path: str = "", **payload: Any) -> Job:
    return Job(name=name, entry=str(HERE / name), payload=payload, log_path=log_path, timeout_s=30)
