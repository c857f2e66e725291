"""A fact about a machine, or the reason why it is not known.

Detected, asserted by a person, not applicable and unknown are four different
things: "no swap" is not "swap unknown", and neither is zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

__all__ = ["Fact", "FactStatus", "detected", "known_facts", "not_applicable", "probe", "unknown"]

T = TypeVar("T")
FactStatus = Literal["detected", "asserted", "not_applicable", "unknown"]

# What reading files, parsing their text and asking the platform can raise. A strange
# machine must not cost a result, so all of them become "unknown" with the message.
_PROBE_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    ArithmeticError,
    ImportError,
    RuntimeError,
)


@dataclass(frozen=True, kw_only=True)
class Fact(Generic[T]):
    """A value with where it comes from, or the reason of its absence.

    Attributes:
        status: ``detected`` and ``asserted`` have a value, the others a reason.
        value: in the unit that the field's name says; None where absent.
        reason: why there is no value.
    """

    status: FactStatus
    value: T | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        has_value = self.status in ("detected", "asserted")
        if has_value != (self.value is not None) or has_value == bool(self.reason):
            raise ValueError(
                f"A fact has a value or a reason, got status {self.status!r}, value "
                f"{self.value!r}, reason {self.reason!r}."
            )


def detected(value: T) -> Fact[T]:
    """Return a fact that was read from the machine."""
    return Fact(status="detected", value=value)


def unknown(reason: str) -> Fact[Any]:
    """Return a fact that could not be learnt."""
    return Fact(status="unknown", reason=reason)


def not_applicable(reason: str) -> Fact[Any]:
    """Return a fact that this machine has not."""
    return Fact(status="not_applicable", reason=reason)


def probe(read: Callable[[], T | Fact[T] | None]) -> Fact[T]:
    """Return what ``read`` finds, or ``unknown`` with the message of its failure.

    ``read`` may return a fact itself, to say "not applicable". None, an empty text
    and an empty tuple count as not found.
    """
    try:
        value = read()
        if isinstance(value, Fact):
            return value
        if value is None or value in ("", ()):
            return unknown("not reported by this system")
        if isinstance(value, float) and not math.isfinite(value):
            return unknown(f"reported as {value!r}")
        return detected(value)
    except _PROBE_ERRORS as error:
        return unknown(f"{type(error).__name__}: {error}")
    # psutil's own errors derive from Exception alone.
    except _psutil_error() as error:
        return unknown(f"{type(error).__name__}: {error}")


def _psutil_error() -> type[Exception]:
    import psutil  # noqa: PLC0415 - asked only when something failed

    return psutil.Error


def known_facts(plain: Any, *, prefix: str = "") -> dict[str, Any]:
    """Return the values known in ``plain`` (facts as dicts) under dotted names.

    >>> known_facts({"cpu": {"model": {"status": "detected", "value": "x", "reason": ""}}})
    {'cpu.model': 'x'}
    """
    found: dict[str, Any] = {}
    for name, value in plain.items():
        if not isinstance(value, dict):
            continue
        if "status" in value and "value" in value:
            if value["value"] is not None:
                found[prefix + name] = value["value"]
        else:
            found |= known_facts(value, prefix=f"{prefix}{name}.")
    return found
