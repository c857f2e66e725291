"""The target families there are: names, spellings, what to install.

Built-in families and those that other distributions offer (entry points of the
group ``autotune.targets``, each a ``Family``) stand in one table. A family in the
table says nothing about this machine; ``detect`` does.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from autotune.errors import UsageError

from .contract import Target

__all__ = [
    "ENTRY_POINTS",
    "Family",
    "Proof",
    "families",
    "family_named",
    "is_for_this_platform",
    "load_target",
]

ENTRY_POINTS = "autotune.targets"


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a session that really ran on a provider told.

    Attributes:
        onnxruntime: version of the runtime.
        nodes: how many nodes each execution provider ran.
        available: providers compiled into the runtime, usable or not.
        devices: what the runtime tells of the provider's devices.
        versions: libraries in the interpreter, by distribution.
        refused_types: the runtime's words for each data type of activations that the
            device was asked to compute in and did not (``fp16``).
    """

    onnxruntime: str
    nodes: dict[str, int]
    available: tuple[str, ...] = ()
    devices: tuple[dict[str, str], ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    refused_types: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Family:
    """A kind of target that may or may not be here.

    Attributes:
        name: the user's word.
        provider: execution provider in the spelling of onnxruntime-genai.
        onnxruntime_name: the same in the spelling of onnxruntime.
        target: ``module:Class`` of the ``Target``, called with ``family``,
            ``interpreter`` and ``proof``.
        install: shell commands that bring it into an environment of its own.
        runtime: the flavour of onnxruntime that contains it, empty where all do.
        genai: distributions of onnxruntime-genai that can run it.
        platforms: values of ``sys.platform`` it exists on.
        needs: hardware or system that it needs, for people.
        source: where the table's row comes from.
    """

    name: str
    provider: str
    onnxruntime_name: str
    target: str
    install: tuple[str, ...]
    runtime: str = ""
    genai: tuple[str, ...]
    platforms: tuple[str, ...] = ("linux", "win32")
    needs: str
    source: str


_PROVIDERS = "https://onnxruntime.ai/docs/execution-providers"
_PYPI = "https://pypi.org/project"
_PROVEN = "autotune.targets.proven:ProvenTarget"
_PLAIN_GENAI = ("onnxruntime-genai",)

_BUILT_IN = (
    Family(
        name="cpu",
        provider="cpu",
        onnxruntime_name="CPUExecutionProvider",
        target=_PROVEN,
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
        source=f"{_PYPI}/onnxruntime",
    ),
    Family(
        name="cuda",
        provider="cuda",
        onnxruntime_name="CUDAExecutionProvider",
        target=_PROVEN,
        install=('pip install "autotune-slm[cuda]"',),
        runtime="onnxruntime-gpu",
        genai=("onnxruntime-genai-cuda",),
        needs="an NVIDIA GPU with a driver of series 580 or later",
        source=f"{_PROVIDERS}/CUDA-ExecutionProvider.html",
    ),
    Family(
        name="directml",
        provider="dml",
        onnxruntime_name="DmlExecutionProvider",
        target=_PROVEN,
        install=('pip install "autotune-slm[directml]"',),
        runtime="onnxruntime-directml",
        genai=("onnxruntime-genai-directml",),
        platforms=("win32",),
        needs="Windows with a DirectX 12 adapter",
        source=f"{_PROVIDERS}/DirectML-ExecutionProvider.html",
    ),
    Family(
        name="webgpu",
        provider="webgpu",
        onnxruntime_name="WebGpuExecutionProvider",
        target=_PROVEN,
        # onnxruntime-genai would pull the plain onnxruntime in beside the flavour.
        install=("pip install onnxruntime-webgpu", "pip install --no-deps onnxruntime-genai"),
        runtime="onnxruntime-webgpu",
        genai=_PLAIN_GENAI,
        platforms=("linux", "darwin", "win32"),
        needs="a GPU, or SwiftShader, with a Vulkan, Metal or DirectX 12 driver",
        source=f"{_PYPI}/onnxruntime-webgpu",
    ),
    Family(
        name="openvino",
        provider="OpenVINO",
        onnxruntime_name="OpenVINOExecutionProvider",
        target=_PROVEN,
        install=("pip install onnxruntime-openvino", "pip install --no-deps onnxruntime-genai"),
        runtime="onnxruntime-openvino",
        genai=_PLAIN_GENAI,
        needs="an Intel processor, GPU or NPU",
        source=f"{_PROVIDERS}/OpenVINO-ExecutionProvider.html",
    ),
    Family(
        name="qnn",
        provider="QNN",
        onnxruntime_name="QNNExecutionProvider",
        target=_PROVEN,
        install=("pip install onnxruntime-qnn onnxruntime-genai",),
        genai=_PLAIN_GENAI,
        needs="a Qualcomm processor with an NPU",
        source=f"{_PROVIDERS}/QNN-ExecutionProvider.html",
    ),
    Family(
        name="tensorrt-rtx",
        provider="NvTensorRtRtx",
        onnxruntime_name="NvTensorRTRTXExecutionProvider",
        target=_PROVEN,
        install=("pip install onnxruntime-ep-nv-tensorrt-rtx onnxruntime-genai",),
        genai=_PLAIN_GENAI,
        needs="an NVIDIA RTX GPU",
        source=f"{_PROVIDERS}/TensorRTRTX-ExecutionProvider.html",
    ),
)


def families() -> dict[str, Family]:
    """Return all known families by name, built-in ones first.

    Raises:
        UsageError: two distributions offer the same name, or something else than a Family.
    """
    import importlib.metadata  # noqa: PLC0415 - a third of this package's import time

    found = {family.name: family for family in _BUILT_IN}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        family = entry.load()
        if not isinstance(family, Family):
            raise UsageError(
                f"The entry point {entry.value!r} of group {ENTRY_POINTS!r} must be a "
                f"targets.Family, got {family!r}; remove or mend the package that offers it."
            )
        _add(found, family, entry.value)
    return found


def _add(found: dict[str, Family], family: Family, origin: str) -> None:
    if family.name in found:
        raise UsageError(
            f"Two packages offer the target {family.name!r}, one of them {origin!r}; "
            "uninstall one of them."
        )
    found[family.name] = family


def family_named(name: str, known: Iterable[Family] | None = None) -> Family:
    """Return the family of the user's word ``name``.

    Raises:
        UsageError: no such family; near matches and all names are listed.
    """
    table = families() if known is None else {family.name: family for family in known}
    if name in table:
        return table[name]
    # The builder's spelling (dml) is a near match that no edit distance finds.
    spelled = [one.name for one in table.values() if one.provider.lower() == name.lower()]
    near = spelled or difflib.get_close_matches(name.lower(), table, n=2)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "use one of these."
    raise UsageError(f"There is no target {name!r} (known: auto, {', '.join(table)}); {hint}")


def load_target(family: Family, *, interpreter: str, proof: Proof) -> Target:
    """Return the target object of a proven family."""
    module, _, name = family.target.partition(":")
    factory: Any = getattr(importlib.import_module(module), name)
    target: Target = factory(family=family, interpreter=interpreter, proof=proof)
    return target


def is_for_this_platform(family: Family, platform_name: str = sys.platform) -> bool:
    """Say whether the family exists on this operating system at all."""
    return platform_name in family.platforms
