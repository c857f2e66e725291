"""How entries are read and what the end of a process means: no process needed."""

from __future__ import annotations

import importlib
import signal
from pathlib import Path

import pytest

from autotune.errors import UsageError

# Not part of the package's public names, so type checkers do not see these modules.
entries = importlib.import_module("autotune.targets.entry")
failures = importlib.import_module("autotune.targets.failure")
SCRIPT = Path(__file__).parent / "script_echo.py"


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("json:loads", entries.Entry(kind="function", place="json", function="loads")),
        (f"{SCRIPT}:main", entries.Entry(kind="function", place=str(SCRIPT), function="main")),
        (str(SCRIPT), entries.Entry(kind="script", place=str(SCRIPT))),
        (
            "C:\\work\\child.py:run",
            entries.Entry(kind="function", place="C:\\work\\child.py", function="run"),
        ),
    ],
)
def test_an_entry_is_a_function_or_a_script(text: str, entry: object) -> None:
    assert entries.read_entry(text) == entry


def test_a_module_alone_is_the_file_it_was_loaded_from() -> None:
    entry = entries.read_entry("autotune.targets.prove_child")
    assert entry.kind == "script"
    assert Path(entry.place).name == "prove_child.py"


def test_the_colon_of_a_drive_is_not_a_function() -> None:
    with pytest.raises(UsageError, match="no script"):
        entries.read_entry("C:\\work\\child.py")


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("MemoryError: ", "out_of_memory"),
        ("RuntimeError: std::bad_alloc", "out_of_memory"),
        ("OSError: [Errno 12] Cannot allocate memory", "out_of_memory"),
        (
            "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory",
            "out_of_memory",
        ),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "out_of_memory"),
        ("RuntimeException: Failed to allocate memory for requested buffer", "out_of_memory"),
        ("ValueError: memory is a metric", "error"),
        ("BuildError: out of range", "error"),
    ],
)
def test_running_out_of_memory_is_recognised_in_every_voice(message: str, kind: str) -> None:
    assert failures.kind_of_message(message) == kind


@pytest.mark.parametrize(
    ("code", "output", "kind", "words"),
    [
        (3, "", "crashed", "exit code 3"),
        (-signal.SIGSEGV, "", "crashed", "SIGSEGV"),
        (-signal.SIGKILL, "", "out_of_memory", "SIGKILL, which the kernel sends"),
        (-signal.SIGABRT, "std::bad_alloc", "out_of_memory", "SIGABRT after 'std::bad_alloc'"),
        (1, "MemoryError", "out_of_memory", "exit code 1 before it answered after 'MemoryError'"),
        (-250, "", "crashed", "signal 250"),
        (None, "", "crashed", "unknown"),
    ],
)
def test_the_end_of_a_process_is_classified_and_described(
    code: int | None, output: str, kind: str, words: str
) -> None:
    assert failures.kind_of_exit(code, output) == kind
    assert words in failures.describe_exit(code, output)


def test_the_tail_of_a_log_begins_where_the_job_did(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"earlier MemoryError\n" + b"x" * 10_000 + b"end")
    assert failures.tail(log, start=20).endswith("end")
    assert len(failures.tail(log, start=20)) == 4096
    assert failures.tail(log, start=10_020) == "end"
    assert failures.tail(tmp_path / "absent", start=0) == ""
