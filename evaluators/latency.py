"""Request latency, time to first token, time per further token, load time, peak memory.

Models are interleaved: every round runs each of them once, in random order, in a
fresh process, on the same requests. Slow drifts of the machine then hit all alike,
and rounds can be compared pair by pair. Nothing else may run meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autotune.errors import AutotuneError
from autotune.targets import Conditions, Executor, Job, read_conditions

from .contract import BuiltModel, Workload
from .lock import measurement_lock
from .measurable import nvml_file
from .page_cache import read_evenly
from .runtime import child_job, child_rows, run_child
from .samples import LatencyBlocks, Measurements
from .surroundings import Surroundings

__all__ = ["BlockSettings", "block_rows", "latency_job", "measure_latency"]

_ROOT = Path("/")


@dataclass(frozen=True, kw_only=True)
class BlockSettings:
    """What every block has in common.

    Attributes:
        threads: of ONNX Runtime; None is the physical cores the child may use.
        warm_up_least: requests before timing in any case, at least 1.
        warm_up_most: requests after which timing starts, settled or not.
        warm_up_tolerance: the process is warm when the running medians of its last
            three requests agree within this share.
        hopeless_s: a block stops after three requests where they and the warm-up all took
            longer; None never.
        timeout_s: of one block, loading included.
        log_path: where the children's output goes; empty discards it.
        root: where ``sys`` is looked for, which shows the energy counters.
        nvml: file of the module pynvml, empty for none; None looks for it here.
    """

    threads: int | None = None
    warm_up_least: int = 3
    warm_up_most: int = 20
    warm_up_tolerance: float = 0.02
    hopeless_s: float | None = None
    timeout_s: float = 600.0
    log_path: str = ""
    root: Path = _ROOT
    nvml: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.warm_up_least <= self.warm_up_most or self.warm_up_tolerance < 0:
            raise ValueError(f"a warm-up has 1 <= least <= most and tolerance >= 0, got {self!r}")


_DEFAULT_SETTINGS = BlockSettings()


def block_rows(n_rows: int, *, round_number: int, per_block: int) -> list[int]:
    """Return which rows a round times: consecutive rounds go round the workload in turn.

    >>> block_rows(5, round_number=1, per_block=3)
    [3, 4, 0]
    """
    start = round_number * per_block
    return [(start + i) % n_rows for i in range(per_block)]


def latency_job(
    model: BuiltModel,
    workload: Workload,
    *,
    round_number: int,
    requests_per_block: int,
    settings: BlockSettings = _DEFAULT_SETTINGS,
) -> Job:
    """Return the job of one block: load, one cold request, warm-up, one timed pass."""
    rules = workload.rows
    indices = block_rows(len(rules.rows), round_number=round_number, per_block=requests_per_block)
    work = {
        "rows": child_rows([rules.rows[i] for i in indices], rules),
        "warm_up": {
            "least": settings.warm_up_least,
            "most": settings.warm_up_most,
            "tolerance": settings.warm_up_tolerance,
        },
        "meters": {
            "root": str(settings.root),
            "nvml": nvml_file() if settings.nvml is None else settings.nvml,
        },
        "hopeless_s": settings.hopeless_s,
    }
    return child_job(
        model,
        rules,
        {"latency": work},
        threads=settings.threads,
        timeout_s=settings.timeout_s,
        log_path=settings.log_path,
        what=f"time round {round_number} of",
    )


def measure_latency(
    models: Sequence[BuiltModel],
    workload: Workload,
    *,
    rounds: int,
    requests_per_block: int,
    seed: int,
    executor: Executor,
    first_round: int = 0,
    settings: BlockSettings = _DEFAULT_SETTINGS,
    stop_when: Callable[[str, Measurements], bool] | None = None,
    on_failure: Callable[[str, AutotuneError], None] | None = None,
    on_progress: Callable[[str], None] | None = None,
    on_surroundings: Callable[[Surroundings], None] | None = None,
) -> dict[str, Measurements]:
    """Time ``models`` on ``workload`` and return measurements by model name and metric.

    ``latency``, ``ttft`` and ``tpot`` (generation; seconds) come as ``.p50``, as
    ``.p90`` from 29 and ``.p95`` from 59 requests, beside ``load`` (median), ``memory``
    (largest) and, where counters tell, ``energy``, ``energy_per_token`` (joules, means)
    and ``device_memory`` (largest). Holds the machine's measurement lock throughout.

    Args:
        models: of distinct names.
        workload: what is asked.
        rounds: blocks per model, at least 1.
        requests_per_block: timed in each block; ``rounds`` times this being a multiple
            of the workload's size covers it evenly.
        seed: of the order within rounds and of the bootstrap.
        executor: that starts the processes, with no other job under way.
        first_round: to go on where an earlier call stopped (``pool_latency`` joins both).
        settings: of every block.
        stop_when: called after each block with the model's name and its measurements so
            far; True leaves it out of later rounds, its measurements are kept.
        on_failure: called with the name of a model that failed, which is then left out
            of the answer; without it the error is raised.
        on_progress: called with a line before each block, and when another process is
            measuring.
        on_surroundings: called once at the end with the machine's conditions meanwhile
            and the reasons for numbers that could not be had.

    Raises:
        ValueError: names that are not distinct, or counts below 1.
        AutotuneError: as ``runtime.child_result``, or a lock that is not released.
    """
    if len({model.name for model in models}) != len(models):
        raise ValueError(f"models have distinct names, got {[model.name for model in models]}")
    if rounds < 1 or requests_per_block < 1:
        raise ValueError(f"counts are at least 1, got {rounds=}, {requests_per_block=}")
    session = _Session(
        seed=seed,
        executor=executor,
        models={model.name: model for model in models},
        stop_when=stop_when,
        on_failure=on_failure,
    )
    with measurement_lock(what=f"{len(models)} models", on_wait=on_progress):
        for model in models:
            read_evenly(model.path)
        before, began = read_conditions(), time.monotonic()
        for number in range(first_round, first_round + rounds):
            for name in session.order(number):
                if on_progress is not None:
                    on_progress(f"round {number - first_round + 1} of {rounds}: {name}")
                job = latency_job(
                    session.models[name],
                    workload,
                    round_number=number,
                    requests_per_block=requests_per_block,
                    settings=settings,
                )
                session.run_block(name, job)
        if on_surroundings is not None:
            on_surroundings(session.surroundings(before, seconds=time.monotonic() - began))
    return session.results


class _Session:
    """Who still takes part, and what has been measured."""

    def __init__(
        self,
        *,
        seed: int,
        executor: Executor,
        models: dict[str, BuiltModel],
        stop_when: Callable[[str, Measurements], bool] | None,
        on_failure: Callable[[str, AutotuneError], None] | None,
    ) -> None:
        self.models = models
        self.results: dict[str, Measurements] = {}
        self._seed = seed
        self._executor = executor
        self._stop_when = stop_when
        self._on_failure = on_failure
        self._active = list(models)
        self._blocks = {name: LatencyBlocks() for name in models}

    def surroundings(self, before: Conditions, *, seconds: float) -> Surroundings:
        """Return what went on since ``before``, and what could not be measured."""
        blocks = self._blocks.values()
        ran_s = sum(one.ran_s for one in blocks)
        return Surroundings(
            before=before,
            after=read_conditions(),
            seconds=seconds,
            ran_s=ran_s or None,
            waited_s=sum(one.waited_s for one in blocks) if ran_s else None,
            unmeasured={name: self._blocks[name].unmeasured() for name in self.results},
        )

    def order(self, round_number: int) -> list[str]:
        """Return the models of a round, shuffled by seed and round."""
        rng = np.random.default_rng((self._seed, round_number))
        return [self._active[i] for i in rng.permutation(len(self._active))]

    def run_block(self, name: str, job: Job) -> None:
        """Run one block and take in its samples, or its failure."""
        try:
            value = run_child(self._executor, job, self.models[name])
        except AutotuneError as error:
            if self._on_failure is None:
                raise
            self._active.remove(name)
            self.results.pop(name, None)
            self._on_failure(name, error)
            return
        self._blocks[name].add(value)
        self.results[name] = self._blocks[name].measurements(seed=self._seed)
        if self._stop_when is not None and self._stop_when(name, self.results[name]):
            self._active.remove(name)
