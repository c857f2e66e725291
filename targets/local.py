"""``LocalExecutor``: jobs in child processes of this machine.

One supervisor thread owns all bookkeeping and blocks on a queue of events
(orders, answers, deaths, deadlines), so the parent uses no CPU while a child
is being timed. Children end when the executor closes, and also when its process
is killed: the worker watches its command pipe.
"""

from __future__ import annotations

import itertools
import json
import queue
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from autotune.errors import RunError, UsageError

from .child import Child, Dead, Reply
from .contract import Job, JobResult
from .entry import read_entry
from .lane import Lane, Order
from .versions import capabilities_of

__all__ = ["LocalExecutor"]

_TERMINATE_S = 2.0
_KILL_S = 2.0


@dataclass(frozen=True, kw_only=True)
class _Submitted:
    order: Order


@dataclass(frozen=True, kw_only=True)
class _Cancelled:
    handle: str


@dataclass(frozen=True, kw_only=True)
class _Closed:
    pass


class LocalExecutor:
    """Runs jobs in child processes; an ``Executor``, and a context manager that closes it.

    ``submit`` and ``poll`` may be called from different threads. Failures of a job
    are statuses of its result, never exceptions here.
    """

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(
            prefix="autotune-jobs-", ignore_cleanup_errors=True
        )
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[JobResult] = queue.SimpleQueue()
        self._numbers = itertools.count(1)
        self._lanes: dict[str, Lane] = {}
        self._outstanding: set[str] = set()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def submit(self, job: Job) -> str:
        """Start ``job``, or queue it behind its pool, and return a handle.

        Raises:
            UsageError: the entry does not exist, the payload is not JSON-able, or the
                time limit is not greater than zero.
            RunError: the executor is closed.
        """
        if self._is_closed:
            raise RunError(f"The executor is closed and cannot take {job.name!r}; make a new one.")
        order = Order(
            handle=f"job-{next(self._numbers)}",
            job=job,
            entry=read_entry(job.entry),
            payload=_payload_text(job),
        )
        self._outstanding.add(order.handle)
        if self._supervisor.ident is None:
            self._supervisor.start()
        self._events.put(_Submitted(order=order))
        return order.handle

    def poll(self, timeout_s: float | None = None) -> JobResult | None:
        """Block until a job ends or the time is over, and return its result or None.

        With no time limit and no job at hand the answer is None at once, because
        nothing would ever wake the caller.
        """
        if timeout_s is None and not self._outstanding:
            return None
        try:
            result = self._results.get(timeout=timeout_s)
        except queue.Empty:
            return None
        self._outstanding.discard(result.handle)
        return result

    def run(self, job: Job) -> JobResult:
        """Submit ``job`` and wait for it; for callers that have no other job under way."""
        handle = self.submit(job)
        while (result := self.poll()) is not None:
            if result.handle == handle:
                return result
        raise RunError(f"The executor was closed while {job.name!r} ran.")

    def cancel(self, handle: str) -> None:
        """Kill a job with its process group; a job that has ended keeps its result."""
        self._events.put(_Cancelled(handle=handle))

    def capabilities(self, interpreter: str = "") -> dict[str, Any]:
        """Return versions and device class of the workers, for store keys.

        Args:
            interpreter: Python of the workers; empty is this one.

        Raises:
            HardwareError: the interpreter cannot be run.
        """
        return capabilities_of(interpreter or sys.executable)

    def close(self) -> None:
        """End every child within a few seconds; calling it again does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._supervisor.ident is not None:
            self._events.put(_Closed())
            self._supervisor.join(_TERMINATE_S + _KILL_S + 1.0)
        self._scratch.cleanup()

    def _supervise(self) -> None:
        while True:
            event = self._next_event()
            if isinstance(event, _Closed):
                self._end_children()
                return
            self._handle(event)

    def _next_event(self) -> Any:
        """Return the next event, or None when a deadline has come."""
        deadlines = [lane.deadline for lane in self._lanes.values() if lane.deadline is not None]
        wait_s = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        try:
            # Longer waits than a day overflow the platform's timers; waking up once a day is cheap.
            return self._events.get(timeout=None if wait_s is None else min(wait_s, 86400.0))
        except queue.Empty:
            return None

    def _handle(self, event: Any) -> None:
        match event:
            case _Submitted(order=order):
                self._lane(order).add(order)
            case _Cancelled(handle=handle):
                for lane in list(self._lanes.values()):
                    lane.cancel(handle)
            case Reply(child=child, line=line):
                for lane in list(self._lanes.values()):
                    lane.take_reply(child, line)
            case Dead(child=child, code=code):
                for lane in list(self._lanes.values()):
                    lane.take_death(child, code)
        self._expire()
        self._forget_finished()

    def _lane(self, order: Order) -> Lane:
        # A handle cannot be a pool's name by accident: pools are prefixed.
        key = order.handle if order.job.pool is None else f"pool {order.job.pool}"
        if key not in self._lanes:
            self._lanes[key] = Lane(
                events=self._events,
                deliver=self._results.put,
                scratch=Path(self._scratch.name),
                is_pool=order.job.pool is not None,
            )
        return self._lanes[key]

    def _expire(self) -> None:
        now = time.monotonic()
        for lane in self._lanes.values():
            if lane.deadline is not None and lane.deadline <= now:
                lane.expire()

    def _forget_finished(self) -> None:
        for key, lane in list(self._lanes.items()):
            if not key.startswith("pool ") and not lane.is_busy:
                del self._lanes[key]

    def _end_children(self) -> None:
        children = {child for lane in self._lanes.values() for child in lane.stop()}
        for child in children:
            child.terminate()
        children = self._await_deaths(children, _TERMINATE_S)
        for child in children:
            child.kill()
        self._await_deaths(children, _KILL_S)

    def _await_deaths(self, children: set[Child], limit_s: float) -> set[Child]:
        """Take in deaths for at most ``limit_s`` and return who is left."""
        left = set(children)
        end = time.monotonic() + limit_s
        while left and (wait_s := end - time.monotonic()) > 0:
            try:
                event = self._events.get(timeout=wait_s)
            except queue.Empty:
                break
            if isinstance(event, Dead):
                left.discard(event.child)
                for lane in self._lanes.values():
                    lane.take_death(event.child, event.code)
        return left


def _payload_text(job: Job) -> str:
    if not job.timeout_s > 0:
        raise UsageError(f"timeout_s must be greater than zero, got {job.timeout_s!r}.")
    try:
        return json.dumps(dict(job.payload))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"The payload of {job.name!r} must be JSON-able: {error}; use autotune.plain.to_plain."
        ) from error
