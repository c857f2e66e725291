"""Trainings on GPUs that would be idle: of what the search is likely to ask for next.

They go into the store under the keys that the run will ask for, so the search itself stays
as it is with one GPU, step by step, and so does its record: a step whose training is done
already takes no time. Nothing is trained while anything is timed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autotune.errors import AutotuneError
from autotune.lineage import Lineage, StageLedger
from autotune.search import SearchSettings, likely_trainings
from autotune.step_bench import Bench
from autotune.steps import Event, ScoreStep, Step, TrainStep
from autotune.targets import Executor, Fact, Gpu, Job, JobResult, LocalExecutor, read_nvidia
from autotune.units import format_duration

__all__ = ["TrainingsAhead", "idle_gpus"]

_VISIBLE = "CUDA_VISIBLE_DEVICES"
# Trainings that were made and not asked for yet, for each device: guesses get worse with their
# distance, and each takes disk.
_MOST_UNASKED = 2


def idle_gpus(
    trains_on: str,
    environment: Mapping[str, str],
    *,
    read: Callable[[], Fact[tuple[Gpu, ...]]] = read_nvidia,
) -> tuple[dict[str, str], ...]:
    """Return for each GPU beside the first the variables by which a worker sees it alone.

    None where GPUs differ by name, since what is trained would not be the same on all, or
    where one is split (MIG).

    Args:
        trains_on: as ``training_device`` says it.
        environment: of this process; ``CUDA_VISIBLE_DEVICES`` says which GPUs are ours.
        read: asks the driver.
    """
    gpus = read().value or () if trains_on.startswith("cuda") else ()
    if len({gpu.name.value for gpu in gpus}) != 1:
        return ()
    if any((gpu.mig.value or "").lower() == "enabled" for gpu in gpus):
        return ()
    ours = environment.get(_VISIBLE) or ",".join(str(n) for n in range(len(gpus)))
    return tuple({_VISIBLE: one.strip()} for one in ours.split(",")[1:])


@dataclass(frozen=True)
class _Placed:
    """An executor whose jobs see one device."""

    inner: LocalExecutor
    environment: Mapping[str, str]

    def submit(self, job: Job) -> str:
        there = {**job.environment, **self.environment}
        return self.inner.submit(replace(job, environment=there))

    def poll(self, timeout_s: float | None = None) -> JobResult | None:
        return self.inner.poll(timeout_s)

    def cancel(self, handle: str) -> None:
        self.inner.cancel(handle)

    def capabilities(self, interpreter: str = "") -> dict[str, Any]:
        return self.inner.capabilities(interpreter)

    def close(self) -> None:
        self.inner.close()


@dataclass
class _Place:
    """A device, and what it is doing."""

    number: int
    environment: Mapping[str, str]
    executor: Executor | None = None
    thread: threading.Thread | None = None
    step: TrainStep | None = None

    @property
    def is_busy(self) -> bool:
        return self.thread is not None and self.thread.is_alive()


@dataclass
class TrainingsAhead:
    """Keeps devices busy that a run does not use.

    Attributes:
        bench: of the run.
        settings: of its search.
        devices: variables that show a worker one device each; without any nothing is done.
        say: told a line for people about each training, from any thread.
    """

    bench: Bench
    settings: SearchSettings
    devices: Sequence[Mapping[str, str]]
    say: Callable[[str], None]
    _places: list[_Place] = field(init=False, repr=False)
    _made: set[TrainStep] = field(default_factory=set, init=False, repr=False)
    _is_stopping: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        self._places = [_Place(n, one) for n, one in enumerate(self.devices, start=1)]

    def starting(self, step: Step, events: Sequence[Event]) -> None:
        """Take in that the run begins ``step`` after ``events``."""
        if not self._places:
            return
        if not isinstance(step, TrainStep | ScoreStep):
            self.stop()  # timings need a quiet machine
        elif isinstance(step, TrainStep) or step.candidate.adapter is not None:
            self._begin(step, events)

    def _begin(self, step: Step, events: Sequence[Event]) -> None:
        asked = {step, *(event.step for event in events)}
        idle = [place for place in self._places if not place.is_busy]
        n_free = _MOST_UNASKED * len(self._places) - len(self._made - asked)
        if not idle or n_free < 1:
            return
        likely = likely_trainings(
            self.settings,
            events,
            step,
            elapsed_s=events[-1].elapsed_s if events else 0.0,
            most=len(self._places),
            known=self._made,
        )
        # A training under way goes on where it is.
        busy = {place.step.adapter for place in self._places if place.is_busy and place.step}
        wanted = [one for one in likely if one.adapter not in busy]
        for place, wish in zip(idle, wanted[:n_free], strict=False):
            self._train(place, wish)

    def _train(self, place: _Place, step: TrainStep) -> None:
        self._made.add(step)  # or it fails, and would again
        if place.executor is None:
            place.executor = _Placed(LocalExecutor(), place.environment)
        log_dir = self.bench.log_dir / f"device-{place.number}"
        log_dir.mkdir(parents=True, exist_ok=True)
        bench = replace(self.bench, executor=place.executor, log_dir=log_dir)
        place.step = step
        place.thread = threading.Thread(
            target=self._work, args=(Lineage(bench), step, place), daemon=True
        )
        place.thread.start()

    def _work(self, lineage: Lineage, step: TrainStep, place: _Place) -> None:
        ledger, name = StageLedger(), f"{step.adapter.name} to {step.fraction:.0%}"
        try:
            lineage.adapter(step.adapter, step.fraction, ledger)
        except AutotuneError as error:
            # Where the run asks for the same it sees for itself what is wrong.
            if not self._is_stopping:
                self.say(f"Ahead on device {place.number}: {name}: {str(error).splitlines()[0]}")
            return
        if ledger.stage_s:
            took = format_duration(sum(ledger.stage_s.values()))
            self.say(f"Ahead on device {place.number}: {name} is trained [{took}]")

    def stop(self) -> None:
        """End all of it and wait until it has ended; what is half trained is given up."""
        self._is_stopping = True
        # All first: one may wait for what another one is making.
        for place in self._places:
            if place.is_busy and place.step is not None:
                self._made.discard(place.step)
            if place.executor is not None:
                place.executor.close()
        for place in self._places:
            if place.thread is not None:
                place.thread.join()
            place.executor = place.thread = place.step = None
        self._is_stopping = False
