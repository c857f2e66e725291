"""From the rows of a table to prompts and answers, with everything unusable named.

A missing or null prompt field reads as empty text (optional fields are common); a
missing answer is an error, because nothing can be learned or scored without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune.errors import DataError

from .data import split_name
from .options import RowOptions, read_options
from .rows import TextRow
from .table import SPLIT_NAMES, Record, SplitName, Table, listing
from .template import Template

__all__ = ["SPLIT_COLUMN", "NamedRow", "TableTexts", "read_texts", "splits_of"]

SPLIT_COLUMN = "split"


@dataclass(frozen=True, kw_only=True)
class NamedRow:
    """A row and the split that its source puts it in, None where it names none."""

    row: TextRow
    split: SplitName | None


@dataclass(frozen=True, kw_only=True)
class TableTexts:
    """The usable rows of a table.

    Attributes:
        rows: in file order.
        empty: rows left out because all their fields were blank.
        warnings: what a person should know about the reading.
    """

    rows: tuple[NamedRow, ...]
    empty: int
    warnings: tuple[str, ...]


def read_texts(table: Table, template: Template, options: Sequence[str] = ()) -> TableTexts:
    """Return the prompts and answers of ``table``; the file's own splits are kept.

    Args:
        table: the rows.
        template: its last field is the answer.
        options: columns of the options; the answer's field then names the right one.

    Raises:
        DataError: an unknown field, rows whose answer is missing or a list, prompts
            that are blank, unusable options, or a column of splits with unknown names.
    """
    template.check_fields(table.columns, source=table.name)
    filled = [record for record in table.records if not _is_empty(record, template)]
    _check_values(table, filled, template)
    empty = len(table.records) - len(filled)
    if not filled:
        raise DataError(
            f"Rows have text in the fields {listing(template.fields)}; no row of"
            f" {table.name!r} has any ({empty} read). Name another file or other fields."
        )
    splits, warnings = splits_of(table, filled, template.fields)
    offered: Sequence[RowOptions | None] = [None] * len(filled)
    if options:
        offered, how = read_options(
            table, filled, columns=options, answer_field=template.answer_field
        )
        warnings = (*warnings, f"{template.answer_field!r} names the right option {how}")
    rows = tuple(
        NamedRow(row=_text_row(record, template, one, place=table.place(record)), split=split)
        for record, split, one in zip(filled, splits, offered, strict=True)
    )
    return TableTexts(rows=rows, empty=empty, warnings=warnings)


def _text_row(
    record: Record, template: Template, offered: RowOptions | None, *, place: str
) -> TextRow:
    values = {field: _text(record, field) for field in template.fields}
    prompt = template.prompt(values)
    if offered is None:
        return TextRow(prompt=prompt, answer=template.answer(values), place=place)
    options = tuple(text.strip() + template.suffix for text in offered.texts)
    return TextRow(prompt=prompt, answer=options[offered.right], options=options, place=place)


def _text(record: Record, field: str) -> str:
    value = record.fields.get(field)
    return value if isinstance(value, str) else ""


def _is_blank(record: Record, field: str) -> bool:
    value = record.fields.get(field)
    return value is None or (isinstance(value, str) and not value.strip())


def _is_empty(record: Record, template: Template) -> bool:
    return all(_is_blank(record, field) for field in template.fields)


def _is_encodable(record: Record, field: str) -> bool:
    # JSON can spell half of a surrogate pair, which is no character.
    return not any("\ud800" <= character <= "\udfff" for character in _text(record, field))


def _check_values(table: Table, records: list[Record], template: Template) -> None:
    def refuse(wrong: list[Record], rule: str, way_out: str) -> None:
        if wrong:
            where = table.at(record.number for record in wrong)
            rows = "1 row" if len(wrong) == 1 else f"{len(wrong)} rows"
            raise DataError(f"{rule} in {rows} ({where}). {way_out}")

    for field in template.fields:
        refuse(
            [found for found in records if isinstance(found.fields.get(field), list | dict)],
            f"A field is text, a number or a boolean; {field!r} is a list or an object",
            "Write one text for it.",
        )
        refuse(
            [found for found in records if not _is_encodable(found, field)],
            f"Text is valid Unicode; {field!r} has half of a surrogate pair",
            "Correct or remove these rows.",
        )
    refuse(
        [found for found in records if _is_blank(found, template.answer_field)],
        f"Every row has an answer; {template.answer_field!r} is null or empty",
        "Fill it in or remove these rows.",
    )
    prompt_fields = template.prompt_fields
    refuse(
        [found for found in records if all(_is_blank(found, name) for name in prompt_fields)],
        f"Every row has a prompt; {listing(map(repr, prompt_fields))} is empty",
        "Fill it in or remove these rows.",
    )


def splits_of(
    table: Table, records: Sequence[Record], fields: Sequence[str] = ()
) -> tuple[list[SplitName | None], tuple[str, ...]]:
    """Return each record's split as its source or its column ``split`` names it.

    Args:
        table: where the records come from.
        records: those to place.
        fields: of the template; a column ``split`` among them names no splits.

    Raises:
        DataError: a column of splits with unknown names among known ones.
    """
    named = [record.split for record in records]
    if SPLIT_COLUMN not in table.columns or SPLIT_COLUMN in fields or any(named):
        return named, table.notes
    values = [_text(record, SPLIT_COLUMN) for record in records]
    found = [split_name(value) for value in values]
    unknown = [index for index, split in enumerate(found) if split is None]
    if len(unknown) == len(records):
        warning = f"the column {SPLIT_COLUMN!r} of {table.name} names no known split; not used"
        return named, (*table.notes, warning)
    if unknown:
        first = unknown[0]
        raise DataError(
            f"The column {SPLIT_COLUMN!r} names {listing(SPLIT_NAMES)}, {values[first]!r} stands in"
            f" {table.at(records[index].number for index in unknown)}."
            " Correct these rows or rename the column."
        )
    return found, table.notes
