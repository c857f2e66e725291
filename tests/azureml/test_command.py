"""The command line of runs elsewhere: --on, resume, cancel, ls, rm."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autotune.azureml import REQUEST
from autotune.cli import main
from autotune.config import RunConfig
from autotune.plain import from_plain
from autotune.run_folders import read_run

from .results import RESULT, leave, log_of
from .service import FakeAzure, FakeJob

ROWS = "text,label\n" + "".join(f"row number {n},{['even', 'odd'][n % 2]}\n" for n in range(40))
PLACE = "azureml:0000/group/space/cluster"
FLAGS = ("--on", PLACE, "--data", "rows.csv", "--template", "{text}: {label}")
Autotune = Callable[..., tuple[int, str, str]]


@pytest.fixture
def autotune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Autotune:
    """Run the command line in this process, in a folder with rows; gives code, out and err."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "rows.csv").write_text(ROWS, encoding="utf-8")
    monkeypatch.chdir(folder)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["autotune", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Have SIGINT interrupt; who starts the tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_flags_with_on_are_a_job_that_a_dry_run_prints(autotune: Autotune) -> None:
    code, out, err = autotune(*FLAGS, "--max-latency", "50ms", "--target", "cpu", "--dry-run")
    assert (code, err) == (0, "")
    job = json.loads(out)
    assert job["compute"] == "azureml:cluster"
    assert job["inputs"]["data"] == {"type": "uri_file", "path": str(Path("rows.csv").absolute())}
    assert shlex.split(job["command"])[-3:] == ["--", "resume", "run"]
    assert not Path("results").exists()


def test_a_typo_does_not_wait_for_a_machine(autotune: Autotune) -> None:
    code, _, err = autotune("--on", PLACE, "--data", "rows.csv", "--template", "{txt}: {label}")
    assert (code, "txt" in err) == (2, True)
    code, _, err = autotune(*FLAGS, "--target", "webgpu")
    assert (code, "the runtimes for cpu and cuda" in err) == (2, True)
    code, _, err = autotune("--on", "azureml:cluster")
    assert (code, "config.json" in err) == (2, True)


def test_what_lies_in_azure_is_not_looked_for_here(autotune: Autotune) -> None:
    rows = "azureml://datastores/store/paths/rows.csv"
    words = ("--data", rows, "--template", "{text}: {label}")
    code, _, err = autotune(*words)
    assert (code, "lies in Azure ML; run there with --on" in err) == (2, True)
    model = "azureml://registries/azureml-msr/models/Phi-3-mini-4k-instruct/versions/11"
    code, out, _ = autotune(*words, "--on", PLACE, "--model", model, "--dry-run")
    inputs = json.loads(out)["inputs"]
    assert (code, inputs["data"]["path"]) == (0, rows)
    assert inputs["model"] == {"type": "mlflow_model", "path": model}


def test_a_run_elsewhere_is_begun_listed_cancelled_and_taken_up_again(
    azure: FakeAzure, autotune: Autotune, interruptible: None
) -> None:
    del interruptible
    azure.script = ["Queued", "Running"]
    azure.on_look = lambda _service, _job: os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C
    code, _, err = autotune(*FLAGS, "--output", "results/there")
    azure.on_look = lambda _service, _job: None
    assert (code, "Detached; the job goes on" in err) == (130, True)
    asked = json.loads(next(v for k, v in azure.blobs.items() if k.endswith(REQUEST)))
    assert from_plain(RunConfig, asked).data == "inputs/data/rows.csv"
    (job,) = azure.jobs.values()
    run = read_run(Path("results/there"))
    assert run.state == "at Azure ML"
    code, out, _ = autotune("show", "there")
    assert f"Job     {job.name} on azureml:cluster, space" in out
    assert "Go on   autotune resume results/there" in out
    assert "at Azure ML" in autotune("ls")[1]
    assert autotune("cancel", "there")[0] == 0
    code, _, err = autotune("resume", "there")
    assert (code, "ended as Canceled" in err) == (4, True)
    assert read_run(Path("results/there")).state == "canceled"
    azure.script, azure.on_end = ["Completed"], leave(exit_code=1)
    assert autotune("resume", "there")[0] == 1
    assert Path("results/there/model/weights").read_bytes() == RESULT["model/weights"]
    assert autotune("rm", "there", "--yes")[0] == 0
    assert not Path("results/there").exists()


def test_a_failed_job_is_told_with_its_log(azure: FakeAzure, autotune: Autotune) -> None:
    azure.script, azure.reason = ["Failed"], "quota exceeded"

    def fail(service: FakeAzure, job: FakeJob) -> None:
        service.blobs[log_of(job)] = b"Traceback\n"

    azure.on_end = fail
    code, out, err = autotune(*FLAGS, "--output", "there")
    assert (code, out) == (4, "")
    assert "| Traceback" in err
    assert "quota exceeded" in err
    assert read_run(Path("there")).state == "failed"


def test_cancel_and_resume_need_a_job(autotune: Autotune) -> None:
    code, _, err = autotune("cancel", "absent")
    assert (code, "azureml.json" in err) == (2, True)
