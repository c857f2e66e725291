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
    # Those of Windows ML contain DirectML too, and are as new as the builder (decision 001).
    runtimes=("onnxruntime-directml", "onnxruntime-windowsml"),
    genai=("onnxruntime-genai-directml", "onnxruntime-genai-winml"),
    platforms=("win32",),
    needs="Windows with a DirectX 12 adapter; the packages of Windows ML do as well"
    ' (pip install "autotune-slm[windowsml]")',
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
