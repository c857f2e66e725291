"""Conversations: rows of ``{"messages": [{"role", "content"}, ...]}``, the last turn the answer.

This is the form of chat data on the Hugging Face hub. Only the last turn is learned and
judged, and it must be the assistant's; earlier turns of the assistant are part of the prompt.
"""

from __future__ import annotations

from typing import Any

from autotune.errors import DataError

from .rows import Message, TextRow
from .table import Record, Table, listing, near
from .template import Template
from .texts import NamedRow, TableTexts, splits_of

__all__ = ["CHAT_TEMPLATE", "MESSAGES_COLUMN", "read_conversations"]

MESSAGES_COLUMN = "messages"
# What a deployed model is asked with: one message.
CHAT_TEMPLATE = Template.parse("{message}{answer}")
_LEAST_TURNS = 2
_ROLES = ("system", "developer", "user", "assistant", "tool")


def read_conversations(table: Table) -> TableTexts:
    """Return the conversations of ``table``; the file's own splits are kept.

    Raises:
        DataError: no column of messages, or a row that is no conversation with an answer.
    """
    if MESSAGES_COLUMN not in table.columns:
        raise DataError(
            f"--chat without --template reads conversations from the column {MESSAGES_COLUMN!r},"
            f" {table.name!r} has {listing(map(repr, table.columns))}."
            f"{near(MESSAGES_COLUMN, table.columns)} Rename it, or say with --template how a row"
            " becomes one message."
        )
    filled = [record for record in table.records if record.fields.get(MESSAGES_COLUMN)]
    splits, warnings = splits_of(table, filled)
    rows = tuple(
        NamedRow(row=_row(table, record), split=split)
        for record, split in zip(filled, splits, strict=True)
    )
    if not rows:
        raise DataError(f"Conversations have turns; no row of {table.name!r} has any. Add some.")
    return TableTexts(rows=rows, empty=len(table.records) - len(filled), warnings=warnings)


def _row(table: Table, record: Record) -> TextRow:
    turns = _turns(table, record)
    before = turns[:-1]
    return TextRow(
        prompt="\n".join(f"{turn.role}: {turn.content}" for turn in before),
        answer=turns[-1].content.strip(),
        messages=before,
        place=table.place(record),
    )


def _turns(table: Table, record: Record) -> tuple[Message, ...]:
    value = record.fields.get(MESSAGES_COLUMN)
    found = [_turn(one) for one in value] if isinstance(value, list) else []
    turns = tuple(turn for turn in found if turn is not None)
    problem = ""
    if len(turns) != len(found) or not found:
        problem = "is no list of such turns"
    elif len(turns) < _LEAST_TURNS:
        problem = "has one turn only"
    elif unknown := [turn.role for turn in turns if turn.role not in _ROLES]:
        problem = f"has the role {unknown[0]!r}"
    elif turns[-1].role != "assistant" or not turns[-1].content.strip():
        problem = f"ends with {turns[-1].role!r} saying {turns[-1].content[:40]!r}"
    if problem:
        raise DataError(
            'A conversation is a list of {"role": ..., "content": ...} with roles'
            f" {listing(_ROLES)} and texts, two turns or more, the last an answer of the assistant;"
            f" {table.at([record.number])}, {problem}. Correct or remove it."
        )
    return turns


def _turn(value: Any) -> Message | None:
    """Return a turn, or None where the value is none."""
    if not isinstance(value, dict):
        return None
    role, content = value.get("role"), value.get("content")
    is_turn = isinstance(role, str) and isinstance(content, str)
    return Message(role=str(role), content=str(content)) if is_turn else None
