"""Intel's processors, GPUs and NPUs by OpenVINO; the builder makes no graphs for it."""

from __future__ import annotations

from .family import PROVEN, PROVIDERS, Family

__all__ = ["FAMILY"]

FAMILY = Family(
    name="openvino",
    provider="OpenVINO",
    onnxruntime_name="OpenVINOExecutionProvider",
    target=PROVEN,
    install=("pip install onnxruntime-openvino", "pip install --no-deps onnxruntime-genai"),
    runtimes=("onnxruntime-openvino",),
    genai=("onnxruntime-genai",),
    needs="an Intel processor, GPU or NPU",
    source=f"{PROVIDERS}/OpenVINO-ExecutionProvider.html",
)
