"""The table of all fields as Markdown, written from the rules: ``docs/olive.md`` holds it."""

from __future__ import annotations

from collections.abc import Sequence

from .families import RULES
from .rule import Family, Rule

__all__ = ["field_table"]

_HEAD = ("field", "", "what becomes of it")


def field_table() -> str:
    """Return a section per family, a row per field."""
    return "\n".join(_section(family, rules) for family, rules in RULES.items())


def _section(family: Family, rules: Sequence[Rule]) -> str:
    rows = [_HEAD, ("---", "---", "---"), *(_row(rule) for rule in rules)]
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([f"### {family}", "", *lines, ""])


def _row(rule: Rule) -> tuple[str, str, str]:
    names = [f"`{rule.field}`", *(f"earlier `{name}`" for name in rule.older)]
    says = rule.says
    if rule.allowed:
        values = ", ".join(f"`{_word(value)}`" for value in rule.allowed)
        says = f"{values}: {says}. Else refused{f': {rule.otherwise}' if rule.otherwise else ''}"
    return ", ".join(names), rule.verdict.value, says


def _word(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
