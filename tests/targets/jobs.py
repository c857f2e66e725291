"""Entries that the tests of the executor run in real child processes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_CALLS: list[int] = []


def add(payload: dict[str, Any]) -> dict[str, Any]:
    return {"sum": payload["a"] + payload["b"], "pid": os.getpid()}


def remember(payload: dict[str, Any]) -> dict[str, Any]:
    _CALLS.append(payload["number"])
    return {"calls": list(_CALLS), "pid": os.getpid()}


def sleep_for_ever_with_grandchild(payload: dict[str, Any]) -> dict[str, Any]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    path = Path(payload["pids"])
    path.write_text(f"{os.getpid()} {child.pid}", encoding="utf-8")
    path.replace(f"{path}.done")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)


def exit_with(payload: dict[str, Any]) -> dict[str, Any]:
    os._exit(payload["code"])


def kill_self(payload: dict[str, Any]) -> dict[str, Any]:
    os.kill(os.getpid(), payload["signal"])
    return {}


def allocate_beyond_limit(payload: dict[str, Any]) -> dict[str, Any]:
    resource.setrlimit(resource.RLIMIT_AS, (payload["limit_bytes"],) * 2)
    return {"size": len(bytearray(payload["limit_bytes"] * 2))}


def abort_like_cpp(_payload: dict[str, Any]) -> dict[str, Any]:
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.abort()


def fail(payload: dict[str, Any]) -> dict[str, Any]:
    raise ValueError(payload["message"])


def not_a_dict(_payload: dict[str, Any]) -> Any:
    return [1]


def not_json(_payload: dict[str, Any]) -> dict[str, Any]:
    return {"value": object()}


def noisy(_payload: dict[str, Any]) -> dict[str, Any]:
    print("from print")
    os.write(1, b'{"status": "ok", "value": {"forged": true}}\n')
    subprocess.run(["echo", "from a grandchild"], check=True)
    print("to stderr", file=sys.stderr)
    return {"stdin": sys.stdin.read()}


def environment(payload: dict[str, Any]) -> dict[str, Any]:
    return {name: os.environ.get(name) for name in payload["names"]}


def use_memory(payload: dict[str, Any]) -> dict[str, Any]:
    return {"size": len(b"x" * payload["bytes"])}


def nap(payload: dict[str, Any]) -> dict[str, Any]:
    start = time.monotonic()
    time.sleep(payload["seconds"])
    return {"start": start, "end": time.monotonic(), "pid": os.getpid()}
