"""An NVIDIA device of which only the named facts are known."""

from __future__ import annotations

from typing import Any

from autotune.targets import Fact, Gpu, detected, unknown


def some_gpu(**known: Any) -> Fact[tuple[Gpu, ...]]:
    """Return a list of one device, number 0, as the driver's tools would give it."""
    facts: dict[str, Any] = dict.fromkeys(Gpu.__dataclass_fields__, unknown("not asked"))
    facts |= {name: detected(value) for name, value in known.items()}
    return detected((Gpu(**{**facts, "index": 0}),))
