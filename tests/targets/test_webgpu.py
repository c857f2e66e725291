"""A real second provider in an interpreter of its own.

Needs ``AUTOTUNE_WEBGPU_PYTHON``, a Python with onnxruntime-webgpu and, installed
without dependencies, onnxruntime-genai; and a Vulkan driver. Without a GPU the
SwiftShader of Debian's chromium-common serves: ``VK_DRIVER_FILES`` names its ICD file.
"""

from __future__ import annotations

import os

import pytest

from autotune.errors import HardwareError
from autotune.targets import LocalExecutor, ProvenTarget, resolve_targets

pytestmark = pytest.mark.webgpu


@pytest.fixture
def interpreter() -> str:
    named = os.environ.get("AUTOTUNE_WEBGPU_PYTHON", "")
    if not named:
        pytest.skip("AUTOTUNE_WEBGPU_PYTHON names no interpreter with onnxruntime-webgpu")
    return named


def test_two_providers_are_proven_in_two_interpreters(interpreter: str) -> None:
    with LocalExecutor() as executor:
        cpu, webgpu = resolve_targets(f"cpu,webgpu@{interpreter}", executor)
    assert isinstance(webgpu, ProvenTarget)
    assert webgpu.proof.nodes == {"WebGpuExecutionProvider": 1}
    assert webgpu.interpreter == interpreter != cpu.interpreter


def test_without_a_driver_the_provider_is_not_usable(
    interpreter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VK_DRIVER_FILES", os.devnull)
    with LocalExecutor() as executor, pytest.raises(HardwareError, match="did not run one node"):
        resolve_targets(f"webgpu@{interpreter}", executor)
