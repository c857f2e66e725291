from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import AutotuneError, HardwareError, RunError
from autotune.evaluators import (
    BlockSettings,
    BuiltModel,
    Measurements,
    RowSet,
    Workload,
    child_result,
    compare_latency,
    latency_job,
    make_workload,
    measure_latency,
    pool_latency,
)
from autotune.targets import Job, LocalExecutor

_QUICK = BlockSettings(threads=1, warm_up_least=1, warm_up_most=3)


@pytest.fixture(scope="module")
def requests(choices: RowSet) -> Workload:
    return make_workload(choices, n=60, seed=0)


@pytest.fixture(scope="module")
def session(
    executor: LocalExecutor, built: BuiltModel, requests: Workload
) -> tuple[dict[str, Measurements], list[str]]:
    """Two models (one under two names) over four rounds of fifteen requests."""
    lines: list[str] = []
    results = measure_latency(
        [built, replace(built, name="twin")],
        requests,
        rounds=4,
        requests_per_block=15,
        seed=3,
        executor=executor,
        settings=_QUICK,
        on_progress=lines.append,
    )
    return results, lines


def test_every_metric_has_its_samples_and_interval(
    session: tuple[dict[str, Measurements], list[str]],
) -> None:
    results, _ = session
    assert set(results) == {"tiny", "twin"}
    found = results["tiny"]
    timed = {f"{metric}.{q}" for metric in ("latency", "ttft") for q in ("p50", "p90", "p95")}
    assert set(found) == timed | {"load", "memory"}
    p95 = found["latency.p95"]
    assert (p95.n, p95.unit, [len(b) for b in p95.blocks]) == (60, "s", [15] * 4)
    assert p95.ci95 is not None
    assert 0 < found["latency.p50"].value <= p95.value
    assert p95.ci95[0] <= p95.value <= p95.ci95[1]
    assert found["load"].n == found["memory"].n == 4
    assert 10e6 < found["memory"].value < 2e9


def test_rounds_hold_every_model_once_in_an_order_that_varies(
    session: tuple[dict[str, Measurements], list[str]],
) -> None:
    _, lines = session
    names = [line.rpartition(": ")[2] for line in lines]
    pairs = [tuple(names[i : i + 2]) for i in range(0, 8, 2)]
    assert all(set(pair) == {"tiny", "twin"} for pair in pairs)
    assert len(set(pairs)) == 2


def test_a_model_and_its_twin_can_be_compared_round_by_round(
    session: tuple[dict[str, Measurements], list[str]],
) -> None:
    first, second = (session[0][name]["latency.p50"].blocks for name in ("tiny", "twin"))
    comparison = compare_latency(first, second)
    assert comparison.rounds == 4
    assert 0.2 < comparison.ratio < 5
    assert (comparison.ci95, comparison.verdict) == (None, "same")  # four rounds say nothing


def test_high_percentiles_are_absent_below_their_sample_size(
    executor: LocalExecutor, built: BuiltModel, answers: RowSet
) -> None:
    workload = make_workload(answers, n=60, seed=0)
    options: dict[str, Any] = {"requests_per_block": 15, "seed": 0, "settings": _QUICK}
    options["executor"] = executor
    first, second = (
        measure_latency([built], workload, rounds=2, first_round=start, **options)["tiny"]
        for start in (0, 2)
    )
    timed = {f"{m}.{q}" for m in ("latency", "ttft", "tpot") for q in ("p50", "p90")}
    assert set(first) == timed | {"load", "memory"}
    assert first["ttft.p50"].value < first["latency.p50"].value
    pooled = pool_latency(first, second, seed=0)
    assert pooled["latency.p95"].n == 60
    assert pooled["load"].n == pooled["memory"].n == 4
    assert pooled["tpot.p50"].blocks == first["tpot.p50"].blocks + second["tpot.p50"].blocks


def test_generation_makes_exactly_the_reference_number_of_tokens(
    executor: LocalExecutor, built: BuiltModel, answers: RowSet
) -> None:
    workload = make_workload(answers, n=60, seed=0)
    job = latency_job(built, workload, round_number=0, requests_per_block=12, settings=_QUICK)
    block = child_result(executor.run(job), built)["latency"]
    wanted = [len(row.answer_ids) for row in workload.rows.rows[:12]]
    assert block["new_tokens"] == wanted
    assert len(block["total_s"]) == len(block["ttft_s"]) == 12
    assert len(block["tpot_s"]) == sum(n > 1 for n in wanted)
    assert block["peak_bytes"] >= block["pss_bytes"]
    assert 1 <= len(block["warm_up_s"]) <= 3


def test_threads_reach_the_session(
    executor: LocalExecutor, built: BuiltModel, requests: Workload
) -> None:
    """The runtime takes unknown settings without a word, so the threads are counted."""
    counts = []
    for threads in (1, 4):
        settings = replace(_QUICK, threads=threads)
        job = latency_job(built, requests, round_number=0, requests_per_block=1, settings=settings)
        value = child_result(executor.run(job), built)
        assert value["threads"] == threads
        counts.append(value["os_threads"])
    assert counts[1] == counts[0] + 3


def test_a_hopeless_model_is_left_after_its_first_block(
    executor: LocalExecutor, built: BuiltModel, requests: Workload
) -> None:
    lines: list[str] = []

    def is_hopeless(name: str, found: Measurements) -> bool:
        return name == "slow" and found["latency.p50"].value > 10 * 1e-9

    results = measure_latency(
        [built, replace(built, name="slow")],
        requests,
        rounds=2,
        requests_per_block=2,
        seed=0,
        executor=executor,
        settings=_QUICK,
        stop_when=is_hopeless,
        on_progress=lines.append,
    )
    assert results["slow"]["latency.p50"].n == 2
    assert results["tiny"]["latency.p50"].n == 4
    assert sum("slow" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("hopeless_s", "n", "n_warm_up"), [(1e-9, 3, 3), (60.0, 8, 5), (None, 8, 5)]
)
def test_a_block_of_a_hopelessly_slow_model_ends_after_three_requests(
    executor: LocalExecutor,
    built: BuiltModel,
    requests: Workload,
    *,
    hopeless_s: float | None,
    n: int,
    n_warm_up: int,
) -> None:
    # Times may settle by chance before the last; what ends the warm-up is its length, or hope.
    settings = BlockSettings(
        threads=1,
        warm_up_least=n_warm_up,
        warm_up_most=5,
        warm_up_tolerance=0.0,
        hopeless_s=hopeless_s,
    )
    job = latency_job(built, requests, round_number=0, requests_per_block=8, settings=settings)
    block = child_result(executor.run(job), built)["latency"]
    assert len(block["total_s"]) == len(block["new_tokens"]) == len(block["prompt_tokens"]) == n
    assert len(block["warm_up_s"]) == n_warm_up


def test_one_failing_model_does_not_take_the_others_with_it(
    executor: LocalExecutor, built: BuiltModel, requests: Workload
) -> None:
    failures: dict[str, AutotuneError] = {}
    options: dict[str, Any] = {"rounds": 2, "requests_per_block": 1, "seed": 0}
    absent = replace(built, name="gpu", provider="webgpu")
    results = measure_latency(
        [built, absent],
        requests,
        executor=executor,
        settings=_QUICK,
        on_failure=failures.__setitem__,
        **options,
    )
    assert set(results) == {"tiny"}
    assert isinstance(failures["gpu"], HardwareError)
    with pytest.raises(HardwareError):
        measure_latency([absent], requests, executor=executor, **options)


def test_nothing_else_may_run_beside_a_measurement(
    executor: LocalExecutor, built: BuiltModel, requests: Workload
) -> None:
    executor.submit(Job(name="other", entry="json:loads", payload={}))
    with pytest.raises(RunError, match="to itself"):
        measure_latency(
            [built], requests, rounds=1, requests_per_block=1, seed=0, executor=executor
        )
    while executor.poll() is not None:
        pass


@pytest.mark.parametrize(("rounds", "per_block", "copies"), [(0, 1, 1), (1, 0, 1), (1, 1, 2)])
def test_senseless_sessions_are_refused(
    rounds: int,
    per_block: int,
    copies: int,
    executor: LocalExecutor,
    requests: Workload,
) -> None:
    model = BuiltModel(name="m", path=Path("nowhere"), provider="cpu")
    with pytest.raises(ValueError, match=r"distinct|at least 1"):
        measure_latency(
            [model] * copies,
            requests,
            rounds=rounds,
            requests_per_block=per_block,
            seed=0,
            executor=executor,
        )


def test_a_warm_up_that_never_ends_is_refused() -> None:
    with pytest.raises(ValueError, match="warm-up"):
        BlockSettings(warm_up_least=5, warm_up_most=3)
