"""``--set passes.lora.training_args.max_steps=20``: any field, in either schema's spelling."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from autotune.errors import UsageError

from .spelling import Field, Part, Section, locate, nearest, rules_of

__all__ = ["with_overrides"]

_NEW = (Section.TOP, Section.CLIENT, Section.MODEL, Section.ENGINE)


def with_overrides(parts: Sequence[Part], texts: Sequence[str]) -> list[Part]:
    """Return the parts with every ``PATH=VALUE`` of ``texts`` put in.

    A value is JSON where it reads as such, else the text as it stands; null takes the
    field out. Without a field, ``passes.merge=null`` takes the part out.

    Raises:
        UsageError: no such form, or a path that leads nowhere.
    """
    found = list(parts)
    for text in texts:
        path, separator, value = text.partition("=")
        path = path.strip()
        if not separator or not path:
            raise UsageError(
                f"--set takes PATH=VALUE, got {text!r};"
                " for example --set passes.lora.training_args.max_steps=20."
            )
        _put(found, path, _value(value))
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _put(parts: list[Part], path: str, value: Any) -> None:
    section, name, field = locate(path)
    part = _part(parts, section, name, path)
    if not field:
        if value is not None:
            raise UsageError(f"--set {path} names no field; only null, which takes it out, fits.")
        parts.remove(part)
        return
    rule = rules_of(section).get(field)
    spellings = {field} if rule is None else {rule.field, *rule.older}
    if value is None:
        gone = [one for one in part.fields if one in spellings or one.startswith(f"{field}.")]
        if not gone:
            near = nearest(field, part.fields) or "."
            raise UsageError(f"--set {path}=null takes a field out, there is none{near}")
        for one in gone:
            del part.fields[one]
        return
    for spelling in spellings:
        part.fields.pop(spelling, None)
    part.fields[field] = Field(place=path, value=value, written=value)


def _part(parts: list[Part], section: Section, name: str, path: str) -> Part:
    alike = [part for part in parts if part.section is section]
    for number, part in enumerate(alike):
        if name in (part.name, str(number), part.get("name")):
            return part
    if section in _NEW:
        part = Part(section=section, name="", place=section.value)
        parts.append(part)
        return part
    known = [part.name for part in alike]
    raise UsageError(
        f"--set {path}: {section.value} has no {name!r} (it has {', '.join(known) or 'none'})"
        f"{nearest(name, known) or '.'}"
    )
