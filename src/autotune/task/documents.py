"""Plain text: read as it stands, in order, and cut into splits where no window crosses.

Lines of a text file or values of one column, blank ones included, are pieces of one
stream: joined they are the text again, so nothing is removed, repeated or mixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from autotune.errors import DataError

from .data import load_table, read_file
from .formats import decode
from .rows import TextRow
from .split import DEFAULT_SHARES
from .table import SPLIT_NAMES, Record, SplitName, Table
from .template import Template
from .texts import NamedRow, TableTexts, splits_of

__all__ = ["DOCUMENT_TEMPLATE", "consecutive_splits", "read_documents"]

# The pieces as they stand; a template like "{text}\n\n" puts something between them.
DOCUMENT_TEMPLATE = "{text}"
_TEXT_SUFFIXES = (".txt", ".text", ".raw", ".md")


def read_documents(source: str, template: Template) -> TableTexts:
    """Return the pieces of text in ``source``, in order.

    Args:
        source: a text file, or a table or data set with the template's field.
        template: of one field; what stands around it is put around every piece.

    Raises:
        DataError: unreadable, no text, or a value that is none.
    """
    path = Path(source)
    if path.suffix.lower() in _TEXT_SUFFIXES and path.is_file():
        table = _lines(path, source, field=template.answer_field)
    else:
        table = load_table(source)
    template.check_fields(table.columns, source=table.name)
    before, after = template.literals
    splits, warnings = splits_of(table, table.records)
    rows = []
    for record, split in zip(table.records, splits, strict=True):
        text = record.fields.get(template.answer_field)
        if not isinstance(text, str) and text is not None:
            raise DataError(
                f"The field {template.answer_field!r} of plain text is text;"
                f" {table.at([record.number])}, has a list or an object. Write one text for it."
            )
        row = TextRow(prompt="", answer=f"{before}{text or ''}{after}", place=table.place(record))
        rows.append(NamedRow(row=row, split=split))
    if not any(named.row.answer.strip() for named in rows):
        raise DataError(f"Plain text has words, {source!r} has none; name another file or field.")
    return TableTexts(rows=tuple(rows), empty=0, warnings=warnings)


def _lines(path: Path, source: str, *, field: str) -> Table:
    # Not splitlines(): only line feeds end a line, so that joining gives the file again.
    lines = decode(read_file(path, name=source), name=source).split("\n")
    pieces = [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    records = (Record(fields={field: piece}, number=n) for n, piece in enumerate(pieces, start=1))
    return Table(name=source, unit="line", records=tuple(records))


def consecutive_splits(
    given: Mapping[SplitName, Sequence[TextRow]],
) -> dict[SplitName, tuple[TextRow, ...]]:
    """Return all three splits; those that nobody named are cut off the end of train.

    60, 20 and 20 % by characters, validation before test, each a run of pieces.

    Raises:
        DataError: too few pieces to cut.
    """
    missing = [name for name in SPLIT_NAMES if name not in given]
    wanted = ["train", *missing]
    total = sum(DEFAULT_SHARES[name] for name in SPLIT_NAMES if name in wanted)
    rows, size = given["train"], sum(len(row.answer) for row in given["train"])
    found = {name: tuple(rows) for name, rows in given.items()}
    parts: dict[SplitName, list[TextRow]] = {n: [] for n in SPLIT_NAMES if n in wanted}
    ends, end = {}, 0.0
    for name in parts:
        end += DEFAULT_SHARES[name] / total * size
        ends[name] = end
    position = 0
    for row in rows:
        # A piece belongs where its middle lies.
        middle = position + len(row.answer) / 2
        home = next((name for name in parts if middle <= ends[name]), list(parts)[-1])
        parts[home].append(row)
        position += len(row.answer)
    found |= {name: tuple(rows) for name, rows in parts.items()}
    for name in SPLIT_NAMES:
        if not any(row.answer.strip() for row in found[name]):
            raise DataError(
                f"Every split has text, {name} has none; give more lines or rows, or a file of its"
                " own with --validation-data and --test-data."
            )
    return {name: found[name] for name in SPLIT_NAMES}
