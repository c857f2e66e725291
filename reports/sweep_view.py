"""A sweep's table on the terminal: the best training of each recipe, and what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from autotune.steps import OutcomeStatus

from .plain_table import plain_table

__all__ = ["sweep_summary"]

_NONE = "-"
_UNTRAINED = "none"
_NUMBERS = (
    ("Latency p95\nms", "m_latency_ms", "{:.1f}"),
    ("Memory\nMB", "m_memory_mb", "{:.0f}"),
    ("Size\nMB", "m_size_mb", "{:.0f}"),
    ("Accuracy\nuntrained", "m_accuracy", "{:.3f}"),
)

Row = Mapping[str, str]


def sweep_summary(rows: Sequence[Row]) -> Group:
    """Return a line per recipe with its most accurate training, and the count of failures.

    Of equally accurate trainings the one of lower loss is shown.
    """
    parts: list[RenderableType] = [_table(rows)]
    failed = Counter(row["status"] for row in rows if row["status"] != OutcomeStatus.MEASURED)
    if failed:
        kinds = ", ".join(f"{count} {status}" for status, count in sorted(failed.items()))
        parts.append(Text(f"Rows without numbers: {kinds} (see the column reason)."))
    return Group(*parts)


def _table(rows: Sequence[Row]) -> Table:
    table = plain_table()
    table.add_column("Recipe", overflow="fold", min_width=12)
    for title, _, _ in _NUMBERS:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("Accuracy\nbest", justify="right", no_wrap=True)
    table.add_column("Trained with", overflow="fold")
    built = [row for row in rows if row["recipe"] and row["status"] == OutcomeStatus.MEASURED]
    untrained = [row for row in built if row["x_method"] == _UNTRAINED]
    for base in untrained:
        trained = [row for row in built if row["recipe"] == base["recipe"] and row not in untrained]
        best = max(trained, key=_merit, default=None)
        cells = [form.format(float(base[name])) for _, name, form in _NUMBERS]
        cells += [f"{float(best['m_accuracy']):.3f}", _settings(best)] if best else [_NONE, _NONE]
        table.add_row(*map(Text, [base["recipe"], *cells]))
    return table


def _merit(row: Row) -> tuple[float, float]:
    return float(row["m_accuracy"]), -float(row["loss"])


def _settings(row: Row) -> str:
    """Return ``lora learning_rate 0.001 rank 16``."""
    method, *others = ((n.removeprefix("x_"), v) for n, v in row.items() if n.startswith("x_"))
    return " ".join([method[1], *(f"{name} {value}" for name, value in others if value)])
