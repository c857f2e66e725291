"""The built-in kinds of target, a file each."""

from __future__ import annotations

from . import cpu, cuda, directml, openvino, qnn, tensorrt_rtx, webgpu

__all__ = ["BUILT_IN"]

# In the order in which they are listed and proven.
BUILT_IN = (
    cpu.FAMILY,
    cuda.FAMILY,
    directml.FAMILY,
    webgpu.FAMILY,
    openvino.FAMILY,
    qnn.FAMILY,
    tensorrt_rtx.FAMILY,
)
