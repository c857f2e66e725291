"""The classes one by one: precision, recall and F1 of each, beside the untrained model's F1.

Rendered from the confusion matrices of a run report, for the terminal and the model card.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from autotune.confusion import ClassScore
from autotune.units import format_fraction

from .plain_table import plain_table
from .run_report import ReportedModel, RunReport

__all__ = ["ClassRow", "class_cells", "class_header", "class_rows", "class_table", "mistake_lines"]

_NONE = "-"
# A screenful; the report keeps all of them.
_MOST_SHOWN = 12
_MOST_MISTAKES = 3


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """A class of the chosen model.

    Attributes:
        label: the answer as text.
        score: of the chosen model.
        untrained: of the baseline on the same rows, or None without one.
    """

    label: str
    score: ClassScore
    untrained: ClassScore | None


def class_rows(report: RunReport, model: ReportedModel) -> tuple[ClassRow, ...]:
    """Return the classes of ``model``, worst F1 first; none where it has no confusion matrix."""
    confusion = model.confusion
    if confusion is None or len(report.task.labels) != confusion.n_labels:
        return ()
    other = report.baseline.confusion if report.baseline else None
    untrained: Sequence[ClassScore | None] = other.classes if other else [None] * confusion.n_labels
    rows = [
        ClassRow(label=label, score=score, untrained=before)
        for label, score, before in zip(
            report.task.labels, confusion.classes, untrained, strict=True
        )
    ]
    return tuple(
        sorted(rows, key=lambda row: (row.score.f1 is None, row.score.f1 or 0.0, row.label))
    )


def class_header(rows: Sequence[ClassRow]) -> list[str]:
    """Return the words over the columns of ``class_cells``."""
    header = ["class", "precision", "recall", "F1", "rows"]
    return [*header, "F1 untrained"] if any(row.untrained for row in rows) else header


def class_cells(row: ClassRow) -> list[str]:
    """Return a class as the cells of a table; a share of nothing is a dash."""
    score = row.score
    cells = [row.label, *map(_share, (score.precision, score.recall, score.f1)), str(score.support)]
    return [*cells, _share(row.untrained.f1)] if row.untrained else cells


def class_table(report: RunReport, model: ReportedModel) -> Table | None:
    """Return the worst classes of ``model`` as a table, or None where it has no classes."""
    rows = class_rows(report, model)
    if not rows:
        return None
    table = plain_table()
    first, *others = class_header(rows)
    table.add_column(first.capitalize(), overflow="fold", min_width=8)
    for name in others:
        table.add_column(name.capitalize(), justify="right", no_wrap=True)
    for row in rows[:_MOST_SHOWN]:
        table.add_row(*map(Text, class_cells(row)))
    if len(rows) > _MOST_SHOWN:
        table.add_row(Text(f"and {len(rows) - _MOST_SHOWN} better ones in report.json"))
    return table


def mistake_lines(report: RunReport, model: ReportedModel) -> Iterator[str]:
    """Yield the most frequent mistakes: ``'fear' taken for 'sadness' in 7 of 40 rows``."""
    confusion = model.confusion
    if confusion is None or len(report.task.labels) != confusion.n_labels:
        return
    labels, classes = report.task.labels, confusion.classes
    for reference, answered, rows in confusion.mistakes[:_MOST_MISTAKES]:
        support = classes[reference].support
        yield f"{labels[reference]!r} taken for {labels[answered]!r} in {rows} of {support} rows"


def _share(value: float | None) -> str:
    return _NONE if value is None else format_fraction(value)
