"""Jobs that run one after the other, and the process that does them: pure bookkeeping.

A lane is a pool, or a single job that wants a fresh process. It is used by one
thread only (the supervisor of ``LocalExecutor``) and never blocks.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .child import Child
from .contract import Job, JobResult
from .entry import Entry
from .failure import describe_exit, kind_of_exit, kind_of_message, tail

__all__ = ["Lane", "Order"]

# What every child gets; a job's own environment wins.
_ENVIRONMENT = {
    "ORT_DISABLE_TELEMETRY": "1",  # the official wheels report home
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
# What holds unless the user has said otherwise. Threads of torch's OpenMP (GNU) wait for each
# other by spinning; where another process has one of the cores, that takes the core from the
# thread that is waited for: products of a training's size went 14 times slower on two cores
# with one busy, and not at all so with this, which costs nothing on idle cores.
_USUAL = {"GOMP_SPINCOUNT": "1000"}
# A killed process that is still there after that hangs in the kernel; it is given up.
_GIVE_UP_S = 4.0
# How long a process may take to end by itself after its only answer.
_LEAVE_S = 2.0

Ending = Literal["timed_out", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class Order:
    """A job that was handed in.

    Attributes:
        handle: its name in the executor.
        job: what to do.
        entry: the job's entry, read.
        payload: the job's payload as JSON text.
    """

    handle: str
    job: Job
    entry: Entry
    payload: str


@dataclass(kw_only=True)
class _Running:
    order: Order
    child: Child
    started: float
    deadline: float
    log_path: Path
    log_start: int
    is_last: bool
    ending: Ending | None = None
    result: JobResult | None = None


class Lane:
    """One queue of orders and at most one process at work.

    Args:
        events: where its children report.
        deliver: takes each result.
        scratch: an existing folder for payloads and outputs that nobody keeps.
        is_pool: keep the process for the next job.
    """

    def __init__(
        self,
        *,
        events: queue.SimpleQueue[Any],
        deliver: Callable[[JobResult], None],
        scratch: Path,
        is_pool: bool,
    ) -> None:
        self._events = events
        self._deliver = deliver
        self._scratch = scratch
        self._is_pool = is_pool
        self._waiting: deque[Order] = deque()
        self._running: _Running | None = None
        self._worker: tuple[Child, object] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether an order waits or runs."""
        return bool(self._waiting) or self._running is not None

    @property
    def deadline(self) -> float | None:
        """When ``expire`` is due, on the clock of ``time.monotonic``."""
        return None if self._running is None else self._running.deadline

    def add(self, order: Order) -> None:
        """Queue an order and start it if the lane is free."""
        self._waiting.append(order)
        self._start_next()

    def take_reply(self, child: Child, line: bytes) -> None:
        """Take in the answer of a child."""
        running = self._running
        # An answer that crossed with a kill is void: the order's fate is sealed.
        if running is None or running.child is not child or running.ending is not None:
            return
        running.result = _result_of(running.order, line)
        if running.is_last:
            # The result waits for the death: what runs next must find the machine free.
            running.deadline = time.monotonic() + _LEAVE_S
        else:
            self._finish(running.result)

    def take_death(self, child: Child, code: int) -> None:
        """Take in the end of a child; the next job of a pool gets a fresh one."""
        if self._worker is not None and self._worker[0] is child:
            self._worker = None
        running = self._running
        if running is not None and running.child is child:
            self._finish(running.result or _result_of_death(running, code))

    def cancel(self, handle: str) -> None:
        """Drop a waiting order, or kill the running one; unknown handles have ended before."""
        for order in self._waiting:
            if order.handle == handle:
                self._waiting.remove(order)
                self._deliver(
                    JobResult(handle=handle, status="cancelled", error="cancelled before it began")
                )
                return
        if self._running is not None and self._running.order.handle == handle:
            self._end("cancelled")

    def expire(self) -> None:
        """Kill what is over its time, or give up on what would not die."""
        running = self._running
        if running is None:
            return
        if running.ending is None:
            self._end("timed_out")
        else:
            self._finish(running.result or _result_of_death(running, None))

    def stop(self) -> list[Child]:
        """Cancel everything and return the processes that remain to be ended."""
        for order in list(self._waiting):
            self.cancel(order.handle)
        children = [] if self._worker is None else [self._worker[0]]
        if self._running is not None:
            children.append(self._running.child)
            self._running.ending = "cancelled"
        return children

    def _end(self, ending: Ending) -> None:
        assert self._running is not None  # noqa: S101 - callers looked
        self._running.ending = ending
        self._running.deadline = time.monotonic() + _GIVE_UP_S
        self._running.child.kill()

    def _finish(self, result: JobResult) -> None:
        running = self._running
        assert running is not None  # noqa: S101 - callers looked
        self._running = None
        # A process that ran out of memory once is not what the next job expects.
        if result.status == "out_of_memory":
            running.child.kill()
            self._worker = None
        self._tidy(running)
        self._deliver(result)
        self._start_next()

    def _tidy(self, running: _Running) -> None:
        output = self._scratch / f"{running.order.handle}.out"
        if running.order.job.log_path and output.exists():
            with contextlib.suppress(OSError), running.log_path.open("ab") as log:
                log.write(output.read_bytes())
        for path in self._scratch.glob(f"{running.order.handle}.*"):
            with contextlib.suppress(OSError):
                path.unlink()

    def _start_next(self) -> None:
        while self._running is None and self._waiting:
            order = self._waiting.popleft()
            try:
                self._running = self._start(order)
            except OSError as error:  # no such interpreter, no room for the log, no processes left
                message = f"{type(error).__name__}: {error}"
                self._deliver(JobResult(handle=order.handle, status="error", error=message))

    def _start(self, order: Order) -> _Running:
        job = order.job
        log_path = Path(job.log_path).absolute() if job.log_path else self._file(order, "log")
        log_path.parent.mkdir(parents=True, exist_ok=True)
        log_start = log_path.stat().st_size if log_path.exists() else 0
        self._file(order, "json").write_text(order.payload, encoding="utf-8")
        child = self._child_for(order)
        started = time.monotonic()
        command = self._command(order, log_path)
        child.send(json.dumps(command))
        return _Running(
            order=order,
            child=child,
            started=started,
            deadline=started + job.timeout_s,
            log_path=log_path,
            log_start=log_start,
            is_last=bool(command["is_last"]),
        )

    def _file(self, order: Order, ending: str) -> Path:
        return self._scratch / f"{order.handle}.{ending}"

    def _command(self, order: Order, log_path: Path) -> dict[str, Any]:
        is_script = order.entry.kind == "script"
        return {
            "kind": order.entry.kind,
            "place": order.entry.place,
            "function": order.entry.function,
            "payload_path": str(self._file(order, "json")),
            "log_path": str(log_path),
            "stdout_path": str(self._file(order, "out")) if is_script else "",
            "is_last": is_script or not self._is_pool,
        }

    def _child_for(self, order: Order) -> Child:
        """Return the pool's process where it fits the order, else a new one."""
        interpreter = order.job.interpreter or sys.executable
        environment = {**_USUAL, **os.environ, **_ENVIRONMENT, **order.job.environment}
        is_kept = self._is_pool and order.entry.kind == "function"
        fit = (interpreter, tuple(sorted(environment.items())))
        if is_kept and self._worker is not None:
            child, fitted = self._worker
            if fitted == fit:
                return child
            child.kill()
        child = Child(
            interpreter=interpreter,
            environment=environment,
            scratch=self._scratch,
            events=self._events,
        )
        if is_kept:
            self._worker = (child, fit)
        return child


def _result_of(order: Order, line: bytes) -> JobResult:
    reply = json.loads(line)
    status = reply["status"]
    error = reply.get("error", "")
    return JobResult(
        handle=order.handle,
        status=status if status == "ok" else kind_of_message(error),
        value=reply.get("value", {}),
        error=error,
        traceback=reply.get("traceback", ""),
        seconds=reply["seconds"],
        peak_rss_bytes=reply.get("peak_rss_bytes"),
    )


def _result_of_death(running: _Running, code: int | None) -> JobResult:
    job = running.order.job
    last_output = tail(running.log_path, start=running.log_start)
    if running.ending == "timed_out":
        reason = f"no answer within {job.timeout_s:g} s; the process was killed"
    elif running.ending == "cancelled":
        reason = "cancelled while it ran"
    else:
        reason = describe_exit(code, last_output)
    return JobResult(
        handle=running.order.handle,
        status=running.ending or _status_of_exit(code, last_output),
        error=f"WorkerError: {job.name}: {reason}.",
        traceback=last_output,
        seconds=time.monotonic() - running.started,
    )


def _status_of_exit(code: int | None, last_output: str) -> Literal["crashed", "out_of_memory"]:
    kind = kind_of_exit(code, last_output)
    return "out_of_memory" if kind == "out_of_memory" else "crashed"
