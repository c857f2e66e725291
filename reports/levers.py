"""What leaving layers out and a quantiser in the training loop bought, in words and a table."""

from __future__ import annotations

from collections.abc import Iterator

from autotune.steps import Lever

from .page_parts import paragraphs, table
from .run_report import ReportedLever, ReportedModel, RunReport
from .wording import metric_text, metric_title

__all__ = ["lever_lines", "lever_table"]

_TITLES: dict[Lever, str] = {
    "depth": "Fewer layers",
    "quantiser": "Quantiser in training",
}
_TOLD = ("accuracy", "perplexity", "latency.p95", "latency.p50")
_NOTE = (
    "The best model that meets the bounds where the lever had to be pulled, and the best where"
    " it could not; numbers of the search, answers on the validation split."
)


def lever_lines(report: RunReport) -> Iterator[str]:
    """Yield a line for each lever that was pulled."""
    for lever in report.levers:
        if not lever.reason:
            pair = f"with {_told(lever.best_with)}; without {_told(lever.best_without)}"
            yield f"{_TITLES[lever.lever]}: {pair}"


def lever_table(report: RunReport) -> str:
    """Return a part of a page with the best models with and without each lever."""
    if not report.levers:
        return ""
    rows = [(_TITLES[one.lever], *_cells(one)) for one in report.levers]
    head = "<h3>What the levers bought</h3>"
    columns = ("lever", "best with it", "best without it")
    return head + table(columns, rows) + paragraphs([_NOTE])


def _cells(lever: ReportedLever) -> tuple[str, str]:
    without = _told(lever.best_without)
    return f"not pulled: {lever.reason}" if lever.reason else _told(lever.best_with), without


def _told(model: ReportedModel | None) -> str:
    if model is None:
        return "none meets the bounds"
    found = [name for name in _TOLD if name in model.metrics]
    if "latency.p95" in found and "latency.p50" in found:
        found.remove("latency.p50")
    numbers = (f"{metric_title(name).lower()} {metric_text(model.metrics[name])}" for name in found)
    return f"{model.name} ({', '.join(numbers)})"
