"""The target that is not here: graphs for it can be built, and nothing can be run.

For bundles that another machine measures. Nothing about its device is known, so recipes are
those of the capability table alone.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from autotune.candidate import Recipe

from .capability import recipes
from .contract import Architecture, Refusal
from .families.family import OfFamily

__all__ = ["AssumedTarget"]


@dataclass(frozen=True, kw_only=True)
class AssumedTarget(OfFamily):
    """A ``Target`` for builds only: an execution provider that this machine lacks.

    Attributes:
        reason: why it is not usable here.
    """

    reason: str

    @property
    def interpreter(self) -> str:
        """This Python: it builds, and runs nothing for the provider."""
        return sys.executable

    def facts(self) -> dict[str, Any]:
        """Return the provider and why it is not here."""
        return {"provider": self.provider, "absent": self.reason}

    def recipes(self, architecture: Architecture) -> tuple[list[Recipe], list[Refusal]]:
        """Return what the capability table has for the provider, and what it refuses."""
        return recipes(self.provider, architecture, refused_types={})
