"""Settings from files and variables: who wins, what is refused, and what `config` tells."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from autotune.cli import app, main
from autotune.command_line import command_line
from autotune.settings import SETTINGS, SHARED, read_settings

Autotune = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def autotune(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Autotune:
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["autotune", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err

    return run


def test_every_flag_of_a_run_is_a_setting_or_left_out_on_purpose() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    flags = {parameter.name for parameter in group.params}
    left_out = {
        "on",
        "output",
        "dry_run",
        "as_json",
        "debug",
        "version",
        "trust_remote_code",
        "help",
    }
    completion = {"install_completion", "show_completion"}
    assert flags - left_out - completion == set(SETTINGS)


def test_later_places_win_and_each_value_says_where_it_is_from(
    here: Path, autotune: Autotune, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "autotune.toml").write_text(
        'max-latency = "100ms"\nseed = 1\nmodel = "a"\nconstraint = ["size<=1GB"]\n', "utf-8"
    )
    (here / "pyproject.toml").write_text('[tool.autotune]\nseed = 2\nmodel = "b"\n', "utf-8")
    monkeypatch.setenv("AUTOTUNE_MODEL", "c")
    monkeypatch.setenv("AUTOTUNE_TRIALS", "5")
    code, out, err = autotune("--trials", "6", "config", "--json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    assert tuple(found) == SETTINGS
    assert found["max_latency"] == {"value": "100ms", "from": "autotune.toml"}
    assert found["seed"] == {"value": 2, "from": "[tool.autotune] in pyproject.toml"}
    assert found["model"] == {"value": "c", "from": "AUTOTUNE_MODEL"}
    assert found["trials"] == {"value": 6, "from": "--trials"}
    assert found["constraint"] == {"value": ["size<=1GB"], "from": "autotune.toml"}
    assert found["sampler"] == {"value": "tpe", "from": "default"}
    code, out, _ = autotune("config")
    assert [line.split()[0] for line in out.splitlines()] == list(SETTINGS)


def test_a_run_takes_its_settings_and_an_error_says_where_they_stand(
    here: Path, autotune: Autotune, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "autotune.toml").write_text('max_latency = "100"\n', "utf-8")
    code, _, err = autotune()
    assert code == 2
    assert err.count("\n") == 1
    assert "--max-latency needs a unit, got '100'" in err
    assert err.endswith("(--max-latency comes from autotune.toml)\n")
    monkeypatch.setenv("AUTOTUNE_CONSTRAINT", "size<=1GB; speed<=5ms")
    code, _, err = autotune("--max-latency", "100ms")
    assert code == 2
    assert "Nothing measures 'speed'" in err
    assert "comes from" not in err  # the message names no flag


def test_what_other_commands_take_of_a_runs_settings_are_flags_of_theirs() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    for command, names in SHARED.items():
        assert set(names) <= {one.name for one in group.commands[command].params} & set(SETTINGS)


def test_a_census_and_a_sweep_ask_what_a_run_in_the_folder_would(
    here: Path, autotune: Autotune
) -> None:
    (here / "autotune.toml").write_text('model = "here/none"\nbudget = "1h"\n', "utf-8")
    for words in (["census"], ["census", "--export", "bundle"], ["sweep", "--output", "t.csv"]):
        code, _, err = autotune(*words)
        assert code == 2, words
        assert "here/none" in err
        assert list(command_line()[1:]) == [*words, "--model", "here/none"]
        code, _, err = autotune(*words, "--model", "by/hand")
        assert "by/hand" in err
        assert list(command_line()[1:]) == [*words, "--model", "by/hand"]
    (here / "autotune.toml").write_text('max_size = "1"\n', "utf-8")
    assert "(--max-size comes from autotune.toml)" in autotune("census")[2]
    (here / "autotune.toml").write_text("max_size = 1\n", "utf-8")
    assert "'max_size' in autotune.toml is a text" in autotune("sweep", "--output", "t.csv")[2]


def test_a_bundle_is_measured_whatever_the_folder_says_of_models(
    here: Path, autotune: Autotune
) -> None:
    (here / "autotune.toml").write_text('model = "here/none"\nmax_size = "1GB"\n', "utf-8")
    code, _, err = autotune("census", "none")
    assert code == 2
    assert "here/none" not in err
    assert "--model" not in err
    assert list(command_line()[1:]) == ["census", "none", "--max-size", "1GB"]
    assert "got --model" in autotune("census", "none", "--model", "by/hand")[2]


FILES = [
    ('max_latensy = "1s"', "has no setting 'max_latensy'; did you mean 'max_latency'?"),
    ("max_latency = 50", "'max_latency' in autotune.toml is a text, got 50"),
    ('seed = "3"', "is a whole number, got '3'"),
    ("seed = true", "is a whole number, got True"),
    ('constraint = "size<=1GB"', "is a list of texts"),
    ('output = "run"', "'output' in autotune.toml is no setting: --output is given"),
    ("trust-remote-code = true", "'trust-remote-code' in autotune.toml is no setting"),
    ('target = "cuda@/evil/python"', "names a program to run, 'cuda@/evil/python'"),
    ("[census]\nrounds = 3", "has no setting 'census'; they are target, "),
    ("seed = ", "'autotune.toml' is no TOML file"),
]


@pytest.mark.parametrize(("text", "message"), FILES)
def test_a_wrong_file_stops_a_run_and_nothing_else(
    text: str, message: str, here: Path, autotune: Autotune
) -> None:
    (here / "autotune.toml").write_text(text, "utf-8")
    for words in ([], ["config"]):
        code, out, err = autotune(*words)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err.replace(f"{here}/", "")
    assert autotune("--version")[0] == 0
    assert autotune("ls", ".")[0] == 0


VARIABLES = [
    ({"AUTOTUNE_MAX_LATENCI": "1s"}, "did you mean AUTOTUNE_MAX_LATENCY?"),
    ({"AUTOTUNE_SEED": "many"}, "AUTOTUNE_SEED is a whole number, got 'many'"),
    ({"AUTOTUNE_DATA": " "}, "AUTOTUNE_DATA needs a value, got ' '"),
]


@pytest.mark.parametrize(("variables", "message"), VARIABLES)
def test_a_wrong_variable_is_named(variables: dict[str, str], message: str, here: Path) -> None:
    problem = read_settings(here, variables).problem
    assert message in str(problem)


def test_variables_of_other_purposes_and_files_of_other_tools_are_left_alone(here: Path) -> None:
    (here / "pyproject.toml").write_text("[tool.ruff]\nline-length = 9\n", "utf-8")
    others = {"AUTOTUNE_CACHE": "x", "AUTOTUNE_REQUIRE_CUDA": "1", "AUTOTUNE_WEBGPU_PYTHON": "p"}
    found = read_settings(here, others)
    assert (found.values, found.problem) == ({}, None)
    # A program may be named where a person typed it.
    assert read_settings(here, {"AUTOTUNE_TARGET": "cuda@/my/python"}).problem is None


def test_only_the_current_folder_is_looked_into(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "autotune.toml").write_text("seed = 7", "utf-8")
    (here / "below").mkdir()
    monkeypatch.chdir(here / "below")
    assert read_settings(Path.cwd(), {}).values == {}


def test_switches_are_true_or_false_wherever_they_are_set(
    here: Path, autotune: Autotune, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "autotune.toml").write_text("chat = true\n", "utf-8")
    monkeypatch.setenv("AUTOTUNE_TRUNCATE", "True")
    code, out, _ = autotune("config", "--json")
    assert code == 0
    found = json.loads(out)
    assert [found[name]["value"] for name in ("chat", "truncate")] == [True, True]
    monkeypatch.setenv("AUTOTUNE_TRUNCATE", "yes")
    assert "AUTOTUNE_TRUNCATE is true or false, got 'yes'" in autotune("config")[2]
    monkeypatch.setenv("AUTOTUNE_TRUNCATE", "false")
    (here / "autotune.toml").write_text('chat = "true"\n', "utf-8")
    assert "'chat' in autotune.toml is true or false, got 'true'" in autotune("config")[2]


def test_a_file_names_no_code_to_run_as_a_metric(here: Path, autotune: Autotune) -> None:
    (here / "autotune.toml").write_text('metric = "own.module:judge"\n', "utf-8")
    assert "names a function to run, 'own.module:judge', which a file may not" in autotune()[2]
    (here / "autotune.toml").write_text('metric = "f1"\n', "utf-8")
    code, out, _ = autotune("config", "--json")
    assert (code, json.loads(out)["metric"]["value"]) == (0, "f1")
