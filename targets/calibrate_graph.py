"""One-operator ONNX models as bytes: the matrix products that a calibration times.

Written by hand because ``onnx`` comes with none of the runtimes. The weight is
declared as external data, so the child hands over an array of its own and the
runtime treats it as a constant: it packs it in advance, as it does in a real model.
Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from autotune.errors import UsageError

__all__ = ["ELEMENT_TYPES", "OPERATORS", "Operator", "Product", "product_model"]

# TensorProto.DataType
ELEMENT_TYPES = {"fp32": 1, "u8": 2, "s8": 3, "s32": 6, "fp16": 10, "bf16": 16}
ELEMENT_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "u8": 1, "s8": 1, "s32": 4}
_EXTERNAL = 1  # TensorProto.DataLocation.EXTERNAL
_INT = 2  # AttributeProto.AttributeType.INT
_IR_VERSION, _OPSET = 8, 17
_MICROSOFT = "com.microsoft"


@dataclass(frozen=True, kw_only=True)
class Operator:
    """How a data type of weights is multiplied.

    Attributes:
        name: ONNX's.
        domain: empty for standard operators.
        activation: element type of the input and, unless ``result`` says otherwise, the output.
        weight: element type of the stored weight.
        result: element type of the output where it differs.
        bits: of a quantised weight, 0 where it is stored plainly.
    """

    name: str
    domain: str = ""
    activation: str
    weight: str
    result: str = ""
    bits: int = 0


# By the label under which the rates are reported. MatMulNBits is what onnxruntime-genai
# builds for int8 and int4; MatMulInteger shows what the integer units do without scales.
OPERATORS = {
    "fp32": Operator(name="MatMul", activation="fp32", weight="fp32"),
    "fp16": Operator(name="MatMul", activation="fp16", weight="fp16"),
    "bf16": Operator(name="MatMul", activation="bf16", weight="bf16"),
    "int8": Operator(name="MatMulNBits", domain=_MICROSOFT, activation="fp32", weight="u8", bits=8),
    "int4": Operator(name="MatMulNBits", domain=_MICROSOFT, activation="fp32", weight="u8", bits=4),
    "int8-plain": Operator(name="MatMulInteger", activation="u8", weight="s8", result="s32"),
}


@dataclass(frozen=True, kw_only=True)
class Product:
    """``y = x W``, several times in a row if asked.

    Attributes:
        label: key of ``OPERATORS``.
        m: rows of ``x`` (tokens).
        k: columns of ``x``; a multiple of ``block``.
        n: columns of ``W``.
        repeat: products in a row with the same ``W``; above 1 needs ``k == n``.
        block: weights per scale, quantised weights only.
        activation: element type of ``x`` and ``y`` where it is not the operator's own.
        accuracy_level: of MatMulNBits: 4 computes in int8, the default of onnxruntime-genai's
            builder for the processor and WebGPU; 0 in the activations' type.
    """

    label: str
    m: int
    k: int
    n: int
    repeat: int = 1
    block: int = 32
    activation: str = ""
    accuracy_level: int = 4

    def __post_init__(self) -> None:
        operator = OPERATORS[self.label]
        if min(self.m, self.k, self.n, self.repeat) < 1:
            raise UsageError(f"A product has sizes of at least 1, got {self!r}.")
        if self.repeat > 1 and (self.k != self.n or operator.result):
            raise UsageError(f"Only square products of one type can be chained, got {self!r}.")
        if operator.bits and self.k % self.block:
            raise UsageError(f"k must be a multiple of the block, got {self!r}.")

    @property
    def operations(self) -> int:
        """Multiplications and additions in one run of the model."""
        return 2 * self.m * self.k * self.n * self.repeat

    @property
    def weight_bytes(self) -> int:
        """Bytes of plain weights that one run reads; quantised ones are not counted so."""
        return ELEMENT_BYTES[OPERATORS[self.label].weight] * self.k * self.n * self.repeat

    @property
    def is_read(self) -> bool:
        """One row does two operations per weight: the time is that of reading the weights."""
        return self.m == 1 and not OPERATORS[self.label].bits

    @property
    def input_element(self) -> str:
        """Element type of ``x``."""
        return self.activation or OPERATORS[self.label].activation

    def weights(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return element type and shape of every stored array, by its name in the model."""
        operator = OPERATORS[self.label]
        if not operator.bits:
            return {"w": (operator.weight, (self.k, self.n))}
        blocks, packed = self.k // self.block, self.block * operator.bits // 8
        return {
            "w": (operator.weight, (self.n, blocks, packed)),
            "scales": (self.input_element, (self.n, blocks)),
        }


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | bytes | str) -> bytes:
    """Return one protobuf field: https://protobuf.dev/programming-guides/encoding."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _value(name: str, element: str, shape: Sequence[int]) -> bytes:
    """Return a ValueInfoProto of a tensor with fixed sizes."""
    sizes = b"".join(_field(1, _field(1, size)) for size in shape)
    tensor = _field(1, ELEMENT_TYPES[element]) + _field(2, sizes)
    return _field(1, name) + _field(2, _field(1, tensor))


def _stored(name: str, element: str, shape: Sequence[int]) -> bytes:
    """Return a TensorProto whose content the session gets from elsewhere."""
    sizes = b"".join(_field(1, size) for size in shape)
    place = _field(13, _field(1, "location") + _field(2, "given-by-the-session"))
    return (
        sizes + _field(2, ELEMENT_TYPES[element]) + _field(8, name) + place + _field(14, _EXTERNAL)
    )


def _attribute(name: str, value: int) -> bytes:
    return _field(5, _field(1, name) + _field(3, value) + _field(20, _INT))


def _node(product: Product, source: str, result: str) -> bytes:
    operator = OPERATORS[product.label]
    body = b"".join(_field(1, name) for name in (source, *product.weights()))
    body += _field(2, result) + _field(4, operator.name)
    if operator.bits:
        settings = {
            "K": product.k,
            "N": product.n,
            "bits": operator.bits,
            "block_size": product.block,
            "accuracy_level": product.accuracy_level,
        }
        body += b"".join(_attribute(name, value) for name, value in settings.items())
        body += _field(7, operator.domain)
    return _field(1, body)


def product_model(product: Product) -> bytes:
    """Return the model ``x -> y`` of ``product``: x is (m, k), y is (m, n)."""
    operator = OPERATORS[product.label]
    names = ["x", *(f"h{i}" for i in range(1, product.repeat)), "y"]
    graph = b"".join(_node(product, a, b) for a, b in pairwise(names))
    graph += _field(2, "calibration")
    for name, (element, shape) in product.weights().items():
        graph += _field(5, _stored(name, element, shape))
    graph += _field(11, _value("x", product.input_element, (product.m, product.k)))
    result = operator.result or product.input_element
    graph += _field(12, _value("y", result, (product.m, product.n)))
    opsets = _field(8, _field(1, "") + _field(2, _OPSET))
    opsets += _field(8, _field(1, _MICROSOFT) + _field(2, 1))
    return _field(1, _IR_VERSION) + _field(7, graph) + opsets
