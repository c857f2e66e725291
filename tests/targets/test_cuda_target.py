"""CUDA on a real device: proven, described, calibrated in its own memory.

Needs onnxruntime-gpu and onnxruntime-genai-cuda in this interpreter, or in the one that
AUTOTUNE_CUDA_PYTHON names. Skipped with the reason where CUDA is not usable, unless
AUTOTUNE_REQUIRE_CUDA=1 says that it must be.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

import pytest

from autotune.calibration import DeviceCalibration, Rate
from autotune.candidate import Precision
from autotune.errors import HardwareError
from autotune.targets import (
    Architecture,
    Finding,
    Gpu,
    LocalExecutor,
    ProvenTarget,
    calibrate,
    family_named,
    plan_calibration,
    read_machine,
    read_nvidia,
    survey,
)

pytestmark = pytest.mark.cuda

LIMIT_S = 25.0
# Names of cards with memory of hundreds of GB/s, whose measured rates have a bar.
DATA_CENTRE = ("A100", "H100", "H200", "H20", "GH200", "L40", "A10", "A30", "A40", "B100", "B200")
LLAMA = Architecture(
    name="LlamaForCausalLM",
    layers=2,
    hidden_size=64,
    vocab_size=300,
    tied_embeddings=True,
    context_length=512,
    parameters=100_000,
)


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor() as made:
        yield made


@pytest.fixture(scope="module")
def finding(executor: LocalExecutor) -> Finding:
    python = os.environ.get("AUTOTUNE_CUDA_PYTHON", sys.executable)
    try:
        (found,) = survey(executor, interpreter=python, known=[family_named("cuda")])
    except HardwareError as error:
        refuse(str(error))
    if found.target is None:
        refuse(found.reason)
    return found


def refuse(reason: str) -> NoReturn:
    if os.environ.get("AUTOTUNE_REQUIRE_CUDA") == "1":
        pytest.fail(f"AUTOTUNE_REQUIRE_CUDA asks for CUDA: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def target(finding: Finding) -> ProvenTarget:
    assert isinstance(finding.target, ProvenTarget)
    return finding.target


@pytest.fixture(scope="module")
def gpu(target: ProvenTarget) -> Gpu:
    """The device that the provider took, as the driver's tools describe it."""
    name = first_device(target)["name"]
    same = [one for one in read_nvidia().value or () if one.name.value == name]
    assert same, read_nvidia()
    return same[0]


@pytest.fixture(scope="module")
def measured(finding: Finding, executor: LocalExecutor) -> DeviceCalibration:
    plan = plan_calibration(finding, read_machine(), limit_s=LIMIT_S)
    assert plan.device == "cuda"
    return calibrate(finding, plan, executor=executor)


def first_device(target: ProvenTarget) -> dict[str, str]:
    return target.proof.devices[0]


def step(target: ProvenTarget) -> tuple[int, ...]:
    return tuple(int(part) for part in first_device(target)["compute_capability"].split("."))


def test_one_node_ran_on_cuda_and_nowhere_else(target: ProvenTarget) -> None:
    assert target.proof.nodes == {"CUDAExecutionProvider": 1}
    assert (target.name, target.provider) == ("cuda", "cuda")


def test_the_device_and_the_libraries_in_use_are_told(target: ProvenTarget) -> None:
    device = first_device(target)
    assert device["name"].startswith(("NVIDIA", "Tesla", "Quadro", "GeForce"))
    assert int(device["memory_bytes"]) > 2**30
    assert int(device["cuda"].split(".")[0]) >= 12
    assert int(device["driver_cuda"].split(".")[0]) >= int(device["cuda"].split(".")[0])
    assert device in target.facts()["devices"]


def test_the_driver_describes_the_same_device(gpu: Gpu, target: ProvenTarget) -> None:
    device = first_device(target)
    assert (gpu.name.value, gpu.compute_capability.value) == (
        device["name"],
        device["compute_capability"],
    )
    assert gpu.memory_bytes.value is not None
    assert math.isclose(gpu.memory_bytes.value, int(device["memory_bytes"]), rel_tol=0.05)
    assert gpu.driver.value
    assert gpu.throttled_by.value
    assert (gpu.sm_clock_hz.value or 0) > 1e8


def test_a_device_of_generation_8_computes_in_every_type(target: ProvenTarget) -> None:
    if step(target) < (8, 0):
        pytest.skip(f"compute capability {first_device(target)['compute_capability']}")
    assert target.proof.refused_types == {}
    offered, refused = target.recipes(LLAMA)
    # The builder's graphs in fp32 do not load on CUDA (genai 0.18.0).
    assert {recipe.precision for recipe in offered} == set(Precision) - {Precision.FP32}
    (single,) = (refusal for refusal in refused if refusal.recipe.precision is Precision.FP32)
    assert "does not load" in single.reason


def test_every_type_has_a_finite_rate_and_half_precision_is_faster(
    measured: DeviceCalibration, target: ProvenTarget
) -> None:
    assert {rate.data_type for rate in measured.rates} >= {"fp32", "fp16", "int8", "int4"}, (
        measured.unmeasured
    )
    assert all(math.isfinite(rate.best) and rate.best > 0 for rate in measured.rates)
    fp16, fp32 = measured.product("fp16"), measured.product("fp32")
    assert fp16 is not None
    assert fp32 is not None
    assert fp16.best > fp32.best
    if step(target) >= (8, 0):
        assert measured.product("bf16") is not None, measured.unmeasured


def test_the_largest_product_was_timed(measured: DeviceCalibration) -> None:
    assert (4096, 8192, 8192) in {rate.shape for rate in measured.rates}, measured.unmeasured
    assert measured.control is not None
    assert measured.control.first


def test_memory_is_read_faster_than_any_bus_carries(
    measured: DeviceCalibration, target: ProvenTarget
) -> None:
    """PCIe 5.0 x16 carries 63 GB/s: a copy in the timed part cannot pass this bar."""
    name = first_device(target)["name"]
    if not any(word in name.replace("-", " ").split() for word in DATA_CENTRE):
        pytest.skip(f"{name} is no data-centre card that this test knows")
    read: Rate | None = measured.bandwidth()
    assert read is not None, measured.unmeasured
    assert read.best > 100e9
    assert "on the device (cuda)" in read.method


def test_products_are_not_held_up_by_copies(
    measured: DeviceCalibration, target: ProvenTarget
) -> None:
    """On a whole H100 the copies of x and y alone would hold fp16 below 0.4 PFLOP/s."""
    if step(target) != (9, 0):
        pytest.skip("the bar is for compute capability 9.0")
    fp16 = measured.product("fp16")
    assert fp16 is not None
    assert fp16.best > 200e12
