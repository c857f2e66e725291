"""A comparison on the terminal: what differs first, then every number with its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from autotune.measurement import Measurement
from autotune.units import format_duration, format_size

from .comparison import Change, Comparison, FactRow
from .delta import Delta
from .run_report import Metric
from .wording import metric_text, metric_title

__all__ = ["comparison_view", "delta_text", "key_title", "number_text"]

_STYLES = {"better": "green", "worse": "red", "directional": "dim", "unjudged": "dim"}
_NONE = "-"


def key_title(key: str) -> str:
    """Return the words for a number's key: ``accuracy@test`` is ``Accuracy, test rows``."""
    name, _, split = key.partition("@")
    return f"{metric_title(name)}, {split} rows" if split else metric_title(name)


def number_text(number: Measurement) -> str:
    """Return value and interval: ``48.2 ms [47.1, 50.3]``."""
    metric = Metric(value=number.value, unit=number.unit, n=number.n, ci95=number.ci95)
    return metric_text(metric)


def _signed(value: float, *, relative: bool, bare: bool = False) -> str:
    if relative:
        return f"{value * 100:+.1f}" + ("" if bare else " %")
    return f"{value:+.3f}"


def delta_text(delta: Delta) -> str:
    """Return a difference with its interval: ``-21.4 % [-25.0, -17.2]``."""
    if delta.value is None:
        return _NONE
    text = _signed(delta.value, relative=delta.relative)
    if delta.ci95 is None or delta.ci95 == (delta.value, delta.value):
        return text
    low, high = (_signed(end, relative=delta.relative, bare=True) for end in delta.ci95)
    return f"{text} [{low}, {high}]"


def _against(change: Change) -> Text:
    style = _STYLES.get(change.verdict, "")
    mark = {"same": "~ ", "directional": "(", "unjudged": "? "}.get(change.verdict, "")
    end = ")" if change.verdict == "directional" else ""
    stamp = " regression" if change.is_regression else " noisy" if change.is_noisy else ""
    return Text(f"{mark}{delta_text(change.delta)}{end}{stamp}", style=style)


def _changes_table(comparison: Comparison) -> Table:
    """Return metrics as groups of rows: the first document's number, then the others'."""
    first = comparison.documents[0].label
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("")
    table.add_column("Model", overflow="fold")
    table.add_column("Value", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column(f"Against {first}", no_wrap=True)
    metric = model = ""
    metrics = {change.metric for change in comparison.changes}
    for change in comparison.changes:
        # A p90 tells little beside a p95; it stays in the JSON.
        if change.metric.replace(".p90", ".p95") in metrics - {change.metric}:
            continue
        if change.metric != metric:
            metric, model = change.metric, ""
            table.add_row("", Text(key_title(metric), style="bold"))
        if change.model != model:
            model = change.model
            table.add_row(*_cells(first, model, change.first), "")
        name = "" if change.other_model == model else change.other_model
        table.add_row(*_cells(change.document, name, change.second), _against(change))
    return table


def _cells(label: str, model: str, number: Measurement) -> tuple[Text, ...]:
    return Text(label), Text(model), Text(number_text(number)), Text(str(number.n))


def _fact_text(name: str, value: Any) -> str:
    if value is None:
        return _NONE
    if name.endswith("_bytes") and isinstance(value, int | float):
        return format_size(value)
    if name.endswith("_s") and isinstance(value, int | float):
        return format_duration(value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_fact_text(name, each)}" for key, each in value.items())
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _shown_values(row: FactRow) -> Iterator[str]:
    """Yield a fact per document; of lists only what is not in all of them."""
    lists = [value for value in row.values.values() if isinstance(value, list | tuple)]
    common = set.intersection(*(set(map(str, each)) for each in lists)) if lists else set()
    for value in row.values.values():
        if isinstance(value, list | tuple):
            own = [str(each) for each in value if str(each) not in common]
            yield f"also {', '.join(own)}" if own else "fewer"
        else:
            yield _fact_text(row.name, value)


def _facts_table(comparison: Comparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("What differs")
    for document in comparison.documents:
        table.add_column(document.label, overflow="fold")
    for row in comparison.facts:
        table.add_row(Text(row.name), *map(Text, _shown_values(row)))
    return table


def _legend(comparison: Comparison) -> Iterator[Text]:
    for document in comparison.documents:
        yield Text.assemble(
            (f"{document.label}  ", "bold"),
            f"{document.path}\n   {document.kind} of {document.created[:10]}, {document.device}",
        )


def _footnotes(comparison: Comparison) -> Iterator[str]:
    verdicts = {change.verdict for change in comparison.changes}
    if "same" in verdicts:
        shares = [change.margin for change in comparison.changes if change.delta.relative]
        margin = f" beyond {max(shares) * 100:.3g} %" if shares else ""
        yield f"~ no difference{margin} was shown."
    if "unjudged" in verdicts:
        yield "? not judged: one of the two numbers has no interval."
    yield (
        "Sessions taken apart are not interleaved: a drift of the machine between them is in no"
        " interval."
    )
    for document in comparison.documents:
        if document.unmatched:
            yield f"Only in {document.label}: {', '.join(document.unmatched)}."
    for label, reason in comparison.noisy.items():
        yield f"The times of {label} are noisy: {reason}."
    if comparison.fail_on is not None:
        yield _judged(comparison, comparison.fail_on)


def _judged(comparison: Comparison, fail_on: float) -> str:
    n = len(comparison.regressions)
    text = f"Regressions that exceed {fail_on * 100:g} % for sure: {n or 'none'}."
    doubtful = sum(change.is_noisy and change.verdict == "worse" for change in comparison.changes)
    if doubtful:
        text += f" {doubtful} more for the worse are noisy and not counted."
    unjudged = sum(change.verdict in ("unjudged", "directional") for change in comparison.changes)
    if unjudged:
        text += f" {unjudged} of {len(comparison.changes)} numbers could not be judged."
    return text


def comparison_view(comparison: Comparison) -> Group:
    """Return documents, differing facts, what is directional only, and every number."""
    parts: list[RenderableType] = [*_legend(comparison), Text()]
    if comparison.facts:
        parts += [_facts_table(comparison), Text()]
    for reason in comparison.directional:
        parts.append(_prose(f"Directional only (in brackets, not judged): {reason}."))
    if comparison.directional:
        parts.append(Text())
    parts += [_changes_table(comparison), Text()]
    return Group(*parts, *map(_prose, _footnotes(comparison)))


def _prose(text: str) -> Text:
    return Text(text, no_wrap=False, overflow="fold")
