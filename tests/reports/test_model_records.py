"""eval_results.json and provenance.json: the report's own numbers, of their published forms."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from autotune.plain import to_plain
from autotune.reports import (
    SCHEMA_DIR,
    DecisionRule,
    build_report,
    eval_results,
    provenance,
    write_model_folder,
)

from .long_record import chosen, long_context, long_events
from .record import CHOSE_NONE, TUNED_INT4, context, events

REPORT = build_report(context(), events())


def test_the_results_are_those_of_the_report_with_model_and_baseline_apart() -> None:
    found = eval_results(REPORT)
    accuracy = {one.role: one for one in found.results if one.metric == "accuracy"}
    assert {role: one.value for role, one in accuracy.items()} == {"model": 0.925, "baseline": 0.26}
    assert {one.split for one in accuracy.values()} == {"test"}
    assert accuracy["model"].ci95 == pytest.approx((0.895, 0.955))
    assert REPORT.chosen is not None
    assert len([one for one in found.results if one.role == "model"]) == len(REPORT.chosen.metrics)
    assert {one.measured_on for one in found.results if one.role == "model"} == {TUNED_INT4.name}
    assert found.confusion is None
    told = eval_results(build_report(long_context(), long_events()))
    assert told.confusion is not None
    assert told.confusion.n_labels == 4
    assert told.results[0].name == chosen().name


def test_provenance_names_everything_that_made_the_model_and_no_secret() -> None:
    made = provenance(REPORT)
    assert made.base_model.revision_or_digest == "0123456789abcdef0123"
    assert (made.data.digest, made.workload) == ("d" * 64, "f" * 64)
    assert (made.name, made.seed, made.fraction) == (TUNED_INT4.name, 7, 1)
    text = json.dumps(to_plain(made))
    assert "hf_abc" not in text
    assert "user:pw" not in text


def test_a_folder_carries_both_in_their_published_form_within_its_sums(tmp_path: Path) -> None:
    built = tmp_path / "built"
    built.mkdir()
    (built / "genai_config.json").write_text("{}")
    rule = DecisionRule(
        kind="generation", template="{a}{b}", literals=("", "", ""), fields=("a", "b"),
        eos_ids=(0,), max_new_tokens=4,
    )  # fmt: skip
    folder = tmp_path / "model"
    write_model_folder(folder, built_dir=built, adapter_dir=None, rule=rule, report=REPORT)
    sums = (folder / "SHA256SUMS").read_text()
    for name, schema in (("eval_results", "eval-1.0"), ("provenance", "provenance-1.0")):
        form = json.loads((SCHEMA_DIR / f"{schema}.json").read_text())
        jsonschema.Draft202012Validator(form).validate(
            json.loads((folder / f"{name}.json").read_text())
        )
        assert f"  {name}.json\n" in sums


def test_without_a_choice_there_is_nothing_to_tell() -> None:
    report = build_report(context(decision=CHOSE_NONE), events()[:3])
    for made in (eval_results, provenance):
        with pytest.raises(ValueError, match="the report has none"):
            made(report)
