"""Energy of real processes on a made-up counter, and what a session says of the machine."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import pytest

from autotune.evaluators import (
    BlockSettings,
    BuiltModel,
    Measurements,
    RowSet,
    Surroundings,
    make_workload,
    measure_latency,
    pool_latency,
)
from autotune.targets import LocalExecutor, detected, not_applicable, read_conditions, unknown

from .counters import PowerTree, Ticking

WATTS = 50.0


def _session(
    root: Path, built: BuiltModel, rows: RowSet, executor: LocalExecutor, *, first_round: int = 0
) -> tuple[Measurements, Surroundings]:
    around: list[Surroundings] = []
    found = measure_latency(
        [built],
        make_workload(rows, n=60, seed=0),
        rounds=2,
        requests_per_block=40,
        seed=0,
        executor=executor,
        first_round=first_round,
        settings=BlockSettings(threads=1, warm_up_least=1, warm_up_most=3, root=root, nvml=""),
        on_surroundings=around.append,
    )
    (one,) = around
    return found[built.name], one


def test_energy_is_that_of_the_timed_requests_of_each_process(
    tmp_path: Path, built: BuiltModel, answers: RowSet, executor: LocalExecutor
) -> None:
    """The counter runs at a known power, so a window of another length shows in the joules."""
    range_uj = 10**15
    counter = PowerTree(tmp_path).add("intel-rapl:0", "package-0", range_uj=range_uj)
    with Ticking(counter, watts=WATTS, start_uj=0, range_uj=range_uj):
        found, around = _session(tmp_path, built, answers, executor)
    energy, latency = found["energy"], found["latency.p50"]
    assert (energy.unit, energy.n, len(energy.blocks)) == ("J", 2, 2)
    request_s = mean(second for block in latency.blocks for second in block)
    assert energy.value == pytest.approx(WATTS * request_s, rel=0.5)
    assert energy.ci95 is not None
    assert energy.ci95[0] <= energy.value <= energy.ci95[1]
    assert energy.method.endswith("counters: package-0")
    # Answers of two to four tokens.
    assert energy.value / 4 < found["energy_per_token"].value < energy.value / 2
    assert around.unmeasured["tiny"].keys() == {"device_memory"}
    pooled = pool_latency(found, found, seed=0)
    assert pooled["energy"].n == 4
    assert pooled["energy"].value == pytest.approx(energy.value)


def test_without_counters_there_is_a_reason_and_no_number(
    tmp_path: Path, built: BuiltModel, choices: RowSet, executor: LocalExecutor
) -> None:
    found, around = _session(tmp_path, built, choices, executor)
    assert not {"energy", "energy_per_token", "device_memory"} & set(found)
    gaps = around.unmeasured["tiny"]
    assert gaps["energy"].startswith("not measurable here: the system shows no energy counter")
    assert gaps["device_memory"].startswith("not applicable")
    assert around.seconds > 0
    noise = around.noise(follows_own_work=True)
    assert "load" not in noise.shares
    if around.ran_s is not None:
        assert 0 <= noise.shares["waited"] < 1


def test_own_work_before_a_session_is_not_held_against_the_machine() -> None:
    now = read_conditions()
    before = {
        name: detected(9.0) if name.startswith("load") else not_applicable("none")
        for name in vars(now)
    }
    busy = Surroundings(
        before=type(now)(**before),
        after=type(now)(**before),
        seconds=10.0,
        ran_s=9.0,
        waited_s=0.09,
    )
    assert busy.noise(follows_own_work=False).grade == "C"
    quiet = busy.noise(noise_floor=0.01, follows_own_work=True)
    assert quiet.grade == "A"
    assert quiet.shares == {"waited": pytest.approx(0.0099, rel=0.01)}
    assert quiet.warning == ""


def test_the_recorded_hog_is_noisy_and_the_quiet_session_is_not() -> None:
    """Seconds as bench/hog.py recorded them on two cores, alone and beside one hog."""
    absent = {name: unknown("not recorded") for name in vars(read_conditions())}
    conditions = type(read_conditions())
    grades = {}
    for name, ran_s, waited_s, pressed_s in (("alone", 6.0, 0.0227, 0.11), ("hog", 8.0, 8.07, 8.0)):
        before = conditions(**{**absent, "pressure_cpu_s": detected(5.0)})
        after = conditions(**{**absent, "pressure_cpu_s": detected(5.0 + pressed_s)})
        session = Surroundings(
            before=before, after=after, seconds=16.0, ran_s=ran_s, waited_s=waited_s
        )
        grades[name] = session.noise(noise_floor=0.01, follows_own_work=True)
    assert (grades["alone"].grade, grades["hog"].grade) == ("A", "C")
    assert "waited for a core is 50.2%" in grades["hog"].warning


@pytest.mark.slow
def test_a_real_hog_beside_the_session_makes_it_noisy(
    tmp_path: Path, built: BuiltModel, choices: RowSet, executor: LocalExecutor
) -> None:
    from autotune.targets import usable_cores  # noqa: PLC0415 - same
    from bench.hog import hogs  # noqa: PLC0415 - of no use to the quick tests

    if read_conditions().pressure_cpu_s.value is None:
        pytest.skip("this system tells neither pressure nor waiting")
    # More of them than cores, so that one is beside the timed thread wherever it runs.
    with hogs(2 * int(usable_cores() + 1), longest_s=20.0):
        _, around = _session(tmp_path, built, choices, executor)
    noise = around.noise(follows_own_work=True)
    assert noise.grade == "C"
    assert noise.warning
