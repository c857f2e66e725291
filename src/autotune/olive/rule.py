"""What becomes of a field of an Olive configuration: one row of a table each.

The tables are the only place that knows field names. The reader judges by them, the
document ``docs/olive.md`` is written from them, and a field that stands in none is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Family", "Kind", "Rule", "Verdict"]

# PyYAML reads 1e-4 as text: YAML 1.1 wants a dot in it.
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class Verdict(StrEnum):
    """What happens to a field."""

    HONOURED = "honoured"
    MAPPED = "mapped"
    REFUSED = "refused"


class Kind(StrEnum):
    """What a field holds, in the words of a message."""

    TEXT = "a text"
    WHOLE = "a whole number"
    NUMBER = "a number"
    FLAG = "true or false"
    WORDS = "a list of texts"
    ANY = "anything"


class Family(StrEnum):
    """Which table a part of a configuration is read by; the value names it in documents."""

    TOP = "top level"
    CLIENT = "azureml_client"
    MODEL = "input_model"
    DATA = "data_configs.NAME"
    SYSTEM = "systems.NAME"
    ENGINE = "engine"
    LORA = "passes.NAME, type LoRA"
    QLORA = "passes.NAME, type QLoRA"
    MERGE = "passes.NAME, type MergeAdapterWeights"
    BUILD = "passes.NAME, type ModelBuilder"
    CONVERT = "passes.NAME, type OnnxConversion"
    EXPORT = "passes.NAME, type GenAIModelExporter"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A field, what becomes of it, and which values it may have.

    Attributes:
        field: dotted name within its family, as Olive 0.13 spells it.
        verdict: what happens to its values; those outside ``allowed`` are refused.
        says: what that means here, a sentence without a full stop.
        kind: what it holds.
        older: earlier spellings.
        allowed: the values that ``verdict`` and ``says`` are about; empty allows all.
        otherwise: why another value is refused.
        is_azure: belongs to an Azure ML job; a text that begins with "Your" is a gap to fill.
        is_secret: its value is never shown.
    """

    field: str
    verdict: Verdict
    says: str
    kind: Kind = Kind.ANY
    older: tuple[str, ...] = ()
    allowed: tuple[Any, ...] = ()
    otherwise: str = ""
    is_azure: bool = False
    is_secret: bool = False

    def read(self, value: Any) -> Any:
        """Return ``value`` as this field's kind.

        Raises:
            ValueError: it is of another kind.
        """
        match self.kind:
            case Kind.ANY:
                return value
            case Kind.TEXT if isinstance(value, str):
                return value
            case Kind.FLAG if isinstance(value, bool):
                return value
            case Kind.WORDS if _is_words(value):
                return (value,) if isinstance(value, str) else tuple(value)
            case Kind.WHOLE | Kind.NUMBER:
                return self._number(value)
        raise ValueError(self.kind)

    def refuses(self, value: Any) -> str:
        """Return why ``value``, which was read, is refused; empty where it is not."""
        if self.verdict is Verdict.REFUSED:
            return self.says
        if self.allowed and value not in self.allowed:
            return self.otherwise or f"autotune knows {', '.join(map(repr, self.allowed))} here"
        return ""

    def _number(self, value: Any) -> int | float:
        if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(self.kind)  # noqa: TRY004 - one error for all kinds
        if self.kind is Kind.NUMBER:
            return float(value)
        if value != int(value):
            raise ValueError(self.kind)
        return int(value)


def _is_words(value: Any) -> bool:
    if isinstance(value, str):
        return True
    return isinstance(value, list) and all(isinstance(word, str) for word in value)
