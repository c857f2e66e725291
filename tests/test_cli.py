"""The command line: wrong requests end with one line, the right code and nothing left behind."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from autotune import __version__
from autotune.cli import app, main
from autotune.config import SAMPLERS, Bounds
from autotune.errors import UsageError
from autotune.evaluators import unmeasurable
from autotune.task import Template

ROOT = Path(__file__).parents[1]

ROWS = "text,label\n" + "".join(f"row number {n},{['even', 'odd'][n % 2]}\n" for n in range(40))


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every command runs in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Autotune = Callable[..., Ended]


@pytest.fixture
def autotune(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Autotune:
    """Run the command line in this process."""

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["autotune", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ended(code=code, out=printed.out, err=printed.err)

    return run


def _flags_only(part: object) -> str:
    return " ".join(part) if isinstance(part, list) else ""


# Flags are judged before anything is read: one line, nothing else.
FLAGS = [
    (["--max-latency", "100"], "--max-latency needs a unit, got '100'", "100ms or 100s"),
    (["--max-latency", "0ms"], "greater than zero", "'0ms'"),
    (["--max-latency", "-5ms"], "greater than zero", "'-5ms'"),
    (["--max-memory", "4"], "--max-memory needs a unit", "4MB or 4GiB"),
    (["--max-size", "0GB"], "greater than zero", "'0GB'"),
    (["--min-accuracy", "90"], "--min-accuracy is a fraction, got '90'", "90%"),
    (["--min-accuracy", "0"], "greater than 0", "'0'"),
    (["--constraint", "energy<=0.5"], "The bound on energy needs a unit", "0.5mJ or 0.5J"),
    (["--constraint", "energy<=0.5W"], "has no unit 'W'", "mJ, J"),
    (["--constraint", "speed<=5ms"], "Nothing measures 'speed'", "choose from"),
    (["--constraint", "latency<5ms"], "METRIC<=BOUND", "'tpot.p95<=50ms'"),
    (["--budget", "12"], "--budget needs a unit", "12ms or 12s"),
    (["--data", "rows.csv"], "needs --template", "for example --template"),
    (["--template", "{a}{b}"], "need --data", "add it"),
    (["--task", "regression"], "'regression'", "classification, generation, choice, perplexity"),
    (["--sampler", "cmaes"], "'cmaes'", "one of tpe"),
    (["--target", "cpu", "--target-report", "e.json"], "'cpu' too", "leave one of them out"),
    (["--target-report", ""], "--target-report needs a value", "leave the flag out"),
    (["measure", "m", "--from", "e.json"], "'e.json'", "add --into RUN"),
    (["resume", "nowhere"], "'nowhere' is no run folder", "run.json"),
]


@pytest.mark.parametrize(("arguments", "rule", "way_out"), FLAGS, ids=_flags_only)
def test_a_wrong_flag_ends_with_one_line_and_code_2(
    arguments: list[str], rule: str, way_out: str, autotune: Autotune, somewhere_else: Path
) -> None:
    ended = autotune(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("autotune: usage: ")
    assert rule in ended.err
    assert way_out in ended.err
    assert list(somewhere_else.iterdir()) == []


CENSUS_FLAGS = [
    (["box", "--model", "m"], "got --model", "leave that out"),
    (["box", "--seed", "0", "--export", "x"], "got --export, --seed", "leave that out"),
    (["--export", "x", "--json"], "--export measures nothing, got --json", "leave that out"),
    (["--export", "x", "--max-size", "1GB"], "got --max-size", "leave that out"),
    (["--export", "no/x"], "--export 'no/x' is a new folder", "choose another name"),
    (["box"], "'box' has none", "autotune census --export"),
    (["--export", "x", "--constraint", "size<=1GB"], "got --constraint", "leave that out"),
    (["--constraint", "energy<=1"], "The bound on energy needs a unit", "1mJ or 1J"),
    (["--constraint", "tpot<=1ms"], "tpot.p95 <= 1 ms cannot be measured", "bound the latency"),
    (["box", "--max-size", "4"], "--max-size needs a unit", "4MB or 4GiB"),
]


@pytest.mark.parametrize(("arguments", "rule", "way_out"), CENSUS_FLAGS, ids=_flags_only)
def test_a_census_in_two_halves_refuses_what_either_half_would_ignore(
    arguments: list[str], rule: str, way_out: str, autotune: Autotune, somewhere_else: Path
) -> None:
    ended = autotune("census", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert rule in ended.err
    assert way_out in ended.err
    assert list(somewhere_else.iterdir()) == []


# What needs a look at files or at the machine: the last line tells, after the first one
# has said what the bounds mean.
REQUESTS: list[tuple[list[str], str, str]] = [
    (["--target", "gpu"], "no target 'gpu'", "known: auto, cpu, cuda"),
    (["--target", "cuda,auto"], "'auto' stands alone", "a list of names"),
    (["--target", "cpu@"], "'cpu@'", "cpu or cuda@/path/to/python"),
    (["--target-report", "edge.json"], "'edge.json' cannot be read", "autotune wrote"),
    (["--data", "missing.csv", "--template", "{text}{label}"], "'missing.csv'", "."),
    (["--data", "rows.csv", "--template", "{text}\n{tone}"], "tone", "label"),
    (["--data", "rows.csv", "--template", "no fields"], "field", "{"),
    (["--constraint", "tpot<=50ms"], "tpot.p95 <= 50 ms", "--task generation"),
    (["--constraint", "energy_per_token<=1mJ"], "energy_per_token <= 1 mJ", "bound the energy"),
]


@pytest.mark.parametrize(("arguments", "rule", "way_out"), REQUESTS, ids=_flags_only)
def test_a_request_that_cannot_work_ends_with_code_2_and_leaves_no_run_folder(
    arguments: list[str], rule: str, way_out: str, autotune: Autotune, somewhere_else: Path
) -> None:
    (somewhere_else / "rows.csv").write_text(ROWS, encoding="utf-8")
    ended = autotune(*arguments, "--output", "run")
    last = ended.err.splitlines()[-1]
    assert (ended.code, ended.out) == (2, "")
    assert last.startswith("autotune: usage: ")
    assert rule in last
    assert way_out in last
    assert "Traceback" not in ended.err
    assert [path.name for path in somewhere_else.iterdir()] == ["rows.csv"]


@pytest.mark.parametrize("command", [["--output", "run"], ["census", "--no-calibration"]])
def test_a_bound_on_energy_without_counters_ends_with_code_3_before_anything_runs(
    command: list[str], autotune: Autotune, somewhere_else: Path
) -> None:
    if not unmeasurable("energy", "cpu"):
        pytest.skip("this machine has energy counters")
    ended = autotune(*command, "--constraint", "energy<=0.5J", "--target", "cpu")
    assert (ended.code, ended.out) == (3, "")
    last = ended.err.splitlines()[-1]
    assert last.startswith("autotune: error: energy <= 500 mJ cannot be judged")
    assert "Leave the bound out" in last
    assert list(somewhere_else.iterdir()) == []


def test_an_output_that_exists_is_left_as_it_is(autotune: Autotune, somewhere_else: Path) -> None:
    (somewhere_else / "run").mkdir()
    ended = autotune("--output", "run")
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "--output 'run' exists already" in ended.err
    assert "autotune resume run" in ended.err
    assert list((somewhere_else / "run").iterdir()) == []


def test_a_finished_run_is_not_resumed(autotune: Autotune, somewhere_else: Path) -> None:
    (somewhere_else / "run" / "model").mkdir(parents=True)
    (somewhere_else / "run" / "run.json").write_text("{}", encoding="utf-8")
    (somewhere_else / "run" / "report.json").write_text('{"schema": "x"}', encoding="utf-8")
    ended = autotune("resume", "run")
    assert ended.code == 2
    assert "'run' is finished; its report is run" in ended.err


def test_a_file_is_not_resumed(autotune: Autotune, somewhere_else: Path) -> None:
    (somewhere_else / "report.json").write_text("{}", encoding="utf-8")
    ended = autotune("resume", "report.json")
    assert ended.code == 2
    assert "no run folder" in ended.err


def test_flags_in_front_of_another_command_are_not_dropped(
    autotune: Autotune, somewhere_else: Path
) -> None:
    (somewhere_else / "run").mkdir()
    ended = autotune("--max-latency", "5ms", "--seed", "1", "resume", "run")
    assert ended.code == 2
    assert "Flags before 'resume'" in ended.err
    assert "got --max-latency, --seed" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--trials", "0"],
        ["--trials", "many"],
        ["--seed", "-1"],
        ["--seed", str(2**32)],
        ["--no-such-flag"],
    ],
)
def test_what_the_parser_refuses_is_a_usage_error_as_well(
    arguments: list[str], autotune: Autotune
) -> None:
    ended = autotune(*arguments)
    assert ended.code == 2
    assert "Error: " in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes and no SIGINT for children")
def test_an_interrupt_before_the_first_step_leaves_nothing_behind(somewhere_else: Path) -> None:
    os.mkfifo(somewhere_else / "rows.csv")  # reading it waits for ever
    flags = ["--data", "rows.csv", "--template", "{text}{label}", "--output", "run"]
    command = [sys.executable, "-m", "autotune", *flags]
    # A test run in the background of a shell inherits an ignored SIGINT; its user's does not.
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()  # it says what the bounds mean before it reads anything
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert said.endswith("Interrupted before the first step; nothing is left behind.\n")
    assert [path.name for path in somewhere_else.iterdir()] == ["rows.csv"]


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["autotune", "--debug", "--max-latency", "100"])
    with pytest.raises(UsageError, match="needs a unit"):
        main()


def test_help_lists_every_flag_that_a_run_takes(autotune: Autotune) -> None:
    ended = autotune("--help")
    assert ended.code == 0
    flags = (
        *(
            "--target",
            "--target-report",
            "--model",
            "--data",
            "--template",
            "--task",
            "--validation-data",
        ),
        *("--test-data", "--max-latency", "--max-ttft", "--max-tpot", "--max-memory"),
        *("--max-size", "--min-accuracy", "--constraint", "--budget", "--trials", "--sampler"),
        *("--methods", "--merge-bases", "--target-modules", "--epochs", "--steps"),
        *("--schedule", "--clip-norm", "--rslora", "--double-quant", "--no-double-quant"),
        *("--seed", "--output", "--dry-run", "--json", "--trust-remote-code", "--debug"),
    )
    assert [flag for flag in flags if flag not in ended.out] == []
    assert [name for name in SAMPLERS if name not in ended.out] == []


def test_the_version_is_printed(autotune: Autotune) -> None:
    ended = autotune("--version")
    assert (ended.code, ended.out) == (0, f"autotune {__version__}\n")


def _documented_commands() -> list[str]:
    """Return the indented commands of the documents, what follows a pipe or ``&&`` apart."""
    lines = []
    for name in ("README.md", "examples/README.md"):
        lines += (ROOT / name).read_text(encoding="utf-8").splitlines()
    commands = [line.rpartition("&& ")[2] for line in lines if line.startswith("    ")]
    return [command.strip() for command in commands if command.strip().startswith("autotune ")]


@pytest.mark.parametrize("command", _documented_commands())
def test_commands_in_the_documents_are_understood(command: str) -> None:
    words = shlex.split(command.partition(" > ")[0], comments=True)[1:]
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    if words and words[0] in group.commands:
        with group.commands[words[0]].make_context(words[0], words[1:]):
            return
    with group.make_context("autotune", [*words]) as context:
        given = context.params
    maxima = {
        metric: given[f"max_{metric.partition('.')[0]}"]
        for metric in ("latency.p95", "ttft.p95", "tpot.p95", "memory", "size")
    }
    bounds = Bounds(
        maxima=maxima,
        min_accuracy=given["min_accuracy"],
        general=tuple(given["constraint"] or ()),
    )
    assert len(bounds.resolve()) == sum("max-" in w or "min-" in w or "<=" in w for w in words)
    if given["template"]:
        assert Template.parse(given["template"]).fields


def test_the_module_is_the_command(somewhere_else: Path) -> None:
    command = [sys.executable, "-m", "autotune", "--max-latency", "100", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "100ms or 100s" in done.stderr
    assert list(somewhere_else.iterdir()) == []
