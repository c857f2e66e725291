"""GPUs of all makers by WebGPU."""

from __future__ import annotations

from autotune.candidate import Precision

from .family import PROVEN, PYPI, Family, Graphs

__all__ = ["FAMILY"]

FAMILY = Family(
    name="webgpu",
    provider="webgpu",
    onnxruntime_name="WebGpuExecutionProvider",
    target=PROVEN,
    # onnxruntime-genai would pull the plain onnxruntime in beside the flavour.
    install=("pip install onnxruntime-webgpu", "pip install --no-deps onnxruntime-genai"),
    runtimes=("onnxruntime-webgpu",),
    genai=("onnxruntime-genai",),
    platforms=("linux", "darwin", "win32"),
    needs="a GPU, or SwiftShader, with a Vulkan, Metal or DirectX 12 driver",
    source=f"{PYPI}/onnxruntime-webgpu",
    graphs=Graphs(
        precisions=(Precision.INT8, Precision.INT4),
        activations=Precision.FP32,  # ``use_webgpu_fp32`` (OPTIONS)
        accuracy_level=4,
    ),
)
