"""A configuration of 2024, run through the command line on the tiny model."""

from __future__ import annotations

import copy
import json
import shlex
import sys
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from autotune.cli import app, main
from autotune.targets import read_accelerators

from .conftest import OLD, Write

ROOT = Path(__file__).parents[2]


def _run(*words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["autotune", "run", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_commands_in_the_document_are_understood() -> None:
    text = (ROOT / "docs" / "olive.md").read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines() if line.startswith("    autotune ")]
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    assert len(lines) == 5
    for line in lines:
        _, name, *words = shlex.split(line)
        with group.commands[name].make_context(name, words) as context:
            is_ours = line == "autotune run tones.toml"
            named = "tones.toml" if is_ours else "phrase-classification.json"
            assert context.params["config"] == Path(named)


def test_a_template_that_names_no_column_ends_with_code_2_before_anything_runs(
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    template = "data_configs.moods.pre_process.text_template={lime}: {mood}"
    flags = (str(write(OLD)), "--set", template, "--output", "run")
    assert _run(*flags, monkeypatch=monkeypatch) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "the field 'lime'" in last
    assert "'line'" in last
    assert not (tmp_path / "run").exists()


def test_a_gpu_that_is_not_here_ends_with_code_3_before_anything_runs(
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if read_accelerators().nvidia.value:
        pytest.skip("there is a GPU here")
    monkeypatch.chdir(tmp_path)
    document = copy.deepcopy(OLD)
    document["systems"]["here"]["config"]["accelerators"] = ["gpu"]
    before = sorted(tmp_path.iterdir())
    code = _run(str(write(document)), "--output", "run", monkeypatch=monkeypatch)
    assert code == 3
    assert "cuda" in capsys.readouterr().err.splitlines()[-1].lower()
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "olive.json"])


@pytest.mark.slow
def test_a_chain_runs_as_given_and_hands_over_what_it_trained(
    tiny_model_dir: Path,
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("onnxruntime_genai", reason="the builder is of the extra 'cpu'")
    monkeypatch.chdir(tmp_path)
    config = str(write(OLD))
    flags = (config, "--model", str(tiny_model_dir), "--output", "run")
    assert _run(*flags, "--dry-run", monkeypatch=monkeypatch) == 0
    assert not Path("run").exists()
    assert _run(*flags, monkeypatch=monkeypatch) == 0
    said = capsys.readouterr().err
    # Names of another architecture stand for this one's, and that is said.
    assert "target_modules of LlamaForCausalLM: k_proj, o_proj, q_proj, v_proj; qkv_proj" in said
    assert "qkv_proj -> k_proj, q_proj, v_proj" in said
    report = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    adapter = report["chosen"]["adapter"]
    assert (adapter["rank"], adapter["alpha_ratio"], adapter["batch_size"]) == (4, 2.0, 2)
    assert report["chosen"]["recipe"]["precision"] == "fp32"
    trials = (tmp_path / "run" / "trials.jsonl").read_text("utf-8").splitlines()
    assert len([line for line in trials if '"method": "lora"' in line or '"lora"' in line]) == 1
    assert (tmp_path / "run" / "model" / "run.py").is_file()

    # Without the build, the same training comes from the store.
    words = ("--set", "passes.make=null", "--output", "merged", "--json")
    assert _run(config, "--model", str(tiny_model_dir), *words, monkeypatch=monkeypatch) == 0
    made = json.loads(capsys.readouterr().out)
    assert [(step["name"], step["reused"]) for step in made["steps"]] == [
        ("finetune", True),
        ("merge", True),
    ]
    assert made["steps"][0]["facts"]["total_steps"] == 3
    assert (tmp_path / "merged" / "merged" / "model.safetensors").is_file()
    assert (tmp_path / "merged" / "adapter" / "adapter_model.safetensors").is_file()
