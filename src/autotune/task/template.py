r"""How a row becomes a prompt and an answer: ``### Text: {phrase}\n### The tone is:\n{tone}``.

All text up to the last field is the prompt; the last field and the text after it are
the answer. Spaces before the last field belong to the answer's tokens (``lead``):
tokenizers join a space to the word that follows it, so a prompt that ends in one
makes models stumble.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from autotune.errors import DataError

from .table import listing, near

__all__ = ["Template"]

_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}
_ESCAPE = re.compile(r"\\[nt\\]")
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_LEAST_FIELDS = 2


@dataclass(frozen=True, kw_only=True)
class Template:
    """A parsed template; make it with ``Template.parse``.

    Attributes:
        text: the template with escapes resolved and braces as typed;
            ``Template.parse(text, escapes=False)`` gives an equal template.
        literals: texts around the fields, one more than ``fields``.
        fields: names in order of appearance, at least two, of plain text one; the last is
            the answer's.
    """

    text: str
    literals: tuple[str, ...]
    fields: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, *, escapes: bool = True, is_plain_text: bool = False) -> Self:
        r"""Return the template written as ``text``.

        Args:
            text: ``{name}`` is a field, ``{{`` and ``}}`` are braces.
            escapes: read ``\n``, ``\t`` and ``\\`` as typed on a command line.
            is_plain_text: one field and no prompt, for perplexity.

        Raises:
            DataError: a lone brace, an empty name, too few or too many fields, or the
                answer's field in the prompt.
        """
        if escapes:
            text = _ESCAPE.sub(lambda match: _ESCAPES[match[0]], text)
        literals, fields = _scan(text)
        if is_plain_text:
            if len(fields) != 1:
                raise DataError(
                    f"A template of plain text has one field, {text!r} has {len(fields)}; write for"
                    " example '{text}'."
                )
            return cls(text=text, literals=tuple(literals), fields=tuple(fields))
        if len(fields) < _LEAST_FIELDS:
            raise DataError(
                f"A template has a field for the prompt and, last, one for the answer, {text!r} has"
                f" {len(fields)}; write for example '{{question}}\\n{{answer}}'."
            )
        if fields[-1] in fields[:-1]:
            raise DataError(
                f"The last field is the answer and must not be in the prompt, {fields[-1]!r} is"
                f" in {text!r} more than once; take it out of the prompt."
            )
        return cls(text=text, literals=tuple(literals), fields=tuple(fields))

    @property
    def prompt_fields(self) -> tuple[str, ...]:
        """Names of the prompt's fields, each once."""
        return tuple(dict.fromkeys(self.fields[:-1]))

    @property
    def answer_field(self) -> str:
        """Name of the answer's field."""
        return self.fields[-1]

    @property
    def lead(self) -> str:
        """Spaces between prompt and answer; they are tokens of the answer."""
        literal = self.literals[-2]
        return " " * (len(literal) - len(literal.rstrip(" ")))

    @property
    def suffix(self) -> str:
        """Text after the last field, part of every answer."""
        return self.literals[-1]

    def prompt(self, row: Mapping[str, str]) -> str:
        """Return the text up to the answer, without spaces at its end."""
        parts = [
            literal + row[field]
            for literal, field in zip(self.literals[:-2], self.fields[:-1], strict=True)
        ]
        return ("".join(parts) + self.literals[-2]).rstrip(" ")

    def answer(self, row: Mapping[str, str]) -> str:
        """Return the answer's text; ``prompt + lead + answer`` is the whole row."""
        return row[self.answer_field] + self.suffix

    def check_fields(self, columns: Iterable[str], *, source: str) -> None:
        """Refuse fields that ``source`` does not have.

        Raises:
            DataError: naming the fields that exist and the nearest one.
        """
        known = tuple(columns)
        for field in self.fields:
            if field not in known:
                raise DataError(
                    f"The template names the field {field!r}, {source!r} has"
                    f" {listing(map(repr, known))}.{near(field, known)}"
                    " Write {{ for a brace that is no field."
                )


def _scan(text: str) -> tuple[list[str], list[str]]:
    """Return (literals, fields) of a template, one literal more than fields."""
    literals, fields, start = [""], [], 0
    for match in _TOKEN.finditer(text):
        literals[-1] += text[start : match.start()]
        start = match.end()
        if match[0] in ("{{", "}}"):
            literals[-1] += match[0][0]
        elif match[1] is None or not match[1].strip():
            raise DataError(
                f"A template writes a field as {{name}} and a brace twice, got {match[0]!r} at"
                f" character {match.start() + 1} of {text!r}; write {{{{ or }}}} for a brace."
            )
        else:
            fields.append(match[1].strip())
            literals.append("")
    literals[-1] += text[start:]
    return literals, fields
