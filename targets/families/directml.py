"""GPUs on Windows by DirectML."""

from __future__ import annotations

from autotune.candidate import Precision

from .family import PROVEN, PROVIDERS, VALID, Family, Graphs, InVain

__all__ = ["FAMILY"]

FAMILY = Family(
    name="directml",
    provider="dml",
    onnxruntime_name="DmlExecutionProvider",
    target=PROVEN,
    install=('pip install "autotune-slm[directml]"',),
    runtime="onnxruntime-directml",
    genai=("onnxruntime-genai-directml",),
    platforms=("win32",),
    needs="Windows with a DirectX 12 adapter",
    source=f"{PROVIDERS}/DirectML-ExecutionProvider.html",
    graphs=Graphs(
        precisions=(Precision.FP16, Precision.INT4),
        refused=(
            InVain(
                precision=Precision.FP32,
                reason="the graph builds but does not load: invalid graph output (seen with"
                " 0.18.0)",
                source=VALID,
            ),
        ),
    ),
)
