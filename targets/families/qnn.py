"""Qualcomm's NPUs by QNN; the builder makes no graphs for it."""

from __future__ import annotations

from .family import PROVEN, PROVIDERS, Family

__all__ = ["FAMILY"]

FAMILY = Family(
    name="qnn",
    provider="QNN",
    onnxruntime_name="QNNExecutionProvider",
    target=PROVEN,
    install=("pip install onnxruntime-qnn onnxruntime-genai",),
    genai=("onnxruntime-genai",),
    needs="a Qualcomm processor with an NPU",
    source=f"{PROVIDERS}/QNN-ExecutionProvider.html",
)
