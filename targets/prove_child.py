"""Script: run one node on an execution provider and say where it really ran.

Needs the standard library and onnxruntime (with numpy, which it depends on). A
provider in ``get_available_providers`` is only compiled in; onnxruntime falls
back to the CPU without an error, so the profile of a real run is the proof.
"""

from __future__ import annotations

import collections
import contextlib
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SIDE = 4
# TensorProto.DataType, by the name of the type in recipes
_ELEMENTS = {"fp32": 1, "fp16": 10, "bf16": 16}
# Of the arrays that go in and come out.
_ARRAYS = {"fp32": "fp32", "fp16": "fp16", "bf16": "fp32"}
_IR_VERSION, _OPSET = 8, 13  # old enough for every onnxruntime in use
# Part of the message when the setting below forbids what would have happened.
_FALLBACK_WORDS = "fallback to CPU EP has been explicitly disabled"
_MESSAGE_CHARS = 160


class ProofError(Exception):
    """The provider did not run the node; ``kind`` is for the caller, the text for people."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _field(number: int, value: int | bytes | str) -> bytes:
    """Return one protobuf field: a varint below 128, or bytes shorter than 16384.

    https://protobuf.dev/programming-guides/encoding: key = number << 3 | wire type,
    wire type 0 is a varint and 2 is length-delimited. Keys of two bytes do not occur: the
    attribute's field 20 is written by ``_cast``.
    """
    if isinstance(value, int):
        return bytes([number << 3, value])
    data = value.encode() if isinstance(value, str) else value
    low, high = len(data) & 0x7F, len(data) >> 7
    length = bytes([low | 0x80, high]) if high else bytes([low])
    return bytes([number << 3 | 2]) + length + data


def _node(operator: str, inputs: str, output: str) -> bytes:
    """Return the start of a NodeProto; the names of inputs have one letter each."""
    names = b"".join(_field(1, name) for name in inputs)
    return names + _field(2, output) + _field(4, operator)


def _cast(source: str, result: str, element: int) -> bytes:
    """Return ``result = Cast(source, to=element)``."""
    kind = bytes([0xA0, 0x01, 2])  # AttributeProto.type (field 20) = INT
    to = _field(1, "to") + _field(3, element) + kind
    return _node("Cast", source, result) + _field(5, to)


def proof_model(kind_name: str = "fp32") -> bytes:
    """Return an ONNX model with the node ``y = MatMul(a, b)`` on (4, 4) matrices.

    numpy has no bfloat16 and onnxruntime hands out no array of it, so that model takes and
    gives fp32 and casts around its product.

    Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto;
    written by hand because neither onnx nor onnx-ir comes with onnxruntime.
    """
    element, outside = _ELEMENTS[kind_name], _ELEMENTS[_ARRAYS[kind_name]]
    nodes = [_node("MatMul", "ab", "y")]
    if element != outside:
        nodes = [_cast("a", "c", element), _cast("b", "d", element)]
        nodes += [_node("MatMul", "cd", "z"), _cast("z", "y", outside)]
    dimension = _field(1, _field(1, SIDE))  # TensorShapeProto.dim { dim_value }
    tensor = _field(1, outside) + _field(2, dimension * 2)  # elem_type, shape
    kind = _field(2, _field(1, tensor))  # ValueInfoProto.type { tensor_type }
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, "proof")
    graph += b"".join(_field(11, _field(1, name) + kind) for name in "ab")
    graph += _field(12, _field(1, "y") + kind)
    opset = _field(8, _field(1, "") + _field(2, _OPSET))
    return _field(1, _IR_VERSION) + _field(7, graph) + opset


def _session(ort: Any, provider: str, options: dict[str, str], profile: str, kind: str) -> Any:
    settings = ort.SessionOptions()
    settings.enable_profiling = True
    settings.profile_file_prefix = profile
    settings.log_severity_level = 3
    if provider != "CPUExecutionProvider":
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    # Without this, a provider that cannot start is replaced by the CPU with a printed line.
    return ort.InferenceSession(
        proof_model(kind), settings, providers=[(provider, options)], enable_fallback=0
    )


def _errors() -> tuple[type[Exception], ...]:
    """Return what onnxruntime raises; its own classes share no base but Exception."""
    native = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    own = (kind for kind in vars(native).values() if isinstance(kind, type))
    return (RuntimeError, ValueError, *(kind for kind in own if issubclass(kind, Exception)))


def _nodes_per_provider(profile: Path) -> dict[str, int]:
    events = json.loads(profile.read_text(encoding="utf-8", errors="replace"))
    providers = (
        event.get("args", {}).get("provider") for event in events if event.get("cat") == "Node"
    )
    return dict(collections.Counter(name for name in providers if name))


def _run(ort: Any, provider: str, options: dict[str, str], kind: str = "fp32") -> dict[str, int]:
    """Run the node, check its numbers, and return how many nodes each provider ran."""
    import numpy as np  # noqa: PLC0415 - a dependency of onnxruntime, absent without it

    # Whole numbers below 16 are exact in every type, TF32 and bf16 included.
    dtype = {"fp32": np.float32, "fp16": np.float16}[_ARRAYS[kind]]
    a = np.arange(SIDE * SIDE).astype(dtype).reshape(SIDE, SIDE)
    b = np.eye(SIDE, dtype=dtype)[::-1].copy()
    with tempfile.TemporaryDirectory() as folder:
        session = _session(ort, provider, options, str(Path(folder) / "proof"), kind)
        (y,) = session.run(["y"], {"a": a, "b": b})
        nodes = _nodes_per_provider(Path(session.end_profiling()))
    if not np.allclose(y, a[:, ::-1]):
        raise ProofError("wrong_result", f"{provider} computed a wrong product of two matrices.")
    return nodes


def _refused_types(ort: Any, payload: dict[str, Any]) -> dict[str, str]:
    """Return those of ``payload["types"]`` in which the provider does not compute, with the
    runtime's words.

    Graphs for accelerators have fp16 activations unless they are built otherwise; not
    every device has them (WebGPU's optional feature ``shader-f16``).
    """
    provider, found = payload["provider"], dict[str, str]()
    refusals: tuple[type[Exception], ...] = (ProofError, *_errors())
    for kind in payload.get("types", ()):
        try:
            nodes = _run(ort, provider, payload.get("options", {}), kind)
        except refusals as error:
            found[kind] = " ".join(str(error).split())[-_MESSAGE_CHARS:]
            continue
        if set(nodes) != {provider}:
            found[kind] = f"its node ran on {', '.join(nodes) or 'none'}"
    return found


def _devices(ort: Any, provider: str) -> list[dict[str, str]]:
    """Return what onnxruntime tells of the provider's devices; older ones tell nothing."""
    listing = getattr(ort, "get_ep_devices", None)
    return [
        {
            "type": str(found.device.type).rpartition(".")[2],
            "vendor": str(found.device.vendor),
            "vendor_id": hex(found.device.vendor_id),
            "device_id": hex(found.device.device_id),
            **{str(key): str(value) for key, value in dict(found.device.metadata).items()},
        }
        for found in (listing() if listing else [])
        if found.ep_name == provider
    ]


@contextlib.contextmanager
def _native_errors(found: list[str]) -> Iterator[None]:
    """Add the errors that onnxruntime prints meanwhile; the lines still reach the log.

    A provider that cannot be loaded is an error there and no exception.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            text = file.read().decode("utf-8", errors="replace")
            sys.stderr.write(text)
            found += [line for line in text.splitlines() if "[E:onnxruntime" in line]


def prove(payload: dict[str, Any]) -> dict[str, Any]:
    """Return versions, nodes per provider, devices and the data types that
    ``payload["provider"]`` does not compute in, of those in ``payload["types"]``.

    Raises:
        ProofError: no onnxruntime, a provider that is not in the build, one that
            failed, one that left the node to another, or a wrong product.
    """
    provider = payload["provider"]
    try:
        ort = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ProofError("no_runtime", f"onnxruntime cannot be imported: {error}") from error
    available = ort.get_available_providers()
    if provider not in available:
        raise ProofError("not_in_build", ", ".join(available))
    if provider.startswith(("CUDA", "NvTensor")) and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # finds the CUDA libraries that pip installed
    printed: list[str] = []
    try:
        with _native_errors(printed):
            nodes = _run(ort, provider, payload.get("options", {}))
    except _errors() as error:
        if _FALLBACK_WORDS not in str(error):
            raise ProofError("failed", f"{type(error).__name__}: {error}") from error
        causes = [line for line in printed if _FALLBACK_WORDS not in line]
        raise ProofError("fell_back", causes[0] if causes else "") from error
    if not nodes.get(provider):
        raise ProofError("fell_back", "")
    return {
        "onnxruntime": ort.__version__,
        "available": available,
        "nodes": nodes,
        "devices": _devices(ort, provider),
        "refused_types": _refused_types(ort, payload),
    }


def main() -> None:
    """Read the payload from standard input, write the result as the last line."""
    try:
        result = prove(json.load(sys.stdin))
    except ProofError as error:
        result = {"error": {"kind": error.kind, "message": str(error)}}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
