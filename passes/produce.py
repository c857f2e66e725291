"""Get an artifact: from the store, or by running its pass in a worker and storing the result.

One process makes a key, others wait for its lock and reuse what it made. A pass
that fails leaves nothing behind, so asking again tries again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune import __version__, errors
from autotune.errors import AutotuneError, OutputError, RunError, UsageError, WorkerError
from autotune.plain import digest, to_plain
from autotune.targets import Executor, Job, JobResult
from autotune.units import format_size

from .contract import Artifact, Pass
from .disk import free_bytes
from .store import ArtifactStore, Origin

__all__ = ["WORKER_ENVIRONMENT", "Produced", "pass_key", "produce", "run_job"]

_ENTRY = "autotune.passes.worker_entry:run_pass"
# Inputs of passes are on disk by now: a worker that asks the network is wrong, and
# the official onnxruntime wheels report home unless told not to.
WORKER_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_ENDS = {
    "crashed": "crashed",
    "timed_out": "was ended after its limit of {limit:.0f} s",
    "out_of_memory": "ran out of memory",
}
_FULL = "No space left on device"


@dataclass(frozen=True, kw_only=True)
class Produced:
    """An artifact, and whether it was there already.

    Attributes:
        artifact: in the store.
        reused: nothing was run.
        seconds: wall time of this call, waiting for the worker or another process included.
    """

    artifact: Artifact
    reused: bool
    seconds: float


def pass_key(pass_: Pass, inputs: Mapping[str, Artifact], versions: Mapping[str, str]) -> str:
    """Return the store key of what ``pass_`` makes of ``inputs``.

    It covers the pass's name and parameters, the contents of its inputs, the versions
    of autotune and of the libraries that the pass names. Paths and dates are left out.

    Args:
        pass_: the step.
        inputs: artifacts by the name the pass gives them.
        versions: of the worker's libraries, by distribution name.
    """
    return digest(
        {
            "name": pass_.name,
            "parameters": to_plain(pass_),
            "inputs": _digests(inputs),
            "versions": _versions(pass_, versions),
        }
    )


def produce(
    pass_: Pass,
    inputs: Mapping[str, Artifact],
    *,
    store: ArtifactStore,
    executor: Executor,
    versions: Mapping[str, str],
    log_path: str = "",
    interpreter: str = "",
) -> Produced:
    """Return what ``pass_`` makes of ``inputs``; blocks until it is there.

    Args:
        pass_: the step; its class must be the registered one of its name.
        inputs: artifacts by the name the pass gives them.
        store: where results are looked up and kept.
        executor: runs the worker; no other job may be in flight on it.
        versions: of the worker's libraries, by distribution name.
        log_path: where the worker's output goes (appended); empty discards it.
        interpreter: Python of the worker; empty is this one.

    Raises:
        WorkerError: the worker crashed, hung or ran out of memory.
        AutotuneError: what the pass raised, by the class it raised; a ``RunError``
            where that was not one of ours.
        OutputError: the disk is full or refuses.
    """
    start = time.perf_counter()
    key = pass_.key(inputs, versions)
    with store.lock(key):
        artifact = store.get_verified(key, pass_.name)
        reused = artifact is not None
        if artifact is None:
            origin = Origin(
                key=key,
                name=pass_.name,
                parameters=to_plain(pass_),
                inputs=_digests(inputs),
                versions=_versions(pass_, versions),
            )
            with store.workdir(key) as workdir:
                job = _job(pass_, inputs, workdir, log_path=log_path, interpreter=interpreter)
                result = run_job(job, executor)
                artifact = store.commit(workdir, origin, facts=result.value, seconds=result.seconds)
    return Produced(artifact=artifact, reused=reused, seconds=time.perf_counter() - start)


def _digests(inputs: Mapping[str, Artifact]) -> dict[str, str]:
    return {name: artifact.digest for name, artifact in inputs.items()}


def _versions(pass_: Pass, versions: Mapping[str, str]) -> dict[str, str]:
    named = {library: versions.get(library, "absent") for library in pass_.libraries}
    return {"autotune": __version__, **named}


def _job(
    pass_: Pass, inputs: Mapping[str, Artifact], workdir: Path, *, log_path: str, interpreter: str
) -> Job:
    payload: dict[str, Any] = {
        "name": pass_.name,
        "parameters": to_plain(pass_),
        "inputs": {name: str(artifact.path) for name, artifact in inputs.items()},
        "workdir": str(workdir),
    }
    return Job(
        name=pass_.name,
        entry=_ENTRY,
        payload=payload,
        pool=pass_.pool,
        timeout_s=pass_.timeout_s,
        interpreter=interpreter,
        environment=WORKER_ENVIRONMENT,
        log_path=log_path,
    )


def run_job(job: Job, executor: Executor) -> JobResult:
    """Return the result of ``job``; blocks until it is there.

    Raises:
        AutotuneError: as ``produce``.
    """
    handle = executor.submit(job)
    try:
        result = executor.poll(None)
    except BaseException:  # an interrupt too must not leave the child behind
        executor.cancel(handle)
        raise
    if result is None or result.handle != handle:
        executor.cancel(handle)
        raise RunError(f"produce needs the executor to itself, got {result} for job {handle!r}.")
    if result.status != "ok":
        raise _error(job, result)
    return result


def _error(job: Job, result: JobResult) -> AutotuneError:
    where = f" (log: {job.log_path})" if job.log_path else ""
    if result.status == "cancelled":
        return RunError(f"The pass {job.name} was cancelled{where}.")
    if result.status != "error":
        end = _ENDS[result.status].format(limit=job.timeout_s)
        detail = f": {result.error}" if result.error else ""
        return WorkerError(
            f"The worker of pass {job.name} {end}{detail}{where}.", kind=result.status
        )
    if _FULL in result.error:  # libraries in Rust and C++ raise their own classes for it
        workdir = Path(job.payload["workdir"])
        return OutputError(
            f"The pass {job.name} needs more space, {format_size(free_bytes(workdir))} are free "
            f"at {workdir}; free some, or set AUTOTUNE_CACHE to a larger disk."
        )
    class_name, _, message = result.error.partition(": ")
    kind = getattr(errors, class_name, None) if class_name in errors.__all__ else None
    if kind is None:
        return RunError(f"The pass {job.name} failed: {result.error}{where}.")
    # What a user got wrong is whole without a log, which a refused run does not keep.
    error: AutotuneError = kind(message if issubclass(kind, UsageError) else f"{message}{where}")
    return error
