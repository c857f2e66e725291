"""A run with both levers on a tiny model: cut, trained with rounding, built, timed, reported."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from autotune.config import RunConfig
from autotune.lineage import Lineage
from autotune.loop import Loop
from autotune.passes import ArtifactStore
from autotune.publish import publish
from autotune.reports import EventLog, RunReport, load_report
from autotune.search import StagedPlanner
from autotune.session import Session, prepare
from autotune.step_runner import StepRunner
from autotune.steps import Event, OutcomeStatus, ScoreStep, TrainStep
from autotune.targets import LocalExecutor
from autotune.trainings import Trainings

from .edge_box import TEMPLATE
from .tiny_model import make_tiny_model

pytestmark = pytest.mark.slow
_RECIPES = ("cpu-int4-b32", "cpu-int4-b32-l2")
_TONES = ("joy", "fear", "sadness")


def _config(folder: Path) -> RunConfig:
    rows = [{"phrase": f"news of day {n}", "tone": _TONES[n % 3]} for n in range(60)]
    data = folder / "tones.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return RunConfig(
        target="cpu",
        model=str(make_tiny_model(folder / "tiny", layers=3)),
        data=str(data),
        template=TEMPLATE,
        budget_s=None,
        max_trials=3,
        is_demo=False,
        layers=(2,),
        trainings=Trainings(methods=("lora", "qat-lora"), quantisers=("int4-b32",), epochs=1.0),
    )


def _short(session: Session) -> Session:
    """Return the session with one recipe, whole and cut, and one block of each finalist."""
    recipes = tuple(r for r in session.settings.recipes if r.name in _RECIPES)
    settings = replace(session.settings, recipes=recipes, rungs=(1.0,), confirm_rounds=1)
    return replace(session, settings=settings)


def test_cut_models_and_rounded_trainings_go_all_the_way_to_the_report(tmp_path: Path) -> None:
    if not all(map(find_spec, ("torch", "peft", "onnxruntime_genai"))):
        pytest.skip("training or building is not installed (extras 'train', 'cpu')")
    store, events = ArtifactStore(), list[Event]()
    with LocalExecutor() as executor, store.used():
        session = _short(
            prepare(_config(tmp_path), executor=executor, store=store, log_dir=tmp_path)
        )
        bench = session.bench(store=store, executor=executor, log_dir=tmp_path)
        steps = StepRunner(bench)
        done = Loop(
            planner=StagedPlanner(session.settings),
            run_step=steps.run,
            log=EventLog(tmp_path / "events.jsonl"),
            on_start=lambda *_: None,
            on_event=events.append,
        ).run()
        assert done.chosen is not None
        publish(
            session,
            folder=tmp_path,
            created="2026-11-26T06:00:00Z",
            events=events,
            done=done,
            outcome="feasible",
            steps=steps,
            command=("autotune",),
        )
        lineage = Lineage(bench)
        cut = lineage.model(2)
        tuned = [e.step.candidate for e in events if isinstance(e.step, ScoreStep)]
        shipped = {c: lineage.shipped_adapter(c) for c in tuned if c.recipe.layers == 2}
    assert {event.outcome.status for event in events} == {OutcomeStatus.MEASURED}
    assert json.loads((cut.path / "config.json").read_text())["num_hidden_layers"] == 2
    trained = [event.step.adapter for event in events if isinstance(event.step, TrainStep)]
    assert {(adapter.layers, adapter.method) for adapter in trained} >= {
        *((None, "lora"), (2, "lora")),
    }
    assert any(adapter.quantiser == "int4-b32" for adapter in trained)
    for candidate, folder in shipped.items():
        if candidate.adapter is not None:
            assert folder is not None
            config = json.loads((folder / "adapter_config.json").read_text())
            assert config["r"] == 64 + candidate.adapter.rank
    assert any(shipped.values())
    _check_report(load_report(tmp_path / "report.json"))


def _check_report(report: RunReport) -> None:
    levers = {one.lever: one for one in report.levers}
    depth, quantiser = levers["depth"], levers["quantiser"]
    assert depth.best_with is not None
    assert depth.best_without is not None
    assert (depth.best_with.recipe.layers, depth.best_without.recipe.layers) == (2, None)
    assert depth.best_with.metrics["size"].value < depth.best_without.metrics["size"].value
    assert quantiser.best_with is not None
    assert quantiser.best_with.adapter is not None
    assert quantiser.best_with.adapter.quantiser == "int4-b32"
    assert report.baseline is not None
    assert report.baseline.recipe.layers is None
