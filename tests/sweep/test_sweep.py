"""The table of a real sweep: every row has the numbers that are its own, and no other."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from autotune.reports import json_schema, load_sweep_report
from autotune.steps import ScoreStep, TrainStep
from autotune.sweep_record import report_of

from .conftest import HOPELESS, RATE, RECIPES, Autotune, Prepared, Swept, flags


@pytest.mark.slow
def test_an_interrupt_leaves_whole_rows_and_says_how_to_go_on(swept: Swept) -> None:
    assert swept.codes[0] == 130
    assert "Interrupted; 2 rows are in 'table.csv'. Go on with: autotune sweep" in swept.said[0]
    assert "Traceback" not in swept.said[0]
    assert [line.split(",")[4] for line in swept.after[0].splitlines()[1:]] == list(RECIPES)


@pytest.mark.slow
def test_the_same_command_goes_on_after_the_rows_that_are_there(swept: Swept) -> None:
    assert swept.codes[1] == 0, swept.said[1]
    assert "2 of them in the table already" in swept.said[1]
    assert swept.after[1].startswith(swept.after[0])
    keys = [tuple(list(row.values())[:6]) for row in swept.rows]
    assert len(set(keys)) == len(keys) == 2 + 2 * (3 + 2 + 1)


@pytest.mark.slow
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


@pytest.mark.slow
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
            assert row["m_distortion"] != untrained["m_distortion"]
            assert (row["probe_nll"], row["cost_train_s"]) == (
                last["probe_nll"],
                last["cost_train_s"],
            )
            assert float(row["cost_build_s"]) > float(row["cost_merge_s"]) > 0


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_end_is_told_by_recipe_with_the_count_of_failures(swept: Swept) -> None:
    assert "Rows without numbers: 2 diverged" in swept.said[1]
    for recipe in RECIPES:
        assert recipe in swept.said[1].rpartition("Accuracy")[2]


@pytest.mark.slow
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


@pytest.mark.slow
def test_graphs_and_merged_weights_go_with_their_rows_and_checkpoints_stay(swept: Swept) -> None:
    made = {name: [*(swept.folder / "store" / name).glob("*/*")] for name in ("build", "merge")}
    assert (len(made["build"]), len(made["merge"])) == (len(RECIPES), 0)
    assert len([*(swept.folder / "store" / "finetune").glob("*/*")]) == 2 * 3


@pytest.mark.slow
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


def test_a_command_is_kept_without_the_places_that_it_names(
    prepared: Prepared, at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["autotune", "sweep", "--data", str(at_home / "rows.csv")])
    report = report_of(prepared.request, prepared.session, prepared.plan)
    assert report.command == ("autotune", "sweep", "--data", "rows.csv")


@pytest.mark.slow
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


def test_the_page_on_sweeps_names_every_column(prepared: Prepared) -> None:
    page = (Path(__file__).parents[2] / "docs" / "sweeping.md").read_text(encoding="utf-8")
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    documented = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    report = report_of(prepared.request, prepared.session, prepared.plan)
    assert documented == {*report.columns, "m_tpot_ms"}
