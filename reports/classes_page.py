"""Which classes the chosen model knows: scores of each, the confusion matrix, wrong examples."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from autotune.confusion import Confusion

from .classes import class_cells, class_header, class_rows, mistake_lines
from .mistakes import Mistake
from .page_parts import details, paragraphs, section, table
from .run_report import ReportedModel, RunReport

__all__ = ["answers_section"]

_MOST_LABELS = 20
_MOST_MISTAKES = 50
_MOST_LETTERS = 600


def answers_section(report: RunReport, mistakes: Sequence[Mistake] | None) -> str:
    """Return the answers of the chosen model (or the nearest miss), one class at a time."""
    model = report.chosen or report.nearest_miss
    if model is None:
        return ""
    rows = class_rows(report, model)
    split = model.metrics["accuracy"].split if "accuracy" in model.metrics else None
    parts = []
    if rows and model.confusion is not None:
        parts = [
            table(class_header(rows), [class_cells(row) for row in rows]),
            paragraphs(f"Mistake: {line}." for line in mistake_lines(report, model)),
            _matrix(model, model.confusion, report.task.labels),
        ]
    parts += _wrong(mistakes)
    if not parts:
        return ""
    return section(f"Answers on the {split or 'validation'} split", *parts, anchor="answers")


def _shown_labels(confusion: Confusion) -> list[int]:
    """Return all labels, or of many those that are most often part of a mistake."""
    if confusion.n_labels <= _MOST_LABELS:
        return list(range(confusion.n_labels))
    order: dict[int, None] = {}
    for reference, answered, _ in confusion.mistakes:
        order |= {reference: None, answered: None}
    return sorted(list(order)[:_MOST_LABELS])


def _matrix(model: ReportedModel, confusion: Confusion, labels: Sequence[str]) -> str:
    """Return the matrix as a table whose cells are darker the more rows they hold."""
    shown, matrix = _shown_labels(confusion), confusion.matrix
    most = max((matrix[a][b] for a in shown for b in shown), default=0) or 1
    heads = "".join(f'<th scope="col">{escape(labels[one])}</th>' for one in shown)
    lines = []
    for reference in shown:
        cells = "".join(
            f'<td class="heat{" right" if reference == answered else ""}"'
            f' style="--share:{matrix[reference][answered] / most:.2f}">'
            f"{matrix[reference][answered]}</td>"
            for answered in shown
        )
        lines.append(f'<tr><th scope="row">{escape(labels[reference])}</th>{cells}</tr>')
    left_out = confusion.n_labels - len(shown)
    rest = f" The {left_out} labels with the fewest mistakes are left out." if left_out else ""
    words = f"Confusion matrix of {model.name}: right answer by row, given answer by column.{rest}"
    return (
        f'<p id="confusion">{escape(words)}</p><div class="wide">'
        '<table class="confusion" aria-describedby="confusion">'
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _wrong(mistakes: Sequence[Mistake] | None) -> list[str]:
    """Return the rows that were answered wrongly, folded away: they are the user's texts."""
    if mistakes is None:
        return []
    if not mistakes:
        return [paragraphs(["Every row of the test split was answered rightly."])]
    rows = [(_cut(m.prompt), _cut(m.reference), _cut(m.answered)) for m in mistakes]
    shown = rows[:_MOST_MISTAKES]
    more = f", the first {len(shown)} of them here" if len(shown) < len(rows) else ""
    return [
        details(
            f"Wrong examples: {len(rows)} rows of your data{more}",
            table(("prompt", "right answer", "given answer"), shown),
        )
    ]


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS].rstrip()} ..."
