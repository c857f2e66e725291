"""Training ahead on further devices: which ones there are, what they see, and what a run finds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from autotune import ahead as ahead_module
from autotune.ahead import TrainingsAhead, idle_gpus
from autotune.config import RunConfig
from autotune.passes import ArtifactStore
from autotune.search import PlannerState, StagedPlanner
from autotune.session import prepare
from autotune.step_runner import StepRunner
from autotune.steps import Done, Event, MeasureStep, TrainStep, Wait
from autotune.targets import Fact, Gpu, Job, LocalExecutor, detected, unknown
from autotune.trainings import Trainings

from .edge_box import TEMPLATE
from .tiny_model import make_tiny_model

_ABSENT: Fact[Any] = unknown("not asked")


def _gpu(index: int, name: str = "NVIDIA A100", mig: str = "Disabled") -> Gpu:
    facts: dict[str, Any] = dict.fromkeys(Gpu.__dataclass_fields__, _ABSENT)
    facts |= {"name": detected(name), "mig": detected(mig)}
    return Gpu(**{**facts, "index": index})


@pytest.mark.parametrize(
    ("gpus", "visible", "idle"),
    [
        ([_gpu(0)], None, []),
        ([_gpu(0), _gpu(1), _gpu(2)], None, ["1", "2"]),
        ([_gpu(0), _gpu(1), _gpu(2)], "2, 0", ["0"]),
        ([_gpu(0), _gpu(1)], "GPU-5ebe9f43,GPU-a1", ["GPU-a1"]),
        ([_gpu(0), _gpu(1)], "1", []),
        ([_gpu(0), _gpu(1, "NVIDIA T4")], None, []),
        ([_gpu(0), _gpu(1, mig="Enabled")], None, []),
    ],
)
def test_gpus_beside_the_first_are_idle(
    gpus: list[Gpu], visible: str | None, idle: list[str]
) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    found = idle_gpus("cuda NVIDIA A100", environment, read=lambda: detected(tuple(gpus)))
    assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == idle
    assert idle_gpus("cpu", environment, read=lambda: detected(tuple(gpus))) == ()
    assert idle_gpus("cuda NVIDIA A100", environment, read=lambda: _ABSENT) == ()


def _config(folder: Path, *, epochs: float) -> RunConfig:
    tones = ("joy", "fear", "sadness")
    rows = [{"phrase": f"news of day {n}", "tone": tones[n % 3]} for n in range(60)]
    data = folder / "tones.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return RunConfig(
        target="cpu",
        model=str(make_tiny_model(folder / "tiny")),
        data=str(data),
        template=TEMPLATE,
        budget_s=None,
        max_trials=4,
        is_demo=False,
        trainings=Trainings(methods=("lora",), epochs=epochs),
    )


class _Watched(LocalExecutor):
    """An executor that remembers what it was asked to do."""

    jobs: list[Job] = []  # noqa: RUF012 - one list for all that are made in a test

    def submit(self, job: Job) -> str:
        self.jobs.append(job)
        return super().submit(job)


@pytest.mark.slow
def test_a_run_finds_trained_what_it_asks_for_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not all(map(find_spec, ("torch", "peft", "onnxruntime_genai"))):
        pytest.skip("training or building is not installed (extras 'train', 'cpu')")
    monkeypatch.setattr(ahead_module, "LocalExecutor", _Watched)
    monkeypatch.setattr(_Watched, "jobs", [])
    said: list[str] = []
    store = ArtifactStore()
    with LocalExecutor() as executor, store.used():
        session = prepare(
            _config(tmp_path, epochs=1.0), executor=executor, store=store, log_dir=tmp_path
        )
        recipes = tuple(r for r in session.settings.recipes if r.name == "cpu-int4-b32")
        settings = replace(session.settings, recipes=recipes, rungs=(1.0,))
        session = replace(session, settings=settings)
        bench = session.bench(store=store, executor=executor, log_dir=tmp_path)
        steps, planner = StepRunner(bench), StagedPlanner(settings)
        ahead = TrainingsAhead(
            bench=bench, settings=settings, devices=[{"DEVICE": "second"}], say=said.append
        )
        events: list[Event] = []
        reused: dict[str, tuple[str, ...]] = {}
        while len(reused) < 2:
            step = planner.next(PlannerState(elapsed_s=float(len(events))))
            assert not isinstance(step, Done | Wait)
            ahead.starting(step, events)
            outcome = steps.run(step)
            if isinstance(step, TrainStep):
                reused.setdefault(step.adapter.name, outcome.reused)
            planner.observe(step, outcome)
            n = len(events)
            events.append(
                Event(number=n, step=step, outcome=outcome, started_s=n, elapsed_s=n + 1, at="")
            )
        ahead.stop()
    first, second = reused.values()
    assert first == ()
    assert second == ("finetune",)
    # Which of the two came first to the second training does not matter: it was made once.
    assert any(list(reused)[1] in line and "is trained [" in line for line in said)
    assert {job.environment["DEVICE"] for job in _Watched.jobs} == {"second"}
    assert (tmp_path / "device-1" / "finetune.log").stat().st_size > 0


@pytest.mark.slow
def test_nothing_is_trained_while_anything_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not all(map(find_spec, ("torch", "peft", "onnxruntime_genai"))):
        pytest.skip("training or building is not installed (extras 'train', 'cpu')")
    said: list[str] = []
    store = ArtifactStore()
    with LocalExecutor() as executor, store.used():
        session = prepare(
            _config(tmp_path, epochs=5000.0), executor=executor, store=store, log_dir=tmp_path
        )
        first, *further = (
            TrainStep(adapter=session.settings.space.draw(seed), fraction=session.settings.rungs[0])
            for seed in range(3)
        )
        monkeypatch.setattr(ahead_module, "likely_trainings", lambda *_, **__: tuple(further))
        ahead = TrainingsAhead(
            bench=session.bench(store=store, executor=executor, log_dir=tmp_path),
            settings=session.settings,
            devices=[{"DEVICE": "second"}, {"DEVICE": "third"}],
            say=said.append,
        )
        before = set((store.root / "finetune").rglob("manifest.json"))
        ahead.starting(first, [])
        logs = [tmp_path / f"device-{number}" / "finetune.log" for number in (1, 2)]
        _wait_for(
            lambda: all(log.is_file() and " of 5000: loss" in log.read_text() for log in logs)
        )
        assert len(_workers()) == 2  # nothing ran on the executor of the run itself
        ahead.starting(MeasureStep(candidates=(), rounds=1), [])
        assert _workers() == []
        ahead.stop()  # again is nothing
    assert said == []
    assert set((store.root / "finetune").rglob("manifest.json")) == before


def _workers() -> list[psutil.Process]:
    """Return the processes that this one has started and that are alive."""
    return [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]


def _wait_for(condition: Callable[[], bool], *, limit_s: float = 120.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)
