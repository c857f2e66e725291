"""The processor."""

from __future__ import annotations

from autotune.candidate import Precision

from .family import GENAI, PROVEN, PYPI, VALID, Family, Graphs, InVain

__all__ = ["FAMILY"]

FAMILY = Family(
    name="cpu",
    provider="cpu",
    onnxruntime_name="CPUExecutionProvider",
    target=PROVEN,
    install=('pip install "autotune-slm[cpu]"',),
    # Every flavour contains the CPU provider.
    genai=(
        "onnxruntime-genai",
        "onnxruntime-genai-cuda",
        "onnxruntime-genai-directml",
        "onnxruntime-genai-winml",
    ),
    platforms=("linux", "darwin", "win32"),
    needs="nothing but a processor",
    source=f"{PYPI}/onnxruntime",
    graphs=Graphs(
        precisions=(Precision.FP32, Precision.INT8, Precision.INT4),
        refused=(
            InVain(
                precision=Precision.FP16,
                reason="the graph builds and loads but fails at its first run (shape mismatch in a"
                " Cast, seen with 0.18.0); fp16 on CPU is not officially supported",
                source=f"{GENAI}/issues/1098",
            ),
            InVain(
                precision=Precision.BF16,
                reason="the graph builds but does not load: the CPU provider has no bfloat16 Where"
                " (seen with 0.18.0)",
                source=VALID,
            ),
        ),
        accuracy_level=4,
    ),
)
