"""Multiple choice: which columns hold a row's options, and which of them is right.

Options stand in one column as a list, as ``{"text": [...], "label": [...]}``, or in
several columns, one each. The answer's column names the right one by its text, its label,
its number (from 0, or from 1 where that is the only reading) or a letter; how it does is
found out once for the whole table, never row by row.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autotune.errors import DataError

from .table import Record, Table, cell, listing, near

__all__ = ["RowOptions", "read_options"]

_LEAST = 2


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """The options of one row.

    Attributes:
        texts: at least two, distinct, none blank.
        right: index of the right one.
    """

    texts: tuple[str, ...]
    right: int


@dataclass(frozen=True, kw_only=True)
class _Offer:
    """What a record offers: texts, labels where it names them, and what its answer says."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    told: str


def read_options(
    table: Table, records: Sequence[Record], *, columns: Sequence[str], answer_field: str
) -> tuple[tuple[RowOptions, ...], str]:
    """Return the options of ``records`` and how their right ones are named, for people.

    Args:
        table: where they come from, for messages.
        records: at least one.
        columns: one column of lists, or two and more of one option each.
        answer_field: column that names the right option.

    Raises:
        DataError: unknown columns, unusable options, or answers that name none.
    """
    for column in columns:
        if column not in table.columns:
            raise DataError(
                f"--options names the column {column!r}, {table.name!r} has"
                f" {listing(map(repr, table.columns))}.{near(column, table.columns)}"
            )
    offers = []
    for record in records:
        texts, labels = _offered(record, columns)
        _check(table, record, texts)
        offers.append(_Offer(texts=texts, labels=labels, told=_text(record, answer_field)))
    for how, right in _readings(offers):
        if None not in right:
            found = tuple(
                RowOptions(texts=offer.texts, right=int(index or 0))
                for offer, index in zip(offers, right, strict=True)
            )
            return found, how
    raise _no_reading(table, records, offers, answer_field)


def _offered(record: Record, columns: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the texts and, where the row has them, the labels of its options."""
    if len(columns) > 1:
        # A row may have fewer options than there are columns.
        texts = (_text(record, column) for column in columns)
        return tuple(text for text in texts if text.strip()), ()
    value = record.fields.get(columns[0])
    if isinstance(value, dict):
        return _texts(value.get("text")), _texts(value.get("label"))
    return _texts(value), ()


def _texts(values: object) -> tuple[str, ...]:
    """Return the members of a list as text, of anything else none."""
    found = [cell(value) for value in values] if isinstance(values, list) else []
    return tuple(value if isinstance(value, str) else "" for value in found)


def _text(record: Record, field: str) -> str:
    value = record.fields.get(field)
    return value.strip() if isinstance(value, str) else ""


def _check(table: Table, record: Record, texts: Sequence[str]) -> None:
    wrong = ""
    if len(texts) < _LEAST:
        wrong = f"has {len(texts)}"
    elif not all(text.strip() for text in texts):
        wrong = "has an empty one"
    elif len({text.strip() for text in texts}) < len(texts):
        wrong = "has one of them twice"
    if wrong:
        raise DataError(
            f"A row of a multiple choice has two or more distinct options as texts;"
            f" {table.at([record.number])}, {wrong}. Correct or remove it."
        )


def _readings(offers: Sequence[_Offer]) -> Iterator[tuple[str, list[int | None]]]:
    """Yield how answers may be read, the surest first, with the index that each then means."""
    yield "by its text", [_index(offer.told, offer.texts) for offer in offers]
    yield "by its label", [_index(offer.told, offer.labels) for offer in offers]
    yield "by its number from 0", [_number(offer, first=0) for offer in offers]
    yield "by its number from 1", [_number(offer, first=1) for offer in offers]
    letters = string.ascii_uppercase
    yield (
        "by its letter",
        [_index(offer.told.upper(), letters[: len(offer.texts)]) for offer in offers],
    )


def _index(told: str, known: Sequence[str]) -> int | None:
    stripped = [one.strip() for one in known]
    return stripped.index(told) if told in stripped else None


def _number(offer: _Offer, *, first: int) -> int | None:
    if not offer.told.isdecimal():
        return None
    index = int(offer.told) - first
    return index if 0 <= index < len(offer.texts) else None


def _no_reading(
    table: Table, records: Sequence[Record], offers: Sequence[_Offer], answer_field: str
) -> DataError:
    """Return the error about the first answer that fits no reading, else about the mixture."""
    names_any = [False] * len(offers)
    for _, right in _readings(offers):
        names_any = [
            known or index is not None for known, index in zip(names_any, right, strict=True)
        ]
    wrong = names_any.index(False) if False in names_any else 0
    offer = offers[wrong]
    return DataError(
        f"The field {answer_field!r} names the right option by text, label, number or letter, in"
        f" all rows alike; {table.at([records[wrong].number])}, says {offer.told!r} of"
        f" {listing(map(repr, offer.texts), most=5)}. Correct it."
    )
