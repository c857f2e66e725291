"""What a real run leaves: its page, any of its models as a deploy folder, and checks of that."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autotune.errors import OutputError, UsageError
from autotune.export import export_trial
from autotune.reports import (
    EventLog,
    TrialLog,
    load_hardware_report,
    load_model,
    load_report,
    read_mistakes,
    tried_models,
)
from autotune.validate import run_validate, validate_folder

from .edge_box import FP32, INT4, entry, tune_for_edge_box

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(
    tiny_model_dir: Path, tiny_built_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Tune the tiny model for a box on which both recipes are fast enough."""
    del tiny_built_dir  # skips where the builder is absent
    place = tmp_path_factory.mktemp("living")
    entries = [entry(one, weights_bytes=0.5e9) for one in (INT4, FP32)]
    code = tune_for_edge_box(tiny_model_dir, place, entries, trials=2)
    assert code == 1  # it awaits its confirmation
    return place / "run"


def _other_trial(run: Path) -> int:
    """Return the trial of a trained model that was not chosen."""
    report = load_report(run / "report.json")
    events = EventLog(run / "events.jsonl").read()
    models = tried_models(report, events)
    return next(m.trial for m in models if m.model.adapter is not None and m.role != "chosen")


def test_a_run_leaves_its_page_with_the_losses_of_its_training(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    assert re.search(r"Loss of \d trainings by step", page)
    assert str(run) in page
    trials = TrialLog(run / "trials.jsonl").read()
    for trial in trials:
        assert f"autotune export {run} --trial {trial.number}" in page


def test_the_wrong_answers_of_the_test_split_are_those_that_were_counted(run: Path) -> None:
    report, events = load_report(run / "report.json"), EventLog(run / "events.jsonl").read()
    assert report.chosen is not None
    accuracy = report.chosen.metrics["accuracy"]
    mistakes = read_mistakes(run / "mistakes.jsonl")
    assert mistakes is not None
    assert len(mistakes) == round(accuracy.n * (1 - accuracy.value))
    assert all(one.reference != one.answered for one in mistakes)
    assert all(one.prompt.startswith("### Text: news of day ") for one in mistakes)
    # Answers stand in the journal for the test alone; a search would repeat them needlessly.
    assert [bool(event.outcome.answers) for event in events].count(True) == 1
    assert "news of day" not in (run / "report.json").read_text(encoding="utf-8")


def _changed(run: Path, **changes: object) -> None:
    """Change what ``run.json`` and ``identity.json`` say, each where it has the key."""
    for name in ("run.json", "identity.json"):
        told = json.loads((run / name).read_text(encoding="utf-8"))
        told |= {key: value for key, value in changes.items() if key in told}
        (run / name).write_text(json.dumps(told), encoding="utf-8")


def test_any_model_can_be_had_as_a_deploy_folder_that_runs(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(run, moved, ignore=shutil.ignore_patterns("model*"))
    # A machine that is slower now plans otherwise, and has no time for a whole search.
    _changed(moved, settings="of a quieter day", budget_s=1.0)
    chosen, run, number = run / "model", moved, _other_trial(run)
    folder = export_trial(run, number)
    assert folder == run / f"model-{number}"
    told = load_model(folder)
    assert told.metrics["accuracy"].split == "validation"
    assert told.baseline_metrics["accuracy"].split == "validation"
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    hardware = load_hardware_report(folder / "hardware.json")
    assert hardware == load_hardware_report(chosen / "hardware.json")
    assert hardware.census is not None
    assert "base_model" in (folder / "adapter" / "adapter_config.json").read_text("utf-8")
    done = subprocess.run(
        [sys.executable, str(folder / "run.py"), "news of day 3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] in ("joy", "fear", "sadness")
    with pytest.raises(OutputError, match="exists and nothing is overwritten"):
        export_trial(run, number)


def test_a_trial_that_is_not_there_or_a_run_that_changed_is_refused(
    run: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"numbered 0 to \d+, got 99; `autotune show"):
        export_trial(run, 99)
    moved = tmp_path / "moved"
    shutil.copytree(run, moved, ignore=shutil.ignore_patterns("model*"))
    _changed(moved, data="other")
    (moved / "run.json").write_bytes((run / "run.json").read_bytes())
    with pytest.raises(UsageError, match=r"but data was 'other' and is"):
        export_trial(moved, 0)
    (moved / "trials.jsonl").unlink()
    with pytest.raises(UsageError, match="has no finished trial to export"):
        export_trial(moved, 0)
    assert not list(moved.glob("model*"))


def test_a_deploy_folder_is_validated_and_its_times_are_not_compared_across_machines(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(run.parent / "tones.jsonl")
    assert run_validate(run / "model", target=None, data=data, rounds=1, as_json=False) == 0
    out = capsys.readouterr().out
    assert re.search(r"✓ digests: pass, \d+ files as SHA256SUMS says", out)
    assert "✓ provider: pass, it ran on cpu, all of it" in out
    assert "- latency.p50: not checked, published on 'cpu: Edge CPU" in out


def test_without_the_data_times_are_not_compared_and_the_way_out_is_said(run: Path) -> None:
    found = validate_folder(run / "model", rounds=1)
    assert found.holds
    timed = [one for one in found.checks if one.name == "latency.p50"]
    assert [one.status for one in timed] == ["not_checked"]
    assert "give the run's data with --data" in timed[0].detail


def test_a_damaged_folder_fails_before_anything_runs(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(run / "model", folder)
    (folder / "run.py").write_text("print('mine')\n", encoding="utf-8")
    assert run_validate(folder, target=None, data=None, rounds=1, as_json=True) == 1
    (check,) = validate_folder(folder).checks
    assert (check.name, check.status) == ("digests", "fail")
    assert "'run.py' was" in check.detail
    assert "Nothing was run" in check.detail
    (folder / "autotune.json").unlink()
    with pytest.raises(UsageError, match=r"has an autotune\.json"):
        validate_folder(folder)


def test_a_provider_that_is_not_here_is_a_failure_with_code_3(run: Path) -> None:
    code = run_validate(
        run / "model", target="cpu@/no/such/python", data=None, rounds=1, as_json=True
    )
    assert code == 3
