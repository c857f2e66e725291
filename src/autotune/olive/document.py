"""The file of a configuration as plain data: JSON or YAML, no key twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autotune.errors import UsageError

__all__ = ["read_document"]

_YAML = (".yaml", ".yml")


def read_document(path: Path) -> dict[str, Any]:
    """Return the object that the file holds.

    Raises:
        UsageError: absent, unreadable, broken (with its line) or no object.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"The configuration {str(path)!r} cannot be read ({error.strerror}); check the path."
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"A configuration is UTF-8 text, {str(path)!r} is not ({error})."
        ) from None
    read = _from_yaml if path.suffix.lower() in _YAML else _from_json
    try:
        content = read(text)
    except ValueError as error:
        raise UsageError(f"The configuration {str(path)!r} is broken: {error}.") from None
    if not isinstance(content, dict):
        raise UsageError(
            f"A configuration is an object with input_model and passes, {str(path)!r} holds"
            f" {type(content).__name__}."
        )
    return content


def _without_repeats(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if str(key) in found:
            raise ValueError(f"the key {str(key)!r} stands twice in one object")
        found[str(key)] = value
    return found


def _from_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_without_repeats)


def _from_yaml(text: str) -> Any:
    import yaml  # noqa: PLC0415 - startup time

    try:
        _check_repeats(yaml.compose(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def _check_repeats(node: Any) -> None:
    """Refuse a key that stands twice, of which YAML keeps the last without a word."""
    if node is None or node.id == "scalar":
        return
    children = node.value
    if node.id == "mapping":
        _without_repeats([(key.value, None) for key, _ in node.value if key.id == "scalar"])
        children = [value for _, value in node.value]
    for child in children:
        _check_repeats(child)
