"""What trainings will run on, asked before the first of them: store keys depend on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from autotune.targets import Accelerators, Executor, Job, read_accelerators

from .finetune import FinetunePass
from .produce import WORKER_ENVIRONMENT, run_job

__all__ = ["training_device"]

_ENTRY = "autotune.passes.worker_entry:training_device"
_TIMEOUT_S = 300.0


def training_device(
    executor: Executor,
    versions: Mapping[str, str],
    *,
    log_path: str = "",
    read: Callable[[], Accelerators] = read_accelerators,
) -> str:
    """Return what trainings run on: ``cpu``, or ``cuda`` and the name of the GPU.

    Only torch can tell whether it can use a GPU, and only a worker may import it. It is
    asked where it might say yes: torch is no build for processors, and there is a driver
    of NVIDIA's, or torch is AMD's build. That worker trains later, so its imports are not
    in vain.

    Args:
        executor: runs the worker; no other job may be in flight on it.
        versions: of the worker's libraries, by distribution name.
        log_path: where the worker's output goes (appended); empty discards it.
        read: looks for GPUs.

    Raises:
        HardwareError: torch sees a GPU that it cannot compute on.
        AutotuneError: as ``produce``.
    """
    _, _, build = versions.get("torch", "absent+cpu").partition("+")
    if build == "cpu":
        return "cpu"
    # What is unknown may be there: a driver without the libraries that tell of it.
    if read().nvidia.status == "not_applicable" and not build.startswith("rocm"):
        return "cpu"
    job = Job(
        name="training-device",
        entry=_ENTRY,
        payload={},
        pool=FinetunePass.pool,
        timeout_s=_TIMEOUT_S,
        environment=WORKER_ENVIRONMENT,
        log_path=log_path,
    )
    return str(run_job(job, executor).value["device"])
