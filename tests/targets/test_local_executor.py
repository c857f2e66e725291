"""The executor with real children that sleep for ever, die, run out of memory and talk."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from autotune.errors import RunError, UsageError
from autotune.targets import Job, JobResult, LocalExecutor

from .orders import JOBS, job

MIB = 2**20


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(pids: list[int], limit_s: float) -> float:
    start = time.monotonic()
    while not all(is_gone(pid) for pid in pids):
        assert time.monotonic() - start < limit_s, [pid for pid in pids if not is_gone(pid)]
        time.sleep(0.02)
    return time.monotonic() - start


def read_pids(path: Path, limit_s: float = 20.0) -> list[int]:
    done = Path(f"{path}.done")
    start = time.monotonic()
    while not done.exists():
        assert time.monotonic() - start < limit_s
        time.sleep(0.02)
    return [int(pid) for pid in done.read_text(encoding="utf-8").split()]


def test_a_job_without_pool_has_a_process_of_its_own(executor: LocalExecutor) -> None:
    results = [executor.run(job("add", a=1, b=2)) for _ in range(2)]
    assert [result.status for result in results] == ["ok", "ok"]
    assert [result.value["sum"] for result in results] == [3, 3]
    assert len({os.getpid(), *(result.value["pid"] for result in results)}) == 3


def test_a_process_is_gone_when_its_only_result_arrives(executor: LocalExecutor) -> None:
    result = executor.run(job("add", a=1, b=2))
    assert is_gone(result.value["pid"])


def test_eight_jobs_of_a_pool_run_in_order_in_one_process(executor: LocalExecutor) -> None:
    handles = [executor.submit(job("remember", pool="p", number=n)) for n in range(8)]
    results = [executor.poll(30) for _ in handles]
    assert [result.handle for result in results if result] == handles
    assert results[-1] is not None
    assert results[-1].value["calls"] == list(range(8))
    assert len({result.value["pid"] for result in results if result}) == 1


def test_pools_run_beside_each_other_and_each_one_job_at_a_time(executor: LocalExecutor) -> None:
    pools = {}
    for number in range(6):
        pool = "ab"[number % 2]
        pools[executor.submit(job("nap", pool=pool, seconds=0.15))] = pool
    naps: dict[str, list[Any]] = {"a": [], "b": []}
    for _ in range(6):
        result = executor.poll(30)
        assert result is not None
        naps[pools[result.handle]].append(result.value)
    for own in naps.values():
        assert len({nap["pid"] for nap in own}) == 1
        assert all(one["end"] <= two["start"] for one, two in itertools.pairwise(own))
    assert naps["b"][0]["start"] < naps["a"][-1]["end"]
    assert naps["a"][0]["start"] < naps["b"][-1]["end"]


@pytest.mark.parametrize(
    ("name", "payload", "status", "error"),
    [
        ("fail", {"message": "rank is 0"}, "error", "ValueError: rank is 0"),
        ("fail", {"message": "std::bad_alloc"}, "out_of_memory", "std::bad_alloc"),
        ("not_a_dict", {}, "error", "TypeError: not_a_dict must return a dict, got [1]."),
        ("not_json", {}, "error", "not JSON serializable"),
        ("no_such_function", {}, "error", "AttributeError: "),
        ("exit_with", {"code": 3}, "crashed", "exit code 3"),
        ("exit_with", {"code": 0}, "crashed", "exit code 0"),
        ("kill_self", {"signal": signal.SIGSEGV}, "crashed", "SIGSEGV"),
        ("kill_self", {"signal": signal.SIGKILL}, "out_of_memory", "SIGKILL"),
        ("abort_like_cpp", {}, "out_of_memory", "std::bad_alloc"),
        ("allocate_beyond_limit", {"limit_bytes": 512 * MIB}, "out_of_memory", "MemoryError"),
    ],
)
def test_each_failure_has_its_status_and_the_pool_goes_on_in_order(
    executor: LocalExecutor, name: str, payload: dict[str, Any], status: str, error: str
) -> None:
    executor.submit(job(name, pool="p", **payload))
    executor.submit(job("add", pool="p", a=2, b=2))
    failed, after = executor.poll(30), executor.poll(30)
    assert failed is not None
    assert (failed.status, after and after.status) == (status, "ok")
    assert error in failed.error
    assert failed.value == {}


@pytest.mark.parametrize(
    ("name", "payload", "is_fresh"),
    [
        ("fail", {"message": "x"}, False),
        ("exit_with", {"code": 3}, True),
        ("allocate_beyond_limit", {"limit_bytes": 512 * MIB}, True),
    ],
)
def test_a_worker_survives_an_exception_and_is_replaced_after_worse(
    executor: LocalExecutor, name: str, payload: dict[str, Any], is_fresh: bool
) -> None:
    before = executor.run(job("add", pool="p", a=0, b=0)).value["pid"]
    executor.run(job(name, pool="p", **payload))
    after = executor.run(job("add", pool="p", a=0, b=0)).value["pid"]
    assert (before != after) == is_fresh


def test_a_traceback_names_the_line_that_raised(executor: LocalExecutor) -> None:
    result = executor.run(job("fail", message="x"))
    assert "jobs.py" in result.traceback
    assert "in fail" in result.traceback


@pytest.mark.parametrize("pool", [None, "p"])
def test_a_hanging_job_is_killed_with_its_grandchild(
    executor: LocalExecutor, tmp_path: Path, pool: str | None
) -> None:
    start = time.monotonic()
    pids_path = tmp_path / "pids"
    result = executor.run(
        job("sleep_for_ever_with_grandchild", pool=pool, timeout_s=1.5, pids=str(pids_path))
    )
    assert result.status == "timed_out"
    assert "no answer within 1.5 s" in result.error
    wait_until_gone(read_pids(pids_path), limit_s=5.0)
    assert time.monotonic() - start < 1.5 + 5.0


def test_a_running_job_can_be_cancelled(executor: LocalExecutor, tmp_path: Path) -> None:
    pids_path = tmp_path / "pids"
    handle = executor.submit(job("sleep_for_ever_with_grandchild", pids=str(pids_path)))
    pids = read_pids(pids_path)
    executor.cancel(handle)
    result = executor.poll(5)
    assert result is not None
    assert (result.handle, result.status) == (handle, "cancelled")
    wait_until_gone(pids, limit_s=5.0)


def test_a_waiting_job_can_be_cancelled_and_never_runs(executor: LocalExecutor) -> None:
    first = executor.submit(job("nap", pool="p", seconds=0.4))
    second = executor.submit(job("remember", pool="p", number=1))
    third = executor.submit(job("remember", pool="p", number=2))
    executor.cancel(second)
    results = {result.handle: result for result in (executor.poll(10) for _ in range(3)) if result}
    assert [results[one].status for one in (first, second, third)] == ["ok", "cancelled", "ok"]
    assert results[third].value["calls"] == [2]


def test_cancelling_what_has_ended_changes_nothing(executor: LocalExecutor) -> None:
    handle = executor.submit(job("add", pool="p", a=1, b=1))
    assert executor.poll(10) is not None
    executor.cancel(handle)
    executor.cancel("job-999")
    assert executor.run(job("add", pool="p", a=1, b=1)).status == "ok"
    assert executor.poll(0.05) is None


def test_poll_without_jobs_answers_none(executor: LocalExecutor) -> None:
    assert executor.poll() is None
    start = time.monotonic()
    assert executor.poll(0.1) is None
    assert time.monotonic() - start >= 0.1


def test_close_ends_jobs_that_ignore_the_polite_signal(tmp_path: Path) -> None:
    pids_path = tmp_path / "pids"
    with LocalExecutor() as executor:
        idle = executor.run(job("add", pool="idle", a=1, b=1)).value["pid"]
        executor.submit(job("sleep_for_ever_with_grandchild", pool="p", pids=str(pids_path)))
        executor.submit(job("add", pool="p", a=1, b=1))
        pids = read_pids(pids_path)
        start = time.monotonic()
    assert time.monotonic() - start < 5.0
    wait_until_gone([idle, *pids], limit_s=1.0)
    statuses = [result.status for result in (executor.poll(1), executor.poll(1)) if result]
    assert statuses == ["cancelled", "cancelled"]
    executor.close()
    with pytest.raises(RunError, match="closed"):
        executor.submit(job("add", a=1, b=1))


def test_what_a_job_prints_reaches_its_log_and_never_the_protocol(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    logs = [tmp_path / "deep" / "one.log", tmp_path / "two.log"]
    for log in (*logs, logs[1]):
        result = executor.run(
            Job(name="noisy", entry=f"{JOBS}:noisy", payload={}, pool="p", log_path=str(log))
        )
        assert (result.status, result.value) == ("ok", {"stdin": ""})
    for log, times in zip(logs, (1, 2), strict=True):
        text = log.read_text(encoding="utf-8")
        for line in ("from print", "from a grandchild", "to stderr", "forged"):
            assert text.count(line) == times


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        ({}, "ORT_DISABLE_TELEMETRY", "1"),
        ({}, "HF_HUB_OFFLINE", "1"),
        ({"HF_HUB_OFFLINE": "0"}, "HF_HUB_OFFLINE", "0"),
        ({}, "TOKENIZERS_PARALLELISM", "false"),
        ({"OMP_NUM_THREADS": "1"}, "OMP_NUM_THREADS", "1"),
    ],
)
def test_children_are_quiet_unless_the_job_says_otherwise(
    executor: LocalExecutor, given: dict[str, str], name: str, expected: str
) -> None:
    result = executor.run(
        Job(
            name="environment",
            entry=f"{JOBS}:environment",
            payload={"names": [name]},
            environment=given,
        )
    )
    assert result.value == {name: expected}


def test_thread_settings_are_left_to_the_user(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    result = executor.run(job("environment", names=["OMP_NUM_THREADS"]))
    assert result.value == {"OMP_NUM_THREADS": None}


def test_a_pool_gets_another_process_for_another_environment(executor: LocalExecutor) -> None:
    def pid(threads: str) -> int:
        result = executor.run(
            Job(
                name="add",
                entry=f"{JOBS}:add",
                payload={"a": 0, "b": 0},
                pool="p",
                environment={"OMP_NUM_THREADS": threads},
            )
        )
        return int(result.value["pid"])

    pids = [pid("1"), pid("1"), pid("2")]
    assert pids[0] == pids[1] != pids[2]
    wait_until_gone(pids[:1], limit_s=5.0)


def test_peak_memory_is_the_childs_own(executor: LocalExecutor) -> None:
    ballast = b"x" * (300 * MIB)
    small = executor.run(job("use_memory", bytes=1))
    large = executor.run(job("use_memory", bytes=200 * MIB))
    assert len(ballast) == 300 * MIB
    assert small.peak_rss_bytes is not None
    assert large.peak_rss_bytes is not None
    assert small.peak_rss_bytes < 100 * MIB
    assert 200 * MIB < large.peak_rss_bytes < 300 * MIB


def test_seconds_leave_waiting_for_the_worker_out(executor: LocalExecutor) -> None:
    handles = [executor.submit(job("nap", pool="p", seconds=0.3)) for _ in range(3)]
    results = [executor.poll(10) for _ in handles]
    for result in results:
        assert result is not None
        assert 0.3 <= result.seconds < 0.6


def test_nobody_uses_the_processor_while_nothing_is_to_do(executor: LocalExecutor) -> None:
    pid = executor.run(job("add", pool="p", a=1, b=1)).value["pid"]
    executor.submit(job("nap", pool="q", seconds=1.5))
    worker = psutil.Process(pid)
    before, own = worker.cpu_times(), time.process_time()
    assert executor.poll(10) is not None
    spent, after = time.process_time() - own, worker.cpu_times()
    # One tick of the clock is 0.01 s.
    assert after.user + after.system - before.user - before.system <= 0.02
    assert spent <= 0.05


def test_children_have_a_session_of_their_own(executor: LocalExecutor) -> None:
    handle = executor.submit(job("nap", seconds=1.0))
    time.sleep(0.3)
    children = psutil.Process().children()
    assert children
    assert all(os.getsid(child.pid) == child.pid for child in children)
    executor.cancel(handle)
    assert executor.poll(5) is not None


@pytest.mark.parametrize(
    ("entry", "payload", "message"),
    [
        ("autotune.no_such_module", {}, "There is no module 'autotune.no_such_module'"),
        ("/no/such/script.py", {}, "There is no script '/no/such/script.py'"),
        (f"{JOBS}:add", {"a": object()}, "must be JSON-able"),
    ],
)
def test_a_wrong_order_is_refused_at_once(
    executor: LocalExecutor, entry: str, payload: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        executor.submit(Job(name="x", entry=entry, payload=payload))


def test_a_time_limit_of_zero_is_refused(executor: LocalExecutor) -> None:
    with pytest.raises(UsageError, match="greater than zero"):
        executor.submit(job("add", timeout_s=0.0, a=1, b=1))


def test_an_interpreter_that_does_not_exist_is_an_error_of_the_job(
    executor: LocalExecutor,
) -> None:
    def run(interpreter: str) -> JobResult:
        return executor.run(
            Job(
                name="add",
                entry=f"{JOBS}:add",
                payload={"a": 1, "b": 1},
                interpreter=interpreter,
            )
        )

    missing = run("/no/such/python")
    assert (missing.status, missing.error[:17]) == ("error", "FileNotFoundError")
    assert run(sys.executable).status == "ok"
