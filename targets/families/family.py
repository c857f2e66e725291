"""What is known of a kind of target before any machine is looked at.

Each built-in family is a file of its own beside this one; other distributions bring theirs by
entry points (``registry``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from autotune.candidate import Precision

__all__ = [
    "GENAI",
    "OPTIONS",
    "PROVEN",
    "PROVIDERS",
    "PYPI",
    "VALID",
    "Family",
    "Graphs",
    "InVain",
    "OfFamily",
    "Proof",
]

# Sources that several families share.
PROVIDERS = "https://onnxruntime.ai/docs/execution-providers"
PYPI = "https://pypi.org/project"
GENAI = "https://github.com/microsoft/onnxruntime-genai"
# The list of "valid precision + execution provider combinations" that the builder prints.
VALID = f"{GENAI}/blob/v0.18.0/src/python/py/models/builder.py"
OPTIONS = f"{GENAI}/blob/v0.18.0/src/python/py/models/README.md"

# The class of targets that need no code of their own.
PROVEN = "autotune.targets.proven:ProvenTarget"


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
class InVain:
    """A precision that the builder makes for a provider and that does not run there.

    Attributes:
        precision: that is refused before it is built.
        reason: what was seen, for people.
        source: address.
    """

    precision: Precision
    reason: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Graphs:
    """What the builder makes for a provider and the runtime runs there.

    Attributes:
        precisions: that are built and run.
        refused: those that are built in vain.
        activations: the only data type of activations that can be asked for beside the one that
            comes with the precision; None where there is none.
        are_recorded: graphs can be recorded and replayed (``enable_cuda_graph``).
        accuracy_level: the builder's default for products of quantised weights, 0 to 4: 4 rounds
            activations to int8, 0 leaves them in the graph's type.
    """

    precisions: tuple[Precision, ...]
    refused: tuple[InVain, ...] = ()
    activations: Precision | None = None
    are_recorded: bool = False
    accuracy_level: int = 0


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
        runtimes: flavours of onnxruntime that contain it, empty where all do.
        genai: distributions of onnxruntime-genai that can run it.
        platforms: values of ``sys.platform`` it exists on.
        needs: hardware or system that it needs, for people.
        source: where these facts come from.
        graphs: what can be built for the provider; None where another family of the same
            provider says so, or the builder knows no such provider.
    """

    name: str
    provider: str
    onnxruntime_name: str
    target: str
    install: tuple[str, ...]
    runtimes: tuple[str, ...] = ()
    genai: tuple[str, ...]
    platforms: tuple[str, ...] = ("linux", "win32")
    needs: str
    source: str
    graphs: Graphs | None = None


@dataclass(frozen=True, kw_only=True)
class OfFamily:
    """What targets of a family have from it.

    Attributes:
        family: the row of the registry.
    """

    family: Family

    @property
    def name(self) -> str:
        """The user's word for it."""
        return self.family.name

    @property
    def provider(self) -> str:
        """The execution provider as onnxruntime-genai spells it."""
        return self.family.provider
