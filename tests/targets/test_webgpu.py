"""A real second provider in an interpreter of its own: found, told from the processor, calibrated.

``scripts/webgpu-env`` makes what these tests need.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from autotune.candidate import Precision
from autotune.errors import HardwareError
from autotune.targets import (
    Architecture,
    LocalExecutor,
    ProvenTarget,
    resolve_targets,
    survey,
)

pytestmark = pytest.mark.webgpu

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


def test_two_providers_are_proven_in_two_interpreters(
    webgpu_python: str, executor: LocalExecutor
) -> None:
    cpu, webgpu = resolve_targets(f"cpu,webgpu@{webgpu_python}", executor)
    assert isinstance(webgpu, ProvenTarget)
    assert webgpu.proof.nodes == {"WebGpuExecutionProvider": 1}
    assert webgpu.interpreter == webgpu_python != cpu.interpreter


def test_recipes_compute_in_what_the_device_can(
    webgpu_python: str, executor: LocalExecutor
) -> None:
    """SwiftShader has no half precision; a device that has it gets the builder's default."""
    (webgpu,) = resolve_targets(f"webgpu@{webgpu_python}", executor)
    assert isinstance(webgpu, ProvenTarget)
    offered, _ = webgpu.recipes(LLAMA)
    if webgpu.proof.refused_types:
        assert "requires f16 but the device does not" in webgpu.proof.refused_types["fp16"]
    wanted = Precision.FP32 if webgpu.proof.refused_types else None
    assert {recipe.activations for recipe in offered} == {wanted}


def test_an_interpreter_with_that_runtime_offers_both_its_providers(
    webgpu_python: str, executor: LocalExecutor
) -> None:
    found = survey(executor, interpreter=webgpu_python)
    assert [one.family.name for one in found if one.status == "proven"] == ["cpu", "webgpu"]


def test_without_a_driver_the_provider_is_not_usable(
    webgpu_python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VK_DRIVER_FILES", os.devnull)
    with LocalExecutor() as executor, pytest.raises(HardwareError, match="did not run one node"):
        resolve_targets(f"webgpu@{webgpu_python}", executor)
