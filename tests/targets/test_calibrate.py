"""Rates are measured in a child, every sample kept; what is not measured has its reason."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.calibration import (
    DeviceCalibration,
    Rate,
    decode_floor_s,
    forward_operations,
    make_rate,
    prefill_floor_s,
)
from autotune.errors import UsageError
from autotune.plain import from_plain, to_plain
from autotune.targets import (
    OPERATORS,
    CalibrationPlan,
    Conditions,
    Disturbance,
    Fact,
    Finding,
    Gpu,
    LocalExecutor,
    Product,
    calibrate,
    detected,
    device_reasons,
    disturbance,
    family_named,
    grade_noise,
    product_model,
    survey,
    unknown,
)

from .some_gpu import some_gpu

SECONDS = st.lists(st.floats(1e-7, 1e3), min_size=1, max_size=20).map(tuple)


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor() as made:
        yield made


@pytest.fixture(scope="module")
def finding(executor: LocalExecutor) -> Finding:
    (found,) = survey(executor, known=[family_named("cpu")])
    if found.target is None:
        pytest.skip(found.reason)
    return found


def small_plan(**changes: Any) -> CalibrationPlan:
    products = tuple(Product(label=label, m=16, k=64, n=96) for label in OPERATORS)
    plan = CalibrationPlan(
        read_bytes=(2**20,), products=products, rounds=4, per_block=2, limit_s=8.0, notes=("small",)
    )
    return dataclasses.replace(plan, **changes)


# The child


@pytest.fixture(scope="module")
def measured(executor: LocalExecutor, finding: Finding) -> DeviceCalibration:
    return calibrate(finding, small_plan(), executor=executor)


def test_reads_and_products_come_with_every_sample(measured: DeviceCalibration) -> None:
    bandwidth = measured.bandwidth()
    assert bandwidth is not None
    assert (bandwidth.work, bandwidth.operator) == (2**20, "numpy.maximum.reduce")
    product = measured.product("fp32")
    assert product is not None
    assert (product.shape, product.work) == ((16, 64, 96), 2 * 16 * 64 * 96)
    assert {"fp32", "int8", "int4"} <= set(measured.data_types())
    assert all(len(rate.samples_s) >= 5 for rate in measured.rates)


def test_what_the_runtime_has_no_kernel_for_is_told_in_its_words(
    measured: DeviceCalibration,
) -> None:
    refused = {one.what.split()[1]: one.reason for one in measured.unmeasured}
    missing = {"fp32", "fp16", "bf16", "int8", "int4"} - set(measured.data_types())
    assert missing == set(refused)
    for reason in refused.values():
        assert "NotImplemented" in reason


def test_the_same_work_is_timed_under_two_names_in_the_same_rounds(
    measured: DeviceCalibration,
) -> None:
    assert measured.control is not None
    assert measured.control.work == "MatMul fp32 16x64x96"
    for blocks in (measured.control.first, measured.control.second):
        assert [len(block) for block in blocks] == [2, 2, 2, 2]


def test_versions_and_notes_are_kept(measured: DeviceCalibration) -> None:
    assert measured.notes[0] == "small"
    assert "onnxruntime 1." in measured.notes[1]
    assert from_plain(DeviceCalibration, to_plain(measured)) == measured


def test_a_calibration_that_is_out_of_time_says_so_and_keeps_what_it_has(
    executor: LocalExecutor, finding: Finding
) -> None:
    late = calibrate(finding, small_plan(limit_s=1e-6), executor=executor)
    assert late.bandwidth() is not None
    assert {one.reason for one in late.unmeasured} == {"no time left"}
    assert late.control is None


def test_one_row_against_a_plain_matrix_is_a_memory_read(
    executor: LocalExecutor, finding: Finding
) -> None:
    plan = small_plan(read_bytes=(), products=(Product(label="fp32", m=1, k=64, n=96),))
    found = calibrate(finding, plan, executor=executor)
    bandwidth = found.bandwidth()
    assert bandwidth is not None
    assert (bandwidth.operator, bandwidth.work) == ("MatMul", 4 * 64 * 96)
    assert found.data_types() == ()


def test_a_child_that_cannot_work_costs_the_rates_and_nothing_else(
    executor: LocalExecutor, finding: Finding, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "v"], check=True)
    python = tmp_path / "v" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    bare = dataclasses.replace(finding, interpreter=str(python))
    found = calibrate(bare, small_plan(), executor=executor)
    assert found.rates == ()
    assert [one.what for one in found.unmeasured] == ["everything"]
    assert "No module named" in found.unmeasured[0].reason


def test_only_a_proven_target_is_calibrated(executor: LocalExecutor) -> None:
    absent = Finding(
        family=family_named("cuda"), interpreter=sys.executable, status="absent", reason="none"
    )
    with pytest.raises(UsageError, match="'cuda' is absent"):
        calibrate(absent, small_plan(), executor=executor)


# Models


@pytest.mark.parametrize("repeat", [1, 3])
def test_the_model_multiplies_as_often_as_it_says(repeat: int) -> None:
    ort = pytest.importorskip("onnxruntime")

    product = Product(label="fp32", m=3, k=8, n=8, repeat=repeat)
    rng = np.random.default_rng(0)
    x = rng.random((3, 8), dtype=np.float32)
    w = rng.random((8, 8), dtype=np.float32)
    settings = ort.SessionOptions()
    stored = ort.OrtValue.ortvalue_from_numpy(w)
    settings.add_external_initializers(["w"], [stored])
    session = ort.InferenceSession(
        product_model(product), settings, providers=["CPUExecutionProvider"]
    )
    (y,) = session.run(None, {"x": x})
    np.testing.assert_allclose(y, x @ np.linalg.matrix_power(w, repeat), rtol=1e-4)
    assert product.operations == repeat * 2 * 3 * 8 * 8


@pytest.mark.parametrize(
    "form",
    [
        {"label": "fp32", "m": 0, "k": 8, "n": 8},
        {"label": "fp32", "m": 2, "k": 8, "n": 9, "repeat": 2},
        {"label": "int8-plain", "m": 2, "k": 8, "n": 8, "repeat": 2},
        {"label": "int4", "m": 2, "k": 40, "n": 8},
    ],
)
def test_an_impossible_product_is_refused(form: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Product(**form)


def test_stored_arrays_have_the_sizes_of_their_bits() -> None:
    for label, operator in OPERATORS.items():
        kind, shape = Product(label=label, m=1, k=64, n=48).weights()["w"]
        bits = operator.bits or {"fp32": 32, "fp16": 16, "bf16": 16, "s8": 8}[kind]
        width = 8 if operator.bits else bits
        assert math.prod(shape) * width == 64 * 48 * bits


# Rates and floors


def rate(samples_s: tuple[float, ...], *, work: int = 10**6) -> Rate:
    return make_rate(
        kind="matrix_product",
        data_type="fp32",
        operator="MatMul",
        shape=(1, 2, 3),
        work=work,
        samples_s=samples_s,
    )


@given(samples_s=SECONDS, work=st.integers(1, 10**15))
def test_the_best_rate_is_no_lower_than_the_median_and_survives_the_disk(
    samples_s: tuple[float, ...], work: int
) -> None:
    made = rate(samples_s, work=work)
    assert made.best >= made.median > 0
    assert from_plain(Rate, to_plain(made)) == made


@given(samples_s=SECONDS, factor=st.sampled_from([0.5, 0.999, 1.001, 2.0]))
def test_a_rate_that_its_samples_do_not_give_is_refused(
    samples_s: tuple[float, ...], factor: float
) -> None:
    made = rate(samples_s)
    for name in ("median", "best"):
        with pytest.raises(ValueError, match="follow from its samples"):
            dataclasses.replace(made, **{name: getattr(made, name) * factor})


@pytest.mark.parametrize("samples_s", [(), (0.0,), (math.nan,), (math.inf,), (1.0, -1.0)])
def test_a_rate_needs_times(samples_s: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="finite times above 0"):
        rate(samples_s)


def test_floors_are_amount_over_rate() -> None:
    # 135 M weights in int4 with their scales, read at 20 GB/s.
    assert decode_floor_s(weight_bytes=90e6, bandwidth_bytes_per_s=20e9) == pytest.approx(4.5e-3)
    work = forward_operations(weights=135_000_000, tokens=64)
    assert prefill_floor_s(operations=work, rate_op_per_s=200e9) == pytest.approx(86.4e-3)


def test_weights_that_the_cache_keeps_are_read_at_its_rate() -> None:
    rates = {"bandwidth_bytes_per_s": 10e9, "cached_bytes_per_s": 40e9}
    fits = decode_floor_s(weight_bytes=80e6, cache_bytes=100_000_000, **rates)
    assert fits == pytest.approx(2e-3)
    half = decode_floor_s(weight_bytes=200e6, cache_bytes=100_000_000, **rates)
    assert half == pytest.approx(10e-3 + 2.5e-3)


@given(
    weight_bytes=st.floats(1, 1e12),
    memory=st.floats(1e6, 1e13),
    cached=st.floats(1e6, 1e13),
    cache_bytes=st.integers(0, 10**10),
)
def test_a_cache_never_raises_a_floor(
    weight_bytes: float, memory: float, cached: float, cache_bytes: int
) -> None:
    plain = decode_floor_s(weight_bytes=weight_bytes, bandwidth_bytes_per_s=memory)
    with_cache = decode_floor_s(
        weight_bytes=weight_bytes,
        bandwidth_bytes_per_s=memory,
        cached_bytes_per_s=cached,
        cache_bytes=cache_bytes,
    )
    assert 0 < with_cache <= plain * (1 + 1e-9)


def test_a_device_knows_its_own_floors(measured: DeviceCalibration) -> None:
    decode = measured.decode_floor_s(90e6)
    prefill = measured.prefill_floor_s(1e9, "fp32")
    assert decode is not None
    assert prefill is not None
    assert min(decode, prefill) > 0
    assert measured.prefill_floor_s(1e9, "fp64") is None
    assert dataclasses.replace(measured, rates=()).decode_floor_s(90e6) is None


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_a_floor_of_nothing_is_refused(wrong: float) -> None:
    with pytest.raises(UsageError, match="finite and above 0"):
        decode_floor_s(weight_bytes=90e6, bandwidth_bytes_per_s=wrong)
    with pytest.raises(UsageError, match="finite and above 0"):
        prefill_floor_s(operations=wrong, rate_op_per_s=1e9)


# Grades


def conditions(**known: float) -> Conditions:
    names = [one.name for one in dataclasses.fields(Conditions)]
    facts: dict[str, Fact[float]] = {
        name: detected(known[name]) if name in known else unknown("not here") for name in names
    }
    return Conditions(**facts)


def test_counters_become_shares_and_what_is_unknown_stays_so() -> None:
    before = conditions(load_1min=1.0, steal_s=10.0, pressure_cpu_s=5.0)
    after = conditions(load_1min=2.0, steal_s=10.4, pressure_cpu_s=6.0)
    found = disturbance(before, after, seconds=10.0, usable_cores=2.0)
    assert found.load.value == 0.5
    assert found.steal.value == pytest.approx(0.02)
    assert found.pressure.value == pytest.approx(0.1)
    assert (found.throttled.status, found.throttled.reason) == ("unknown", "not here")


@pytest.mark.parametrize(
    ("shares", "floor", "grade", "reasons"),
    [
        ((0.1, 0.0, 0.05, None), 0.01, "A", 0),
        ((0.6, 0.0, 0.05, None), 0.01, "B", 1),
        ((1.2, 0.0, 0.05, None), 0.01, "C", 1),
        ((0.1, 0.06, 0.05, None), 0.01, "C", 1),
        ((0.1, 0.0, 0.2, 0.02), 0.03, "B", 3),
        ((0.1, 0.0, 0.05, None), 0.2, "C", 1),
        ((0.1, 0.0, 0.05, None), None, "B", 1),
        ((None, None, None, None), 0.01, "B", 1),
    ],
)
def test_the_grade_is_that_of_the_worst_and_says_why(
    shares: tuple[float | None, ...], floor: float | None, grade: str, reasons: int
) -> None:
    facts = [unknown("no counter") if share is None else detected(share) for share in shares]
    load, steal, pressure, throttled = facts
    found = grade_noise(
        Disturbance(load=load, steal=steal, pressure=pressure, throttled=throttled), floor
    )
    assert (found[0], len(found[1])) == (grade, reasons)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"processes": 0, "held_by_power_s": 1.0}, {"held_by_power_s": 1.05}, ""),
        ({"processes": 2}, {"processes": 3}, "2 other processes compute on GPU 0"),
        ({"held_by_power_s": 1.0}, {"held_by_power_s": 3.0}, "power limit .* 20.0% of the time"),
        ({"held_by_heat_s": 0.0}, {"held_by_heat_s": 5.0}, "temperature .* 50.0%"),
        ({}, {"throttled_by": "hardware slowdown"}, "held back by hardware slowdown"),
        ({}, {"throttled_by": "none"}, ""),
        ({}, {"held_by_heat_s": 9.0}, ""),
    ],
)
def test_a_shared_or_held_back_gpu_is_a_step_below_a(
    before: dict[str, Any], after: dict[str, Any], words: str
) -> None:
    found = device_reasons(some_gpu(**before), some_gpu(**after), seconds=10.0)
    quiet = Disturbance(
        load=detected(0.1), steal=detected(0.0), pressure=detected(0.0), throttled=detected(0.0)
    )
    grade, reasons = grade_noise(quiet, 0.01, of_devices=found)
    assert grade == ("B" if words else "A")
    assert reasons == found
    assert bool(found) == bool(words)
    assert re.search(words, " ".join(found))


def test_a_machine_without_a_gpu_has_nothing_to_grade_there() -> None:
    none: Fact[tuple[Gpu, ...]] = unknown("no driver")
    assert device_reasons(none, none, seconds=1.0) == ()


@pytest.mark.parametrize(("waited", "grade"), [(0.004, "A"), (0.05, "B"), (0.5, "C")])
def test_waiting_of_the_timed_threads_counts_and_may_stand_for_load_and_pressure(
    waited: float, grade: str
) -> None:
    gone = unknown("no counter")
    found = disturbance(
        conditions(), conditions(), seconds=1.0, usable_cores=2.0, waited=detected(waited)
    )
    found = replace(found, load=gone, pressure=gone)
    assert grade_noise(found, 0.01)[0] == grade
