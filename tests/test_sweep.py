"""A sweep of the tiny model for real: trained, built, timed, interrupted and gone on with."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest

from autotune.cli import main
from autotune.config import Bounds, resolve_config
from autotune.passes import ArtifactStore
from autotune.plain import digest, to_plain
from autotune.reports import json_schema, load_sweep_report
from autotune.session import Session, prepare
from autotune.step_runner import StepRunner
from autotune.steps import ScoreStep, TrainStep
from autotune.sweep_flags import read_space
from autotune.sweep_plan import Place, SweepPlan, SweepRequest, choose_recipes
from autotune.sweep_record import report_of
from autotune.targets import LocalExecutor

RECIPES = ("cpu-fp32", "cpu-int4-b32")
RATE, HOPELESS = "0.005", "1e+30"
TEMPLATE = r"{text}\nTone:{tone}"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for children")


def flags(**changes: str) -> list[str]:
    """Return the words of the sweep; ``changes`` by flag, an empty one is left out."""
    given = {
        "--target": "cpu",
        "--model": "model",
        "--data": "rows.csv",
        "--template": TEMPLATE,
        "--learning-rates": f"{RATE},{HOPELESS}",
        "--ranks": "4",
        "--recipes": ",".join(RECIPES),
        "--epochs": "3",
        "--rounds": "2",
        "--output": "table.csv",
        **{f"--{name.replace('_', '-')}": value for name, value in changes.items()},
    }
    return ["sweep", *(word for pair in given.items() if pair[1] for word in pair)]


@dataclass(frozen=True, kw_only=True)
class Swept:
    """A sweep that was interrupted and gone on with; read only.

    ``after`` is the table's content at either end, ``said`` what was printed.
    """

    folder: Path
    after: tuple[str, str]
    codes: tuple[int, int]
    said: tuple[str, str]

    @property
    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(self.after[1].splitlines()))

    def row(self, method: str, rate: str, recipe: str, rung: float) -> dict[str, str]:
        (found,) = [
            row
            for row in self.rows
            if (row["x_method"], row["x_learning_rate"], row["recipe"], float(row["rung"]))
            == (method, rate, recipe, rung)
        ]
        return found


def _wait_for_rows(table: Path, n_rows: int, process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + 120
    while not table.exists() or table.read_text().count("\n") < 1 + n_rows:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.fixture(scope="module")
def swept(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    for module in ("onnx_ir", "onnxruntime_genai", "bitsandbytes"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed (extra 'cpu')")
    folder = tmp_path_factory.mktemp("sweep")
    shutil.copytree(tiny_model_dir, folder / "model")
    rows = [f"news of day {i},{('joy', 'fear')[i % 2]}\n" for i in range(90)]
    (folder / "rows.csv").write_text("text,tone\n" + "".join(rows), encoding="utf-8")
    command = [sys.executable, "-m", "autotune", *flags()]
    environment = {**os.environ, "AUTOTUNE_CACHE": str(folder / "store")}
    table = folder / "table.csv"
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs inherit an ignored SIGINT; a user's do not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads
    ) as process:
        try:
            _wait_for_rows(table, len(RECIPES), process)
            process.send_signal(signal.SIGINT)  # the first training imports torch meanwhile
            _, first = process.communicate(timeout=60)
        finally:
            process.kill()
    interrupted = table.read_text(encoding="utf-8")
    second = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return Swept(
        folder=folder,
        after=(interrupted, table.read_text(encoding="utf-8")),
        codes=(process.returncode, second.returncode),
        said=(first, second.stderr + second.stdout),
    )


@pytest.fixture
def at_home(swept: Swept, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in the folder of the sweep, with its store."""
    monkeypatch.chdir(swept.folder)
    monkeypatch.setenv("AUTOTUNE_CACHE", str(swept.folder / "store"))
    return swept.folder


Autotune = Callable[[list[str]], tuple[int, str, str]]


@pytest.fixture
def autotune(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Autotune:
    """Run the command line in this process; gives exit code, stdout, stderr."""

    def run(words: list[str]) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["autotune", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err

    return run


def test_an_interrupt_leaves_whole_rows_and_says_how_to_go_on(swept: Swept) -> None:
    assert swept.codes[0] == 130
    assert "Interrupted; 2 rows are in 'table.csv'. Go on with: autotune sweep" in swept.said[0]
    assert "Traceback" not in swept.said[0]
    assert [line.split(",")[4] for line in swept.after[0].splitlines()[1:]] == list(RECIPES)


def test_the_same_command_goes_on_after_the_rows_that_are_there(swept: Swept) -> None:
    assert swept.codes[1] == 0, swept.said[1]
    assert "2 of them in the table already" in swept.said[1]
    assert swept.after[1].startswith(swept.after[0])
    keys = [tuple(list(row.values())[:6]) for row in swept.rows]
    assert len(set(keys)) == len(keys) == 2 + 2 * (3 + 2 + 1)


def test_rows_of_a_training_hold_its_loss_at_every_rung(swept: Swept) -> None:
    for method in ("lora", "qlora"):
        rungs = [swept.row(method, RATE, "", rung) for rung in (1 / 9, 1 / 3, 1.0)]
        losses = [float(row["loss"]) for row in rungs]
        assert losses == sorted(losses, reverse=True)
        assert [row["probe_nll"] for row in rungs] == [row["loss"] for row in rungs]
        assert all(float(row["cost_train_s"]) > 0 for row in rungs)
        assert {row["m_accuracy"] + row["m_latency_ms"] + row["cost_build_s"] for row in rungs} == {
            ""
        }


def test_rows_of_a_recipe_hold_the_built_model_on_the_whole_validation_split(swept: Swept) -> None:
    for recipe in RECIPES:
        untrained = swept.row("none", "", recipe, 0.0)
        assert untrained["rows"] == "18"  # a fifth of 90
        for method in ("lora", "qlora"):
            row = swept.row(method, RATE, recipe, 1.0)
            last = swept.row(method, RATE, "", 1.0)
            assert (row["status"], row["rows"]) == ("measured", "18")
            assert float(row["loss"]) < float(untrained["loss"])
            assert 0 <= float(row["m_accuracy"]) <= 1
            assert (row["probe_nll"], row["cost_train_s"]) == (
                last["probe_nll"],
                last["cost_train_s"],
            )
            assert float(row["cost_build_s"]) > float(row["cost_merge_s"]) > 0


def test_running_costs_are_those_of_the_untrained_model_with_the_same_recipe(swept: Swept) -> None:
    columns = ("m_latency_ms", "m_latency_p50_ms", "m_ttft_ms", "m_memory_mb")
    seen = set()
    for recipe in RECIPES:
        rows = [r for r in swept.rows if r["recipe"] == recipe and r["status"] == "measured"]
        (shared,) = {tuple(row[name] for name in columns) for row in rows}
        assert all(float(value) > 0 for value in shared)
        assert float(shared[0]) >= float(shared[1])
        seen.add(shared)
    assert len(seen) == len(RECIPES)


def test_a_training_that_diverged_has_its_status_and_cost_and_no_other_number(swept: Swept) -> None:
    rows = [row for row in swept.rows if row["x_learning_rate"] == HOPELESS]
    assert [(row["x_method"], row["status"], row["recipe"]) for row in rows] == [
        ("lora", "diverged", ""),
        ("qlora", "diverged", ""),
    ]
    for row in rows:
        assert float(row["cost_train_s"]) > 0
        assert "use a lower learning rate" in row["reason"]
        assert str(swept.folder) not in row["reason"]
        assert ".log" not in row["reason"]
        numbers = [name for name in row if name.startswith("m_")] + ["loss", "probe_nll", "rows"]
        assert {row[name] for name in numbers} == {""}


def test_the_end_is_told_by_recipe_with_the_count_of_failures(swept: Swept) -> None:
    assert "Rows without numbers: 2 diverged" in swept.said[1]
    for recipe in RECIPES:
        assert recipe in swept.said[1].rpartition("Accuracy")[2]


def test_the_report_says_what_the_table_is_about_and_names_no_place(swept: Swept) -> None:
    text = (swept.folder / "table.json").read_text(encoding="utf-8")
    jsonschema.validate(json.loads(text), json_schema("sweep-1.0"))
    report = load_sweep_report(swept.folder / "table.json")
    assert list(report.columns) == swept.after[1].splitlines()[0].split(",")
    assert {row["instance"] for row in swept.rows} == {report.instance} == {"model rows"}
    assert [recipe.name for recipe in report.recipes] == list(RECIPES)
    assert len(report.adapters) == 4
    assert not any("dequantised" in note for note in report.notes)
    assert str(swept.folder) not in text


def test_graphs_and_merged_weights_go_with_their_rows_and_checkpoints_stay(swept: Swept) -> None:
    made = {name: [*(swept.folder / "store" / name).glob("*/*")] for name in ("build", "merge")}
    assert (len(made["build"]), len(made["merge"])) == (len(RECIPES), 0)
    assert len([*(swept.folder / "store" / "finetune").glob("*/*")]) == 2 * 3


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The sweep's session and what reads its store."""

    request: SweepRequest
    session: Session
    plan: SweepPlan
    steps: StepRunner


@pytest.fixture
def prepared(at_home: Path) -> Iterator[Prepared]:
    config = resolve_config(
        target="cpu",
        model="model",
        data="rows.csv",
        template=TEMPLATE,
        kind=None,
        validation_data=None,
        test_data=None,
        bounds=Bounds(),
        budget=None,
        trials=1,
        sampler="grid",
        seed=0,
        trust_remote_code=False,
    )
    space = read_space(
        methods="lora,qlora",
        learning_rates=RATE,
        ranks="4",
        merge_bases="dequantized",
        epochs=3.0,
        seed=0,
    )
    store = ArtifactStore()
    with LocalExecutor() as executor:
        session = prepare(config, executor=executor, store=store, log_dir=at_home)
        recipes = choose_recipes(session.settings.recipes, (), RECIPES)
        plan = SweepPlan(instance="model rows", space=space, recipes=recipes)
        bench = session.bench(store=store, executor=executor, log_dir=at_home)
        bench = replace(bench, rungs=plan.rungs, census_rows=len(bench.validation.rows))
        yield Prepared(
            request=SweepRequest(config=config, space=space, output=at_home / "table.csv"),
            session=session,
            plan=plan,
            steps=StepRunner(bench),
        )


def test_what_is_taken_from_the_store_costs_what_it_once_cost(
    swept: Swept, prepared: Prepared
) -> None:
    for adapter in prepared.plan.adapters:
        for rung in prepared.plan.rungs:
            outcome = prepared.steps.run(TrainStep(adapter=adapter, fraction=rung))
            row = swept.row(adapter.method, RATE, "", rung)
            assert outcome.stage_s == {}
            assert round(outcome.recorded_s["finetune"], 3) == float(row["cost_train_s"])
    for place in prepared.plan.places(None):
        outcome = prepared.steps.run(ScoreStep(candidate=place.candidate))
        row = swept.row("none", "", place.candidate.recipe.name, 0.0)
        assert outcome.stage_s == {}
        assert round(sum(outcome.recorded_s.values()), 3) == float(row["cost_build_s"])


def test_adapters_that_differ_in_what_they_are_merged_into_share_their_training(
    prepared: Prepared,
) -> None:
    qlora = next(a for a in prepared.plan.adapters if a.method == "qlora")
    assert qlora.merge_base == "dequantized"
    outcome = prepared.steps.run(TrainStep(adapter=replace(qlora, merge_base="full"), fraction=1.0))
    assert outcome.reused == ("finetune",) * 3


def test_a_quantised_origin_of_the_weights_is_noted_by_its_types(prepared: Prepared) -> None:
    source = prepared.session.source
    for types, expected in ((["F32", "Q4_1", "Q6_K"], "from Q4_1, Q6_K:"), (["BF16", "F32"], "")):
        artifact = replace(source.artifact, facts={"tensor_types": types})
        session = replace(prepared.session, source=replace(source, artifact=artifact))
        notes = report_of(prepared.request, session, prepared.plan).notes
        said = [note for note in notes if "dequantised" in note]
        assert [expected in note for note in said] == ([True] if expected else [])


def test_a_finished_table_is_left_as_it_is(
    swept: Swept,
    at_home: Path,
    autotune: Autotune,
) -> None:
    code, out, err = autotune(flags())
    assert code == 0
    assert "14 of them in the table already" in err
    assert RECIPES[0] in out
    assert (at_home / "table.csv").read_text(encoding="utf-8") == swept.after[1]


CHANGES = [
    ({"data": "other.csv"}, "data was "),
    ({"learning_rates": RATE}, "learning rates was '0.005, 1e+30' and is '0.005' now"),
    ({"rounds": "3"}, "rounds was '2' and is '3' now"),
    ({"recipes": "cpu-fp32"}, "recipes was 'cpu-fp32, cpu-int4-b32' and is 'cpu-fp32' now"),
    ({"seed": "1"}, "was"),
]


@pytest.mark.parametrize(("changes", "words"), CHANGES, ids=lambda x: str(x)[:20])
def test_a_table_of_another_sweep_is_refused_with_the_differing_fact(
    swept: Swept,
    at_home: Path,
    changes: dict[str, str],
    words: str,
    autotune: Autotune,
) -> None:
    rows = (at_home / "rows.csv").read_text(encoding="utf-8")
    (at_home / "other.csv").write_text(rows.replace("day 7,", "week 7,"), encoding="utf-8")
    code, out, err = autotune(flags(**changes))
    last = err.splitlines()[-1]
    assert (code, out) == (2, "")
    assert last.startswith("autotune: usage: 'table.csv' is of another sweep: ")
    assert words in last
    assert "choose another --output" in last
    assert (at_home / "table.csv").read_text(encoding="utf-8") == swept.after[1]


def test_a_plan_is_printed_and_nothing_left_behind(at_home: Path, autotune: Autotune) -> None:
    before = {path.name for path in at_home.iterdir()}
    words = [*flags(output="planned.csv", ranks="4,8"), "--dry-run"]
    code, out, _ = autotune(words)
    assert code == 0
    for part in ("census of 2 recipes", "4 trainings, lora, 3 epochs, 3 rungs", "16 models"):
        assert part in out
    assert "42 rows, 0 of them in the table" in " ".join(out.split())
    assert {path.name for path in at_home.iterdir()} == before


def test_a_second_sweep_of_one_table_is_refused_at_once(at_home: Path, autotune: Autotune) -> None:
    with ArtifactStore().lock(digest({"sweep": str(at_home / "table.csv")})):
        code, _, err = autotune(flags())
    assert code == 2
    assert "Another sweep is writing 'table.csv'" in err


REQUESTS = [
    ({"output": "table.parquet"}, "a file NAME.csv, got 'table.parquet'"),
    ({"output": "no/table.csv"}, "'no' does not; make it"),
    ({"output": "rows.csv"}, "'rows.json', which would say what sweep it is of, does not"),
    ({"recipes": "cpu-int4-b23", "output": "new.csv"}, "did you mean 'cpu-int4-b32'"),
    ({"recipes": "cpu-fp16", "output": "new.csv"}, "'cpu-fp16' is not built: "),
    ({"recipes": ",", "output": "new.csv"}, "--recipes is a list of values"),
    ({"learning_rates": "0", "output": "new.csv"}, "greater than zero, got '0'"),
]


@pytest.mark.parametrize(("changes", "words"), REQUESTS, ids=lambda x: str(x)[:30])
def test_a_request_that_cannot_work_ends_with_code_2_and_leaves_nothing(
    at_home: Path,
    changes: dict[str, str],
    words: str,
    autotune: Autotune,
) -> None:
    before = {path.name for path in at_home.iterdir()}
    code, out, err = autotune(flags(**changes))
    last = err.splitlines()[-1]
    assert (code, out) == (2, "")
    assert last.startswith("autotune: usage: ")
    assert words in last
    assert {path.name for path in at_home.iterdir()} == before


def test_a_table_whose_rows_are_damaged_is_refused(
    swept: Swept,
    at_home: Path,
    autotune: Autotune,
) -> None:
    (at_home / "cut.csv").write_text(swept.after[1] + "a,b\n", encoding="utf-8")
    shutil.copyfile(at_home / "table.json", at_home / "cut.json")
    code, _, err = autotune(flags(output="cut.csv"))
    assert code == 2
    assert "Line 16 of 'cut.csv'" in err
    assert to_plain(load_sweep_report(at_home / "cut.json"))["table"] == "table.csv"


def test_places_without_a_recipe_are_no_models() -> None:
    with pytest.raises(ValueError, match="nothing is built"):
        _ = Place(adapter=None, rung=0.0, recipe=None).candidate
