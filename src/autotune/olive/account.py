"""Every field's verdict in a line: nothing of a configuration is dropped in silence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autotune.errors import UsageError

from .families import RULES
from .rule import Rule, Verdict
from .spelling import Field, Part, nearest

__all__ = ["Said", "gaps", "judged", "normalised"]

_GAP = re.compile(r"\s*<?your\b", re.IGNORECASE)
_LONGEST = 60


@dataclass(frozen=True, kw_only=True)
class Said:
    """What becomes of one field.

    Attributes:
        place: the dotted path, as written.
        value: as written, shortened; a secret's is hidden.
        verdict: what happens.
        says: how, or why not.
        is_open: refused as things stand, not for good: a flag or a file is missing.
    """

    place: str
    value: str
    verdict: Verdict
    says: str
    is_open: bool = False

    @property
    def line(self) -> str:
        """The whole in a line."""
        return f"{self.verdict}: {self.place} = {self.value}: {self.says}"


def normalised(part: Part) -> Part:
    """Return ``part`` with every field in today's spelling and of its rule's kind.

    Raises:
        UsageError: an unknown field (with the nearest name), a value of another kind, or
            two spellings of one field that differ.
    """
    family = part.family
    rules = {spelling: rule for rule in RULES[family] for spelling in (rule.field, *rule.older)}
    clean = Part(section=part.section, name=part.name, place=part.place)
    for name, field in part.fields.items():
        rule = rules.get(name)
        if rule is None:
            raise UsageError(f"{field.place} is no field of {family}{_near(name, rules)}")
        if field.value is None:  # no value, in Olive too
            continue
        value = _read(rule, field)
        before = clean.fields.get(rule.field)
        if before is not None and before.value != value:
            raise UsageError(
                f"{before.place} and {field.place} mean the same and differ; leave one out."
            )
        clean.fields[rule.field] = replace(field, value=value)
    return clean


def _near(name: str, rules: Mapping[str, Rule]) -> str:
    """Return the nearest known name; the last part counts, wrappers may differ."""
    hint = nearest(name, rules)
    if hint:
        return hint
    last = {spelling.rpartition(".")[2] for spelling in rules}
    return nearest(name.rpartition(".")[2], last) or "."


def _read(rule: Rule, field: Field) -> Any:
    try:
        return rule.read(field.value)
    except ValueError:
        raise UsageError(
            f"{field.place} is {rule.kind}, got {_shown(rule, field.value)}."
        ) from None


def judged(part: Part, *, instead: str = "") -> Iterator[Said]:
    """Yield what becomes of each field of a part in today's spelling.

    Args:
        part: as ``normalised`` returns it.
        instead: why the part does not count, where something else takes its place.
    """
    rules = {rule.field: rule for rule in RULES[part.family]}
    for name, field in part.fields.items():
        rule = rules[name]
        refusal = "" if instead else rule.refuses(field.value)
        yield Said(
            place=field.place,
            value=_shown(rule, field.written),
            verdict=Verdict.REFUSED if refusal else Verdict.MAPPED if instead else rule.verdict,
            says=refusal or instead or rule.says,
        )


def gaps(parts: Sequence[Part]) -> list[Field]:
    """Return the Azure fields that still say what to write there (``Your Azure ...``)."""
    found = []
    for part in parts:
        rules = {rule.field: rule for rule in RULES[part.family]}
        found += [
            field
            for name, field in part.fields.items()
            if rules[name].is_azure and isinstance(field.value, str) and _GAP.match(field.value)
        ]
    return found


def _shown(rule: Rule, value: Any) -> str:
    if rule.is_secret and not isinstance(value, bool):
        return "(not shown)"
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
