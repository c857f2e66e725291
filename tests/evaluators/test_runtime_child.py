"""What the child refuses, and that it keeps its protocol when started by hand."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune import evaluators
from autotune.errors import AutotuneError, BuildError, HardwareError, ModelSourceError, WorkerError
from autotune.evaluators import BuiltModel, RowSet, child_result, score, score_job
from autotune.targets import JobResult, LocalExecutor

_SCRIPT = Path(evaluators.__path__[0]) / "runtime_child.py"
Break = Callable[[Path], None]


def _edit(change: Callable[[dict[str, Any]], None]) -> Break:
    def edit(folder: Path) -> None:
        path = folder / "genai_config.json"
        config = json.loads(path.read_text())
        change(config)
        path.write_text(json.dumps(config))

    return edit


def _truncate(folder: Path) -> None:
    data = folder / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:-1000])


def _poison(folder: Path) -> None:
    """Make every weight a float32 NaN."""
    data = folder / "model.onnx.data"
    data.write_bytes(b"\x00\x00\xc0\x7f" * (data.stat().st_size // 4))


def _retokenize(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["merges"] = content["model"]["merges"][:3]
    path.write_text(json.dumps(content))


@pytest.fixture
def copied(built: BuiltModel, tmp_path: Path) -> BuiltModel:
    folder = tmp_path / "model"
    shutil.copytree(built.path, folder)
    return replace(built, path=folder)


@pytest.fixture
def scoring(choices: RowSet, executor: LocalExecutor) -> Callable[[BuiltModel], Any]:
    return lambda model: score(model, choices, executor=executor, threads=1)


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (shutil.rmtree, BuildError, "no genai_config.json"),
        (lambda f: (f / "genai_config.json").write_text("{"), BuildError, "not JSON"),
        (lambda f: (f / "tokenizer.json").unlink(), BuildError, "leave its recipe out"),
        (_truncate, BuildError, "leave its recipe out"),
        (_poison, BuildError, "not finite"),
        (_retokenize, ModelSourceError, "tokenizer"),
        (
            _edit(
                lambda c: c["model"]["decoder"]["session_options"].update(
                    custom_ops_library="evil.so"
                )
            ),
            ModelSourceError,
            "custom_ops_library",
        ),
        (_edit(lambda c: c.update(embedding=[{"custom_ops_library": 1}])), ModelSourceError, "ops"),
    ],
    ids=["gone", "json", "tokenizer", "data", "nan", "merges", "native", "nested"],
)
def test_a_damaged_model_is_refused_by_name(
    damage: Break,
    error: type[AutotuneError],
    words: str,
    copied: BuiltModel,
    scoring: Callable[[BuiltModel], Any],
) -> None:
    damage(copied.path)
    with pytest.raises(error, match=words):
        scoring(copied)


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ("webgpu", "not supported in this build"),
        ("nonsense", "Unknown provider"),
        # Compiled in, takes no node of a language model: the runtime goes on with the CPU.
        ("AZURE", "runs on 'CPU'"),
    ],
)
def test_an_absent_provider_and_a_fallback_are_hardware_errors(
    provider: str, words: str, built: BuiltModel, scoring: Callable[[BuiltModel], Any]
) -> None:
    with pytest.raises(HardwareError, match=words):
        scoring(replace(built, provider=provider))


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        ("crashed", "ended by SIGSEGV", "crashed"),
        ("timed_out", "", "timed_out"),
        ("out_of_memory", "", "out_of_memory"),
        ("error", "out_of_memory: bad allocation", "out_of_memory"),
    ],
)
def test_a_dead_child_keeps_its_kind(status: Any, text: str, kind: str, built: BuiltModel) -> None:
    with pytest.raises(WorkerError, match="without an answer") as caught:
        child_result(JobResult(handle="1", status=status, error=text), built)
    assert caught.value.kind == kind


def test_started_by_hand_the_answer_is_the_last_line_and_no_sibling_hides_a_library(
    built: BuiltModel, choices: RowSet
) -> None:
    """The folder of the script holds a ``statistics.py``; libraries must get the real one."""
    request = dict(score_job(built, choices, threads=1).payload)
    program = (
        f"import runpy, sys; sys.path.insert(0, {str(_SCRIPT.parent)!r});"
        f"runpy.run_path({str(_SCRIPT)!r}, run_name='__main__');"
        "import statistics; statistics.fmean; assert 'autotune' not in sys.modules"
    )
    for command in ([sys.executable, str(_SCRIPT)], [sys.executable, "-c", program]):
        done = subprocess.run(
            command, input=json.dumps(request), capture_output=True, text=True, check=True
        )
        answer = json.loads(done.stdout.splitlines()[-1])
        assert len(answer["score"]["rows"]) == 12
        assert answer["device_type"] == "CPU"


def test_a_bug_is_a_traceback_and_exit_code_one() -> None:
    done = subprocess.run(
        [sys.executable, str(_SCRIPT)], input="{}", capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "KeyError" in done.stderr


def test_telemetry_is_off_before_the_runtime_is_imported(
    built: BuiltModel, choices: RowSet, tmp_path: Path
) -> None:
    environment = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run(
        [sys.executable, str(_SCRIPT)],
        input=json.dumps(dict(score_job(built, choices, threads=1).payload)),
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert list(tmp_path.rglob("deviceid")) == []
