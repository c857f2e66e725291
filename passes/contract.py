"""What a pass and an artifact are: the contract of this folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

__all__ = ["Artifact", "Pass"]


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A folder on disk that exists whole or not at all.

    Attributes:
        key: hex digest of everything that made it (``Pass.key``).
        digest: hex digest of its content (names, sizes and SHA-256 of its files).
        path: the folder.
        facts: what the pass reported about it (losses, attributes read back, seconds).
        seconds: what making it cost, wall time.
    """

    key: str
    digest: str
    path: Path
    facts: Mapping[str, Any]
    seconds: float


class Pass(Protocol):
    """A step that turns artifacts into an artifact. A frozen dataclass of its parameters.

    ``libraries`` names the distributions whose versions shape the result;
    ``autotune.passes.pass_key`` is the ``key`` of every pass that needs no other.

    ``run`` is called in a worker process; ``key`` in the parent, so it may import
    nothing heavy.
    """

    name: ClassVar[str]
    pool: ClassVar[str]
    timeout_s: ClassVar[float]
    libraries: ClassVar[tuple[str, ...]]

    def key(self, inputs: Mapping[str, Artifact], versions: Mapping[str, str]) -> str:
        """Return what the result depends on: name, parameters, input digests, versions."""

    def run(self, inputs: Mapping[str, Path], workdir: Path) -> dict[str, Any]:
        """Fill ``workdir`` and return JSON-able facts; raise a ``RunError`` otherwise."""
