"""Text formats by content: JSON, JSON Lines and separated values, in any Unicode encoding.

File names are not trusted: JSON Lines is common in ``.json``, and ``.csv`` from a
spreadsheet may hold semicolons, tabs, a byte order mark or UTF-16.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Iterator
from typing import Any

from autotune.errors import DataError

from .table import Record, Table, cell

__all__ = ["decode", "parse_text"]

# UTF-32 first: its little-endian mark begins with the one of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DELIMITERS = (",", ";", "\t", "|")
_SNIFFED_ROWS = 200
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n")


def decode(data: bytes, *, name: str) -> str:
    """Return the text of a file, its encoding told by the byte order mark or zero bytes.

    Raises:
        DataError: not text, or bytes that do not fit the encoding, with the line.
    """
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].decode(encoding, errors="ignore").count("\n") + 1
        raise DataError(
            f"A data file is UTF-8 or UTF-16 text or parquet; {name}, line {line}, has the byte"
            f" {data[error.start]:#04x}, which is not {encoding.removesuffix('-sig').upper()}."
            " Save the file as UTF-8."
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(
            f"A data file is text or parquet; {name}, line {line}, has a zero byte."
            " Export it as JSON, JSON Lines, csv or parquet."
        )
    return text.removeprefix("\ufeff")


def _encoding(data: bytes) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding
    # The first character of a table is ASCII, so one of its two UTF-16 bytes is zero.
    if data[1:2] == b"\0":
        return "utf-16-le"
    return "utf-16-be" if data[:1] == b"\0" else "utf-8"


def parse_text(text: str, *, name: str) -> Table:
    """Return the rows of a JSON, JSON Lines or separated text.

    Raises:
        DataError: empty, of none of these forms, or broken, with the line.
    """
    if not text.strip():
        raise DataError(f"A data set needs rows, {name!r} is empty.")
    if text.lstrip()[0] in "[{":
        return _parse_json(text, name=name)
    return _parse_separated(text, name=name)


def _loads(text: str) -> Any:
    # Numbers keep the spelling of the file; NaN, which JSON does not have, is missing.
    return json.loads(text, parse_float=str, parse_int=str, parse_constant=lambda _: None)


def _parse_json(text: str, *, name: str) -> Table:
    try:
        document = _loads(text)
    except json.JSONDecodeError as error:
        if _is_object(text.lstrip().partition("\n")[0]):
            return Table(name=name, unit="line", records=tuple(_json_lines(text, name=name)))
        raise _broken(name, error.lineno, f"{error.msg}, column {error.colno}") from error
    except RecursionError as error:
        raise _broken(name, 1, "nested too deeply") from error
    rows = _rows_of(document)
    if rows is None:
        raise DataError(
            f"A JSON file is a list of objects or one object per line, {name!r} is neither;"
            " write it as JSON Lines."
        )
    return Table(
        name=name,
        unit="row",
        records=tuple(
            _record(row, name=name, unit="row", number=number)
            for number, row in enumerate(rows, start=1)
        ),
    )


def _rows_of(document: Any) -> list[Any] | None:
    """Return the list of rows in a document: itself, or the only list it wraps."""
    if isinstance(document, list):
        return document
    lists = [value for value in document.values() if _is_list_of_objects(value)]
    if len(lists) == 1:
        return list(lists[0])
    has_containers = any(isinstance(value, list | dict) for value in document.values())
    return None if has_containers else [document]


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _is_object(line: str) -> bool:
    try:
        return isinstance(_loads(line), dict)
    except json.JSONDecodeError:
        return False


def _json_lines(text: str, *, name: str) -> Iterator[Record]:
    # Not splitlines(): JSON strings may hold U+2028 and other line ends of Unicode.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = _loads(line)
        except json.JSONDecodeError as error:
            raise _broken(name, number, f"{error.msg}, column {error.colno}") from error
        yield _record(row, name=name, unit="line", number=number)


def _record(row: Any, *, name: str, unit: str, number: int) -> Record:
    if not isinstance(row, dict):
        raise DataError(
            f"A row of a JSON file is an object; {name}, {unit} {number}, is {_short(row)}."
            ' Write it as {"field": value, ...}.'
        )
    return Record(fields={key: cell(value) for key, value in row.items()}, number=number)


def _short(value: Any, *, most: int = 40) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def _broken(name: str, line: int, reason: str) -> DataError:
    return DataError(f"{name}, line {line}, cannot be read as JSON ({reason}). Correct that line.")


def _parse_separated(text: str, *, name: str) -> Table:
    declared = _SEPARATOR_LINE.match(text)
    skipped = 1 if declared else 0
    body = text[declared.end() :] if declared else text
    delimiter = declared[1] if declared else _delimiter(body, name=name)
    rows = _csv_rows(body, delimiter, name=name, skipped=skipped)
    _, header = next(rows)
    columns = [column.strip() for column in header]
    if repeated := sorted({column for column in columns if columns.count(column) > 1}):
        raise DataError(
            f"Columns have distinct names, {name!r} has {repeated[0]!r} more than once;"
            " rename one of them."
        )
    records = []
    for line, row in rows:
        if len(row) != len(columns):
            raise DataError(
                f"Every line has as many fields as the header ({len(columns)}); {name}, line"
                f" {line}, has {len(row)}. Put texts that hold {delimiter!r} in double quotes."
            )
        records.append(Record(fields=dict(zip(columns, row, strict=True)), number=line))
    return Table(name=name, unit="line", records=tuple(records), notes=_note(delimiter))


def _note(delimiter: str) -> tuple[str, ...]:
    names = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
    return (f"fields are separated by {names[delimiter]}",) if delimiter in names else ()


def _csv_rows(
    text: str, delimiter: str, *, name: str, skipped: int = 0
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line of its beginning, fields) of every row that is not blank."""
    # The csv module wants lines with their ends, and only the ends it knows itself.
    lines = re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    while True:
        line = reader.line_num + 1 + skipped
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{name}, line {line}, cannot be read as separated values ({error})."
                " Close its quotes, and double a quote inside quotes."
            ) from error
        if any(field.strip() for field in row):
            yield line, row


def _delimiter(text: str, *, name: str) -> str:
    """Return the delimiter with which most rows are as wide as the header."""
    scores = {delimiter: _fit(text, delimiter, name=name) for delimiter in _DELIMITERS}
    best = max(scores, key=lambda delimiter: scores[delimiter])
    if scores[best] == (0.0, 0):
        raise DataError(
            f"A data file is JSON, JSON Lines, csv or parquet; the first line of {name!r} is no"
            " header of two or more columns. Export it in one of these formats."
        )
    return best


def _fit(text: str, delimiter: str, *, name: str) -> tuple[float, int]:
    """Return (share of rows as wide as the header, width); (0, 0) with one column."""
    widths: list[int] = []
    try:
        for _, row in _csv_rows(text, delimiter, name=name):
            widths.append(len(row))
            if widths[0] == 1 or len(widths) > _SNIFFED_ROWS:
                break
    except DataError:
        pass  # the error is reported, with its line, if this delimiter wins
    if not widths or widths[0] == 1:
        return 0.0, 0
    return sum(width == widths[0] for width in widths) / len(widths), widths[0]
