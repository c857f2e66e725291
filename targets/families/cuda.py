"""GPUs of NVIDIA by CUDA."""

from __future__ import annotations

from autotune.candidate import Precision

from .family import PROVEN, PROVIDERS, VALID, Family, Graphs, InVain

__all__ = ["FAMILY"]

FAMILY = Family(
    name="cuda",
    provider="cuda",
    onnxruntime_name="CUDAExecutionProvider",
    target=PROVEN,
    install=('pip install "autotune-slm[cuda]"',),
    runtimes=("onnxruntime-gpu",),
    genai=("onnxruntime-genai-cuda",),
    needs="an NVIDIA GPU with a driver of series 580 or later",
    source=f"{PROVIDERS}/CUDA-ExecutionProvider.html",
    graphs=Graphs(
        precisions=(Precision.FP16, Precision.BF16, Precision.INT8, Precision.INT4),
        refused=(
            InVain(
                precision=Precision.FP32,
                reason="the graph builds but does not load: its outputs present.N.key are made by"
                " no node (seen with 0.18.0 on an H200 and off it)",
                source=VALID,
            ),
        ),
        are_recorded=True,
    ),
)
