from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from autotune.errors import RunError
from autotune.evaluators import measurement_lock

_HOLD = """
import sys
from pathlib import Path
from autotune.evaluators import measurement_lock
with measurement_lock(what="3 models", folder=Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_who_measures_and_waits(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLD, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        told: list[str] = []
        refused = pytest.raises(RunError, match=f"process {other.pid} .3 models")
        with (
            refused,
            measurement_lock(what="mine", timeout_s=0.1, on_wait=told.append, folder=tmp_path),
        ):
            pass
        assert len(told) == 1
        assert f"process {other.pid}" in told[0]
        other.stdin.close()
        with measurement_lock(what="mine", timeout_s=20, folder=tmp_path):
            pass


def test_a_killed_holder_releases_the_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLD, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        other.kill()
        other.wait()
    with measurement_lock(what="mine", timeout_s=0.5, folder=tmp_path):
        pass


def test_the_lock_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), measurement_lock(what="a", folder=tmp_path):
        raise KeyError
    with measurement_lock(what="b", timeout_s=0.1, folder=tmp_path):
        assert "b" in (tmp_path / "autotune-measurement.lock.holder").read_text()
    assert not (tmp_path / "autotune-measurement.lock.holder").exists()
