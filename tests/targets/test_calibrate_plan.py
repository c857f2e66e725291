"""What a calibration times on which device: sizes by caches and memory, types by the proof."""

from __future__ import annotations

import dataclasses
import sys
from itertools import pairwise

import pytest

from autotune.targets import (
    OPERATORS,
    CalibrationPlan,
    Finding,
    LocalExecutor,
    Proof,
    ProvenTarget,
    detected,
    family_named,
    plan_calibration,
    read_machine,
    survey,
)


@pytest.fixture(scope="module")
def finding() -> Finding:
    with LocalExecutor() as executor:
        (found,) = survey(executor, known=[family_named("cpu")])
    if found.target is None:
        pytest.skip(found.reason)
    return found


def plan_on(finding: Finding, *, cache: int, available: int) -> CalibrationPlan:
    machine = read_machine()
    processor = dataclasses.replace(
        machine.processor, cache_bytes=detected({"l1d": 2**15, "l3": cache})
    )
    memory = dataclasses.replace(machine.memory, available_bytes=detected(available))
    machine = dataclasses.replace(machine, processor=processor, memory=memory)
    return plan_calibration(finding, machine, limit_s=10.0)


def unproven(name: str) -> Finding:
    return Finding(
        family=family_named(name), interpreter=sys.executable, status="failed", reason="none"
    )


@pytest.mark.parametrize(
    ("cache", "available", "n_bytes", "words"),
    [
        (
            260_000_000,
            2**35,
            1_040_000_000,
            "holds 260 MB, which was read with an array of half its size",
        ),
        (2**21, 2**35, 2**28, "holds 2 MB"),
        (280_000_000, 2**30, 2**28, "all that memory allows"),
        (2_000_000_000, 2**36, 2_500_000_000, "all that time allows"),
    ],
)
def test_the_array_is_larger_than_the_last_cache_as_far_as_memory_allows(
    finding: Finding, cache: int, available: int, n_bytes: int, words: str
) -> None:
    plan = plan_on(finding, cache=cache, available=available)
    assert plan.read_bytes[0] == n_bytes
    assert plan.read_bytes[1:] == ((cache // 2,) if cache < n_bytes else ())
    assert plan.cache_bytes == (cache if cache < n_bytes else 0)
    assert words in plan.notes[0]


def test_another_device_is_read_by_the_runtime_and_products_are_chained() -> None:
    webgpu = unproven("webgpu")
    plan = plan_on(webgpu, cache=2**21, available=2**35)
    assert (plan.read_bytes, plan.device) == ((), "")
    assert [(one.k, one.n) for one in plan.products if one.m == 1] == [(8192, 8192), (16384, 16384)]
    # A slow device is known by the looks, before it is asked for more.
    looks, rest = plan.products[: plan.n_looks], plan.products[plan.n_looks :]
    assert {one.label for one in looks} == {one.label for one in rest}
    assert max(one.operations for one in looks) * 1000 < min(
        one.operations for one in rest if one.m > 1
    )
    chained = [one for one in rest if one.m > 1]
    assert {one.repeat for one in chained} == {8}
    assert all(a.operations <= b.operations for a, b in pairwise(chained))
    small = plan_on(webgpu, cache=2**21, available=2**30)
    assert [one.k for one in small.products if one.m == 1] == [8192]


def test_cuda_keeps_its_arrays_and_does_enough_for_a_data_centre_card() -> None:
    plan = plan_on(unproven("cuda"), cache=2**21, available=2**36)
    assert plan.device == "cuda"
    # The output of a square product can be its next input.
    assert all(one.k == one.n for one in plan.products)
    largest = max(one.operations for one in plan.products if not one.is_read)
    assert largest > 4e12  # milliseconds of the fastest card there is, where a start takes 0.03 ms
    reads = [one for one in plan.products if one.is_read]
    assert {one.label for one in reads} == {"fp32", "fp16"}
    # What a cache of 50 MB holds of a weight is a tenth at most.
    assert all(one.weight_bytes / one.repeat > 10 * 50e6 for one in reads)
    assert {one.accuracy_level for one in plan.products if not one.is_read} == {0}
    small = plan_on(unproven("cuda"), cache=2**21, available=2**30)
    assert [one.k for one in small.products if one.is_read] == [8192]


def test_quantised_products_have_the_activations_that_the_device_computes_in() -> None:
    family = family_named("webgpu")
    for refused, activation in ({}, "fp16"), ({"fp16": "requires f16"}, "fp32"):
        proof = Proof(onnxruntime="1.27.0", nodes={"WebGpuExecutionProvider": 1})
        target = ProvenTarget(
            family=family, interpreter="", proof=dataclasses.replace(proof, refused_types=refused)
        )
        finding = Finding(family=family, interpreter="", status="proven", target=target)
        plan = plan_on(finding, cache=2**21, available=2**35)
        quantised = [one for one in plan.products if OPERATORS[one.label].bits]
        assert quantised
        assert {one.input_element for one in quantised} == {activation}
