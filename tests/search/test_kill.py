"""A run that is killed at any moment goes on: real processes, real SIGKILL, fake passes.

The child is forked, so that imports are paid once; it writes the real journal and the real
study file. Its clock is the sum of the outcomes' costs, so that a resumed run decides as an
uninterrupted one would, and every step takes a few real milliseconds, so that kills fall
into steps, writes and decisions alike.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from autotune.constraint import parse_constraint
from autotune.loop import Loop
from autotune.reports import EventLog
from autotune.search import SearchSettings, StagedPlanner, StudyRecord
from autotune.steps import Done, Event, Outcome, ScoreStep, Step, TrainStep

from .world import INT4_B128, INT8, World

pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="forks its children"
)
SETTINGS = SearchSettings(
    recipes=(INT4_B128, INT8),
    constraints=(parse_constraint("latency<=60ms"),),
    max_trials=12,
    min_gain=0.0,
)
STEP_S = 0.002


def _carry_on(folder: Path) -> Done:
    """Resume the run in ``folder``, or begin it, and bring it to its end."""
    log, world = EventLog(folder / "events.jsonl"), World()
    recorded = log.read()
    for event in recorded:  # the checkpoints that real passes would find in the store
        if isinstance(event.step, TrainStep):
            world.trained[event.step.adapter.name] = event.step.fraction
    spent = recorded[-1].elapsed_s if recorded else 0.0

    def run_step(step: Step) -> Outcome:
        nonlocal spent
        time.sleep(STEP_S)
        outcome = world.run(step)
        spent += outcome.cost_s
        return outcome

    with StudyRecord(folder / "study.journal") as study:
        loop = Loop(
            planner=StagedPlanner(SETTINGS, study=study),
            run_step=run_step,
            log=log,
            on_start=lambda _step, _why: None,
            on_event=lambda _event: None,
            clock=lambda: spent,
        )
        loop.replay(recorded, is_new_journal=False)
        return loop.run()


def _in_child(work: Callable[[], object], *, kill_after_s: float | None = None) -> int:
    """Run ``work`` in a forked process, kill it after a while, and return its exit code."""
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    assert child.pid is not None
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode is not None
    return child.exitcode


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """An uninterrupted run, and the seconds that it took in a child."""
    import optuna  # noqa: F401, PLC0415 - before the fork, so that no child pays for it

    folder = tmp_path_factory.mktemp("whole")
    began = time.perf_counter()
    assert _in_child(lambda: _carry_on(folder)) == 0
    return folder, time.perf_counter() - began


def _steps(events: list[Event]) -> list[Step]:
    return [event.step for event in events]


def _trial_numbers(folder: Path) -> list[int]:
    """Return the numbers of the trials in the study file."""
    from optuna import load_study  # noqa: PLC0415 - heavy
    from optuna.storages import JournalStorage  # noqa: PLC0415 - heavy
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415 - heavy

    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    return [trial.number for trial in load_study(study_name=None, storage=storage).trials]


def _check(folder: Path, kept: list[Event], whole: Path) -> None:
    events = EventLog(folder / "events.jsonl").read()
    assert events[: len(kept)] == kept  # nothing that had finished was lost or done again
    expected = EventLog(whole / "events.jsonl").read()
    assert _steps(events) == _steps(expected)  # the choice is in the last of them
    scored = [e.step.candidate.name for e in events if isinstance(e.step, ScoreStep)]
    assert len(scored) == len(set(scored))
    numbers = _trial_numbers(folder)
    assert numbers == list(range(len(numbers)))
    assert numbers == _trial_numbers(whole)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("points", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_points_loses_nothing_and_ends_the_same(
    points: int, whole: tuple[Path, float], tmp_path: Path
) -> None:
    reference, seconds = whole
    random = Random(points)
    journal_lengths = set()
    for point in range(points):
        folder = tmp_path / str(point)
        code = _in_child(lambda f=folder: _carry_on(f), kill_after_s=random.uniform(0, seconds))  # type: ignore[misc]  # a default binds the folder of this round
        assert code in (-signal.SIGKILL, 0)
        kept = EventLog(folder / "events.jsonl").read() if folder.exists() else []
        journal_lengths.add(len(kept))
        assert _in_child(lambda f=folder: _carry_on(f)) == 0  # type: ignore[misc]  # as above
        _check(folder, kept, reference)
    # The kills really fell at different points of the run.
    assert len(journal_lengths) >= min(points, 20) / 2


def test_a_run_killed_again_and_again_still_ends_the_same(
    whole: tuple[Path, float], tmp_path: Path
) -> None:
    reference, seconds = whole
    random = Random(0)
    kept: list[Event] = []
    for _ in range(6):
        code = _in_child(lambda: _carry_on(tmp_path), kill_after_s=random.uniform(0, seconds))
        assert code in (-signal.SIGKILL, 0)
        now = EventLog(tmp_path / "events.jsonl").read()
        assert now[: len(kept)] == kept
        kept = now
    assert _in_child(lambda: _carry_on(tmp_path)) == 0
    _check(tmp_path, kept, reference)


def test_the_journal_names_every_event_once(whole: tuple[Path, float]) -> None:
    lines = (whole[0] / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(range(len(lines)))
    assert len(lines) > 20
