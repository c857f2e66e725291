"""Weights that a built graph computes with, read back from its codes, scales and zero points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
from numpy.typing import NDArray

__all__ = ["dequantised"]

Floats = NDArray[np.float32]


def dequantised(folder: Path) -> dict[str, Floats]:
    """Return the weights (out, in) of every quantised product and embedding, by node name.

    Rows are as long as their blocks are: the last one may be filled up.
    """
    model: Any = onnx_ir.load(folder / "model.onnx")
    initializers = model.graph.initializers
    reshaped = {
        node.outputs[0].name: node.inputs[0].name
        for node in model.graph.all_nodes()
        if node.op_type == "Reshape"
    }

    def read(value: Any) -> Any:
        return initializers[reshaped.get(value.name, value.name)].const_value.numpy()

    found = {}
    for node in model.graph.all_nodes():
        if node.op_type not in {"MatMulNBits", "GatherBlockQuantized"}:
            continue
        first, second, scales, *zeros = node.inputs
        found[node.name] = _weights(
            read(second if node.op_type == "MatMulNBits" else first),
            read(scales),
            read(zeros[0]) if zeros else None,
            bits=node.attributes["bits"].value if "bits" in node.attributes else 4,
            block=node.attributes["block_size"].value,
        )
    return found


def _weights(codes: Any, scales: Any, zeros: Any, *, bits: int, block: int) -> Floats:
    outputs = scales.shape[0]
    unpacked = _unpack(codes.reshape(outputs, -1), bits)
    unpacked = np.pad(unpacked, ((0, 0), (0, -unpacked.shape[1] % block)))  # a table's last block
    unpacked = unpacked.reshape(outputs, -1, block)
    offset: Any = 0 if codes.dtype.name == "int4" else 1 << (bits - 1)
    if zeros is not None:
        offset = _unpack(zeros.reshape(outputs, -1), bits)[:, : scales.shape[1], None]
    values: Floats = (unpacked - offset).astype(np.float32) * scales[..., None]
    return values.reshape(outputs, -1)


def _unpack(packed: Any, bits: int) -> NDArray[np.int64]:
    if bits == 8 or packed.dtype != np.uint8:  # numbers of four bits have a type of their own
        return packed.astype(np.int64)  # type: ignore[no-any-return]  # numpy's Any
    halves = np.stack([packed & 15, packed >> 4], axis=-1)
    return halves.reshape(len(packed), -1).astype(np.int64)
