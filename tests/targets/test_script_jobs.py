"""Scripts as jobs: a process of their own, the payload on stdin, the last line is the answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.targets import Job, LocalExecutor

from .orders import HERE, job, script


def test_a_script_gets_its_payload_and_answers_with_its_last_line(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    log = tmp_path / "script.log"
    text = "ä\n" * 500_000
    result = executor.run(script("script_echo.py", log_path=str(log), text=text))
    assert result.status == "ok", result.error
    assert result.value["payload"] == {"text": text}
    assert result.value["name"] == "__main__"
    assert result.value["modules"] == []
    assert str(HERE) not in result.value["path"]
    assert "a line for the log" in log.read_text(encoding="utf-8")
    assert "a warning for the log" in log.read_text(encoding="utf-8")


def test_a_line_printed_after_the_result_does_no_harm(executor: LocalExecutor) -> None:
    assert executor.run(script("script_echo.py", line_after=True)).status == "ok"


def test_a_script_of_a_pool_still_has_a_process_of_its_own(executor: LocalExecutor) -> None:
    kept = executor.run(job("add", pool="p", a=1, b=1)).value["pid"]
    entry = str(HERE / "script_echo.py")
    assert executor.run(Job(name="s", entry=entry, payload={}, pool="p")).status == "ok"
    assert executor.run(job("add", pool="p", a=1, b=1)).value["pid"] == kept


@pytest.mark.parametrize(
    ("how", "status", "error"),
    [
        ("error", "error", "LoadError: no such provider"),
        ("raise", "error", "KeyError: 'rank'"),
        ("exit", "error", "SystemExit: 7"),
        ("die", "crashed", "exit code 9"),
        ("silent", "error", "NoResult: "),
    ],
)
def test_each_way_a_script_fails_is_told(
    executor: LocalExecutor, tmp_path: Path, how: str, status: str, error: str
) -> None:
    log = tmp_path / "script.log"
    result = executor.run(script("script_error.py", log_path=str(log), how=how))
    assert (result.status, error in result.error) == (status, True), result
    if how == "die":
        assert "last words" in log.read_text(encoding="utf-8")
