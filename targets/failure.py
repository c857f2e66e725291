"""What a dead child or a message says about the kind of failure.

Running out of memory has many voices: Python's, C++'s, the allocator of ONNX
Runtime, CUDA's, and the silence of the kernel's SIGKILL. They are one outcome.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Literal

__all__ = ["FailureKind", "describe_exit", "kind_of_exit", "kind_of_message", "tail"]

FailureKind = Literal["error", "crashed", "out_of_memory"]

_OUT_OF_MEMORY = re.compile(
    r"\bMemoryError\b|std::bad_alloc|\bbad allocation\b|Cannot allocate|can't allocate memory"
    r"|OutOfMemoryError|CUDA out of memory|CUDA_ERROR_OUT_OF_MEMORY|ALLOC_FAILED"
    r"|Failed to allocate memory"
)
_TAIL_BYTES = 4096


def kind_of_message(message: str) -> FailureKind:
    """Return what an exception's text means: ``out_of_memory`` or ``error``."""
    return "out_of_memory" if _OUT_OF_MEMORY.search(message) else "error"


def kind_of_exit(code: int | None, last_output: str) -> FailureKind:
    """Return what the end of a process means that nobody asked to end.

    Args:
        code: exit code, negative for a signal, None where it could not be learnt.
        last_output: the end of what it printed.
    """
    killed = hasattr(signal, "SIGKILL") and code == -signal.SIGKILL
    return "out_of_memory" if killed or _OUT_OF_MEMORY.search(last_output) else "crashed"


def describe_exit(code: int | None, last_output: str) -> str:
    """Return one sentence for people on how a process ended."""
    if code is None:
        return "the process ended, how is unknown"
    if code >= 0:
        ending = f"the process ended with exit code {code} before it answered"
    else:
        ending = f"the process was ended by {_signal_name(-code)}"
    if kind_of_exit(code, last_output) == "out_of_memory":
        voice = _OUT_OF_MEMORY.search(last_output)
        ending += (
            f" after {voice[0]!r}" if voice else ", which the kernel sends when memory runs out"
        )
    return ending


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def tail(path: Path, *, start: int) -> str:
    """Return the end of what was written to ``path`` after byte ``start``, at most 4 KiB."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(start, size - _TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
