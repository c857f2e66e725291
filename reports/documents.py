"""Reading a published document: schema and version first, then its form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from autotune.errors import UsageError
from autotune.plain import first_problem, from_plain

__all__ = ["Document", "load_document"]


class Document(Protocol):
    """A dataclass whose first fields name its schema and version (with defaults)."""

    @property
    def schema(self) -> str:
        """Name of the document's form, ``autotune.run`` and the like."""

    @property
    def schema_version(self) -> str:
        """Version of that form, ``major.minor``."""


D = TypeVar("D", bound=Document)


def load_document(path: Path, kind: type[D]) -> D:
    """Return the document of ``kind`` in the file ``path``.

    Raises:
        UsageError: missing, truncated, of another schema or version, or not of its form.
    """
    data = _read_json(path)
    _check_version(path, data, schema=str(kind.schema), version=str(kind.schema_version))
    try:
        return from_plain(kind, data)
    except ValidationError as error:
        raise UsageError(
            f"{str(path)!r} is no valid {kind.schema} document: {first_problem(error)}"
            f" ({error.error_count()} in all); restore the file as autotune wrote it."
        ) from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{str(path)!r} cannot be read ({error.strerror}); name a file that autotune wrote."
        ) from error
    except ValueError as error:
        raise UsageError(
            f"{str(path)!r} is no whole JSON document ({error});"
            " it was cut off or edited, so write it again."
        ) from error


def _check_version(path: Path, data: Any, *, schema: str, version: str) -> None:
    found = data.get("schema") if isinstance(data, dict) else None
    if found != schema:
        raise UsageError(
            f"{str(path)!r} has the schema {found!r}, expected {schema!r};"
            " name a file of that kind."
        )
    if data.get("schema_version") != version:
        raise UsageError(
            f"{str(path)!r} has schema version {data.get('schema_version')!r}, this autotune"
            f" reads {version!r}; use the version of autotune that wrote it."
        )
