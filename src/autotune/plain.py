"""Frozen dataclasses to plain JSON values and back, and the digest of a value.

Pydantic's TypeAdapter does the work, so a value read from disk is validated
like one made in code. The digest is SHA-256 over canonical JSON (sorted keys,
no spaces), which makes it the same on every machine.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

__all__ = ["canonical_json", "digest", "first_problem", "from_plain", "to_plain"]

T = TypeVar("T")


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the adapter of ``kind``, made once: building one costs milliseconds."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def to_plain(value: Any, kind: Any = None) -> Any:
    """Return ``value`` as dicts, lists, strings and numbers; ``kind`` for unions."""
    return _adapter(kind or type(value)).dump_python(value, mode="json")


def from_plain(kind: type[T], data: Any) -> T:
    """Return ``data`` (from JSON) as a validated ``kind``.

    Raises:
        pydantic.ValidationError: the data does not fit; it is a ValueError.
    """
    result: T = _adapter(kind).validate_python(data)
    return result


def first_problem(error: ValidationError) -> str:
    """Return the first thing that does not fit, in a line: ``trials.0.rank: Input should ...``."""
    problem = error.errors()[0]
    place = ".".join(map(str, problem["loc"]))
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])


def canonical_json(data: Any) -> str:
    """Return the one JSON text of a plain value; NaN and infinities are refused."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(data: Any) -> str:
    """Return the SHA-256 hex digest of a plain value's canonical JSON."""
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()
