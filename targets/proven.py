"""The target behind every built-in family: an execution provider that ran a node.

What sets providers apart stands in tables (``registry``, ``capability``), so the
processor and an accelerator need no code of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autotune.candidate import Recipe
from autotune.plain import to_plain

from .capability import recipes
from .contract import Architecture, Refusal
from .fact import known_facts
from .families.family import OfFamily, Proof
from .machine import read_machine

__all__ = ["ProvenTarget"]


@dataclass(frozen=True, kw_only=True)
class ProvenTarget(OfFamily):
    """A ``Target``: an execution provider of this machine on which a node really ran.

    Attributes:
        interpreter: Python that builds and measures for it.
        proof: of the session that ran.
    """

    interpreter: str
    proof: Proof

    def facts(self) -> dict[str, Any]:
        """Return known machine facts under dotted names (``processor.usable_cores``), and
        ``devices``, what onnxruntime tells of the provider's devices.
        """
        return {
            **known_facts(to_plain(read_machine())),
            "provider": self.provider,
            "onnxruntime": self.proof.onnxruntime,
            "devices": [dict(device) for device in self.proof.devices],
        }

    def recipes(self, architecture: Architecture) -> tuple[list[Recipe], list[Refusal]]:
        """Return what to try on this provider, and what was left out: by the capability
        table, or because this device does not compute in its data type.
        """
        return recipes(self.provider, architecture, refused_types=self.proof.refused_types)
