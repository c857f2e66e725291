"""Tuning here for a machine that only its hardware report knows, and its confirmation there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from autotune.candidate import Precision
from autotune.config import RunConfig
from autotune.confirmation import Confirmation, confirmed, run_confirm
from autotune.errors import OutputError, UsageError
from autotune.export import export_trial
from autotune.measure_model import MeasureRequest
from autotune.measured_folder import open_folder
from autotune.plain import to_plain
from autotune.reports import (
    CensusEntry,
    MeasuredFolder,
    MeasuredWorkload,
    MeasureReport,
    Metric,
    RunReport,
    load_report,
)
from autotune.runner import resume_run
from autotune.steps import OutcomeStatus
from autotune.target_report import TargetMachine, load_target_report
from autotune.targets import stand_in

from .edge_box import (
    CUDA,
    EDGE,
    ENTRIES,
    FP16,
    FP32,
    INT4,
    MODEL,
    REQUESTS,
    edge_box,
    entry,
    tune_for_edge_box,
    written,
)


@pytest.fixture
def machine(tmp_path: Path) -> TargetMachine:
    return load_target_report(written(edge_box(), tmp_path / "edge.json"))


def test_recipes_are_those_measured_there_that_this_machine_can_score(
    machine: TargetMachine,
) -> None:
    recipes, refused = machine.recipes({"cpu"})
    assert recipes == (INT4, FP32, CUDA)
    (reason,) = (one.reason for one in refused)
    assert "edge <box>: fails at its first run" in reason
    assert {one.source for one in refused} == {"edge.json"}


def test_where_no_processor_can_stand_in_the_accuracy_cannot_be_had(machine: TargetMachine) -> None:
    recipes, refused = machine.recipes({"dml", "cuda"})
    assert recipes == (CUDA,)
    reasons = {one.recipe.name: one.reason for one in refused}
    assert "accuracy cannot be had" in reasons[INT4.name]
    assert machine.stand_ins({"dml", "cuda"}) == {}


def test_graphs_that_cannot_run_here_have_a_stand_in_with_the_same_weights(
    machine: TargetMachine,
) -> None:
    assert machine.stand_ins({"cpu"}) == {CUDA.name: replace(CUDA, provider="cpu")}
    assert machine.stand_ins({"cpu", "cuda"}) == {}
    half = replace(FP16, provider="cuda")
    assert stand_in(half) == FP32
    shader = replace(INT4, provider="webgpu", activations=Precision.FP32)
    assert stand_in(shader) == INT4


def test_costs_are_the_census_with_its_origin_and_nothing_that_training_changes(
    machine: TargetMachine,
) -> None:
    costs = machine.costs()[INT4.name]
    assert set(costs) == {"latency.p50", "latency.p95", "load", "memory", "size"}
    assert costs["latency.p95"].value == pytest.approx(1.2 * 0.5 / 12)
    assert costs["latency.p95"].method.startswith(f"measured on {EDGE}, 2026-11-23T20:00:00Z: ")
    assert FP16.name not in machine.costs()


@pytest.mark.parametrize(
    ("model", "workload", "what"), [("0" * 40, REQUESTS, "model"), (MODEL, "0" * 64, "requests")]
)
def test_a_census_of_something_else_is_refused_with_both_and_the_way_out(
    machine: TargetMachine, model: str, workload: str, what: str
) -> None:
    machine.check(model=MODEL, workload=REQUESTS)
    with pytest.raises(UsageError) as caught:
        machine.check(model=model, workload=workload)
    text = str(caught.value)
    assert f"other {what} than this run" in text
    assert "0000000000000000" in text
    assert (MODEL if what == "model" else REQUESTS)[:16] in text
    assert "same --model, --data, --template and --seed" in text


def _without_census(path: Path) -> None:
    written(replace(edge_box(), census=None), path)


def _cut_off(path: Path) -> None:
    path.write_text(path.read_text()[:-100])


def _edited(path: Path) -> None:
    path.write_text(path.read_text().replace("fails at its first run", "runs"))


def _newer(path: Path) -> None:
    path.write_text(path.read_text().replace('"schema_version": "1.0"', '"schema_version": "9.0"'))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_without_census, "has no census; take one there"),
        (_cut_off, "no whole JSON document"),
        (_edited, "not the one that was written"),
        (_newer, "schema version '9.0'"),
    ],
)
def test_a_report_that_cannot_be_trusted_is_refused(
    damage: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "edge.json"
    written(edge_box(), path)
    damage(path)
    with pytest.raises(UsageError, match=words):
        load_target_report(str(path))


def test_a_census_of_which_nothing_can_be_scored_here_is_refused(tmp_path: Path) -> None:
    report = edge_box(
        entries=(entry(FP16, status=OutcomeStatus.CRASHED, reason="it died", metrics={}),)
    )
    machine = load_target_report(written(report, tmp_path / "gpu.json"))
    with pytest.raises(UsageError, match=r"no recipe that can be tried here.*crashed on edge"):
        machine.recipes({"cpu"})


# A whole run for the edge box


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A run for the edge box and how it ended."""

    folder: Path
    code: int

    @property
    def report(self) -> RunReport:
        return load_report(self.folder / "report.json")


@pytest.fixture(scope="module")
def tuned(
    tiny_model_dir: Path, tiny_built_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Tuned:
    """Tune the tiny model for the edge box, on which fp32 is too slow."""
    del tiny_built_dir  # skips where the builder is absent
    place = tmp_path_factory.mktemp("for-the-edge")
    return _tuned(tiny_model_dir, place, [one for one in ENTRIES if one.recipe != CUDA])


def _tuned(tiny_model_dir: Path, place: Path, entries: Sequence[CensusEntry]) -> Tuned:
    code = tune_for_edge_box(tiny_model_dir, place, entries)
    return Tuned(folder=place / "run", code=code)


def test_a_run_for_another_machine_awaits_its_confirmation(tuned: Tuned) -> None:
    report = tuned.report
    assert (tuned.code, report.outcome) == (1, "unconfirmed")
    assert report.device == f"cpu: {EDGE}"
    assert report.hardware["processor"]["model"]["value"] == "Edge CPU"
    assert report.chosen is not None
    assert report.chosen.recipe == INT4
    latency = report.chosen.metrics["latency.p95"]
    assert latency.value == pytest.approx(0.05)
    assert latency.method.startswith(f"measured on {EDGE}, ")
    assert report.chosen.metrics["accuracy"].split == "test"
    # The size is of what was built, not what the census says.
    assert report.chosen.metrics["size"].value < 1e8
    assert {one.name for one in report.refused} == {FP16.name}
    notes = " ".join(report.notes)
    assert "accuracy is a proxy: instruction sets" in notes
    assert "awaits confirmation on edge <box>" in notes
    assert report.chosen.name in notes
    assert (tuned.folder / "model" / "run.py").is_file()


@pytest.mark.slow
def test_a_model_for_a_gpu_that_is_not_here_is_built_and_scored_by_proxy(
    tiny_model_dir: Path, tiny_built_dir: Path, tmp_path: Path
) -> None:
    del tiny_built_dir
    gpu = _tuned(tiny_model_dir, tmp_path, [entry(CUDA, weights_bytes=0.5e9)])
    report = gpu.report
    assert (gpu.code, report.outcome, report.device) == (1, "unconfirmed", f"cuda: {EDGE}")
    assert report.chosen is not None
    assert report.chosen.recipe == CUDA
    accuracy = report.chosen.metrics["accuracy"]
    assert accuracy.method.startswith("proxy: scored as cpu-int4-b32-acc0, since no graph of cuda-")
    assert report.chosen.metrics["size"].value == 0.5e9  # of its census, no stand-in's
    assert "(cpu-int4-b32-acc0 for cuda-int4-b32-acc0)" in " ".join(report.notes)
    config = json.loads((gpu.folder / "model" / "genai_config.json").read_text())
    (options,) = config["model"]["decoder"]["session_options"]["provider_options"]
    assert list(options) == ["cuda"]


def _record(tuned: Tuned, *, latency: float) -> MeasureReport:
    """Return what ``autotune measure`` on the edge box would have written."""
    folder = open_folder(tuned.folder / "model")
    report = tuned.report
    return MeasureReport(
        created="2026-11-24T08:00:00+00:00",
        command=("autotune", "measure"),
        seed=0,
        versions={},
        model=MeasuredFolder(
            name=folder.name, digest=folder.digest, checked_files=9, base_model=None
        ),
        workload=MeasuredWorkload(
            digest=report.workload.digest,
            requests=64,
            kind="classification",
            statement="batch 1",
            as_in_run=True,
        ),
        target="cpu",
        rounds=4,
        device=f"cpu: {EDGE}",
        hardware=report.hardware,
        conditions={},
        grade="C",
        grade_reasons=("another process ran",),
        metrics={
            "latency.p95": Metric(
                value=latency, unit="s", n=64, ci95=(0.98 * latency, 1.02 * latency)
            )
        },
        samples={},
    )


@pytest.mark.parametrize(
    "case",
    [(0.06, "feasible", 0), (0.099, "uncertain", 1), (0.2, "infeasible", 1)],
)
def test_the_measurement_from_there_decides(
    tuned: Tuned, case: tuple[float, str, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latency, outcome, code = case
    run, record = tmp_path / "run", tmp_path / "measured.json"
    shutil.copytree(tuned.folder, run)
    record.write_text(json.dumps(to_plain(_record(tuned, latency=latency))))
    confirmation = Confirmation(run=run, source=record)
    ended = run_confirm(run / "model", MeasureRequest(), confirmation, output=None, as_json=False)
    report = load_report(run / "report.json")
    assert (ended, report.outcome) == (code, outcome)
    model = report.chosen if code == 0 else report.nearest_miss
    assert model is not None
    assert model.metrics["latency.p95"].value == latency
    assert "accuracy" in model.metrics
    assert "memory" not in model.metrics  # the census's, and not measured again
    assert f"Confirmation: {outcome}" in report.notes[-1]
    assert EDGE in report.notes[-1]
    assert "another process ran" in report.notes[-1]
    assert "Confirm on the target" not in capsys.readouterr().out
    # What was judged once can be measured again.
    again = _record(tuned, latency=0.05)
    assert confirmed(report, again).outcome == "feasible"


def _elsewhere(made: MeasureReport) -> MeasureReport:
    processor = {"model": {"value": "Desk CPU"}, "usable_cores": {"value": 16.0}}
    return replace(made, hardware={"processor": processor})


def _other_requests(made: MeasureReport) -> MeasureReport:
    return replace(made, workload=replace(made.workload, digest="0" * 64))


def _other_model(made: MeasureReport) -> MeasureReport:
    return replace(made, model=replace(made.model, digest="0" * 64))


def _other_provider(made: MeasureReport) -> MeasureReport:
    return replace(made, target="cuda")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_elsewhere, "The run is for .*Edge CPU.*Desk CPU"),
        (_other_requests, "measured were '000000000000'"),
        (_other_model, "with the digest '000000000000'"),
        (_other_provider, "built for 'cpu', measured was on 'cuda'"),
    ],
)
def test_a_measurement_of_something_else_confirms_nothing(
    tuned: Tuned, change: Callable[[MeasureReport], MeasureReport], words: str, tmp_path: Path
) -> None:
    record = tmp_path / "measured.json"
    record.write_text(json.dumps(to_plain(change(_record(tuned, latency=0.05)))))
    confirmation = Confirmation(run=tuned.folder, source=record)
    with pytest.raises(UsageError, match=words):
        run_confirm(
            tuned.folder / "model", MeasureRequest(), confirmation, output=None, as_json=False
        )
    assert tuned.report.outcome == "unconfirmed"


def test_measuring_here_asks_the_requests_of_the_run_and_is_no_confirmation_for_there(
    tuned: Tuned,
) -> None:
    # Only the machine differs: model and requests were found to be the run's before.
    with pytest.raises(UsageError, match=r"The run is for .*Edge CPU"):
        run_confirm(
            tuned.folder / "model",
            MeasureRequest(rounds=1),
            Confirmation(run=tuned.folder),
            output=None,
            as_json=False,
        )
    assert tuned.report.outcome == "unconfirmed"


@pytest.mark.parametrize("left", [None, '{"schema": "autotune.run", "sch'])
def test_a_run_that_was_stopped_between_its_model_and_its_report_is_resumed(
    left: str | None, tuned: Tuned, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tuned.folder, run)
    (run / "report.json").unlink()
    if left is not None:
        (run / "report.json").write_text(left, encoding="utf-8")
    with pytest.raises(UsageError, match=r"`autotune resume .*run` writes it"):
        export_trial(run, 0)
    before = (run / "model" / "autotune.json").read_bytes()
    report = resume_run(run)
    assert report.chosen == tuned.report.chosen
    assert load_report(run / "report.json") == report
    assert (run / "model" / "autotune.json").read_bytes() == before
    with pytest.raises(UsageError, match="is finished"):
        resume_run(run)


def test_a_model_folder_of_another_choice_is_not_replaced(tuned: Tuned, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tuned.folder, run)
    (run / "report.json").unlink()
    about = json.loads((run / "model" / "autotune.json").read_text(encoding="utf-8"))
    text = json.dumps(about | {"name": "somebody's"})
    (run / "model" / "autotune.json").write_text(text, encoding="utf-8")
    with pytest.raises(OutputError, match="model"):
        resume_run(run)
    assert (run / "model" / "autotune.json").read_text(encoding="utf-8") == text


def test_another_model_folder_is_refused(tuned: Tuned, tiny_built_dir: Path) -> None:
    with pytest.raises(UsageError, match="is not the model of"):
        run_confirm(
            tiny_built_dir,
            MeasureRequest(),
            Confirmation(run=tuned.folder),
            output=None,
            as_json=False,
        )


def test_a_run_that_measured_itself_needs_no_confirmation(tuned: Tuned, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tuned.folder, run)
    replace(RunConfig.load(run / "run.json"), target_report=None).save(run / "run.json")
    with pytest.raises(UsageError, match="measured its models itself"):
        run_confirm(
            run / "model", MeasureRequest(), Confirmation(run=run), output=None, as_json=False
        )
