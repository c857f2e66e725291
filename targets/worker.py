"""The child process that does jobs: standard library only, run by file, not imported.

Commands come as JSON lines on what was standard input, answers leave as JSON
lines on what was standard output; both are moved to private descriptors first,
so whatever a job prints goes to its log. When the parent dies its end of the
command pipe closes, and the worker ends its whole process group.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import queue
import runpy
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO


class ScriptError(Exception):
    """A script whose last line is not a result, or says that it failed."""


def _move(descriptor: int, replacement: str, flags: int) -> int:
    """Put ``replacement`` in the place of ``descriptor`` and return the old one elsewhere."""
    kept = os.dup(descriptor)  # not inheritable, so grandchildren do not hold the pipe open
    opened = os.open(replacement, flags)
    os.dup2(opened, descriptor)
    os.close(opened)
    return kept


def _remove_scratch(folder: str) -> None:
    """Remove the parent's folder of payloads and outputs, which it can no longer do."""
    with contextlib.suppress(OSError):
        for file in Path(folder).iterdir():
            file.unlink(missing_ok=True)
        Path(folder).rmdir()


def _end_group() -> None:
    """Kill this process and all that it started."""
    # A worker started by hand shares its group with the shell, which must live.
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _read_commands(commands: BinaryIO, inbox: queue.SimpleQueue[bytes], scratch: str) -> None:
    for line in commands:
        inbox.put(line)
    _remove_scratch(scratch)
    _end_group()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    # Native libraries buffer on their own; without this their lines reach the next job's log.
    with contextlib.suppress(ImportError, OSError, AttributeError, TypeError):
        import ctypes  # noqa: PLC0415 - only where a C library can be opened

        ctypes.CDLL(None).fflush(None)


@contextlib.contextmanager
def _output_to(log_path: str, stdout_path: str, stdin_path: str) -> Iterator[None]:
    """Send what the job prints to its log (a script's standard output to a file of its own)."""
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    kept = [
        (0, _move(0, stdin_path or os.devnull, os.O_RDONLY)),
        (1, _move(1, stdout_path or log_path, append)),
        (2, _move(2, log_path, append)),
    ]
    try:
        yield
    finally:
        _flush()
        for descriptor, copy in kept:
            os.dup2(copy, descriptor)
            os.close(copy)


def _function(place: str, name: str) -> Callable[[dict[str, Any]], Any]:
    if not place.endswith(".py"):
        module = importlib.import_module(place)
    else:
        # The same file gives the same module, so what it caches lives as long as the worker.
        key = "job_file_" + Path(place).stem
        if getattr(sys.modules.get(key), "__file__", None) != place:
            spec = importlib.util.spec_from_file_location(key, place)
            if spec is None or spec.loader is None:
                raise ImportError(f"{place!r} is not a Python file.")
            sys.modules[key] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[key])
        module = sys.modules[key]
    found: Callable[[dict[str, Any]], Any] = getattr(module, name)
    return found


def _last_object(text: str) -> dict[str, Any] | None:
    """Return the last line that is a JSON object; native code may print after it."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            with contextlib.suppress(ValueError):
                value = json.loads(line)
                return value if isinstance(value, dict) else None
    return None


def _run_script(place: str, stdout_path: str) -> dict[str, Any]:
    """Run the file ``place`` as ``__main__`` and return its result."""
    sys.argv = [place]
    status: object = None
    try:
        runpy.run_path(place, run_name="__main__")
    except SystemExit as stop:
        status = stop.code
    _flush()
    result = _last_object(Path(stdout_path).read_text(encoding="utf-8", errors="replace"))
    failure = (result or {}).get("error")
    if isinstance(failure, dict):
        raise ScriptError(f"{failure.get('kind', 'Error')}: {failure.get('message', '')}")
    if status not in (None, 0):
        raise ScriptError(f"SystemExit: {status}")
    if result is None:
        raise ScriptError("NoResult: the script's last line is not a JSON object.")
    return result


def _run(command: dict[str, Any]) -> dict[str, Any]:
    if command["kind"] == "script":
        return _run_script(command["place"], command["stdout_path"])
    payload = json.loads(Path(command["payload_path"]).read_text(encoding="utf-8"))
    value = _function(command["place"], command["function"])(payload)
    if not isinstance(value, dict):
        raise TypeError(f"{command['function']} must return a dict, got {value!r}.")
    return value


def _failure(error: BaseException) -> dict[str, Any]:
    named = isinstance(error, ScriptError)
    message = str(error) if named else f"{type(error).__name__}: {error}"
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    return {"status": "error", "error": message, "traceback": "".join(lines)}


def _peak_rss_bytes() -> int | None:
    """Return the highest resident set of this process so far, or None where unknown.

    ``ru_maxrss`` is not used on Linux: it starts at the parent's peak, because the
    kernel carries it over from the address space that called exec.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "darwin":
        import resource  # noqa: PLC0415 - absent on Windows

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def _answer(command: dict[str, Any]) -> str:
    """Do one job and return the line that answers it."""
    start = time.perf_counter()
    reply: dict[str, Any]
    try:
        with _output_to(
            command["log_path"],
            command["stdout_path"],
            command["payload_path"] if command["kind"] == "script" else "",
        ):
            try:
                reply = {"status": "ok", "value": _run(command)}
            except BaseException as error:  # noqa: BLE001 - the border of the process: all is told
                traceback.print_exception(error)
                reply = _failure(error)
    except OSError as error:  # the log cannot be written
        reply = _failure(error)
    reply |= {"seconds": time.perf_counter() - start, "peak_rss_bytes": _peak_rss_bytes()}
    try:
        return json.dumps(reply)
    except (TypeError, ValueError) as error:
        return json.dumps(_failure(error) | {"seconds": reply["seconds"]})


def main() -> None:
    """Serve jobs one after the other until the command pipe closes."""
    commands = os.fdopen(_move(0, os.devnull, os.O_RDONLY), "rb")
    replies = os.fdopen(_move(1, os.devnull, os.O_WRONLY), "wb")
    inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(
        target=_read_commands, args=(commands, inbox, sys.argv[1]), daemon=True
    ).start()
    while True:
        command = json.loads(inbox.get())
        replies.write(_answer(command).encode() + b"\n")
        replies.flush()
        if command["is_last"]:
            # Tearing native libraries down is slow and crashes now and then; the answer is out.
            os._exit(0)


if __name__ == "__main__":
    main()
