"""GPUs of NVIDIA by TensorRT for RTX."""

from __future__ import annotations

from autotune.candidate import Precision

from .family import PROVEN, PROVIDERS, VALID, Family, Graphs, InVain

__all__ = ["FAMILY"]

FAMILY = Family(
    name="tensorrt-rtx",
    provider="NvTensorRtRtx",
    onnxruntime_name="NvTensorRTRTXExecutionProvider",
    target=PROVEN,
    install=("pip install onnxruntime-ep-nv-tensorrt-rtx onnxruntime-genai",),
    genai=("onnxruntime-genai",),
    needs="an NVIDIA RTX GPU",
    source=f"{PROVIDERS}/TensorRTRTX-ExecutionProvider.html",
    graphs=Graphs(
        precisions=(Precision.FP16, Precision.BF16),
        refused=(
            InVain(
                precision=Precision.INT4,
                reason="the builder forces QDQ there, which fails with tied embeddings, and it is"
                " not in its list of valid combinations",
                source=VALID,
            ),
        ),
    ),
)
