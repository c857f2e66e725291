"""How metrics and their intervals read: the same in tables, summaries and model cards."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.units import format_quantity

from .run_report import BoundVerdict, Metric, ReportedModel

__all__ = [
    "adapter_text",
    "bound_text",
    "in_reading_order",
    "interval_text",
    "metric_text",
    "metric_title",
    "miss_text",
    "unmeasured_lines",
]

# In the order in which a person wants to read them.
_TITLES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "perplexity": "Perplexity",
    "nll": "Negative log-likelihood",
    "latency": "Request latency",
    "ttft": "Time to first token",
    "tpot": "Time per output token",
    "answer_tokens": "Tokens per free-running answer",
    "load": "Load time",
    "new_length": "First request of a prompt length",
    "memory": "Peak memory",
    "device_memory": "Memory on the device",
    "energy": "Energy per request",
    "energy_per_token": "Energy per generated token",
    "size": "Size on disk",
}


def metric_title(name: str) -> str:
    """Return the words for a metric: ``latency.p95`` is ``Request latency p95``.

    A metric without words of its own is called by its name.
    """
    base, _, statistic = name.partition(".")
    return f"{_TITLES.get(base, base)} {statistic}".rstrip()


def unmeasured_lines(gaps: Mapping[str, str]) -> list[str]:
    """Return ``Energy per request: not measurable here: ...`` for each gap in reading order.

    What does not apply to a model is no gap.
    """
    known = [name for name in _TITLES if name in gaps]
    names = [*known, *sorted(set(gaps) - set(known))]
    return [
        f"{metric_title(name)}: {gaps[name]}"
        for name in names
        if not gaps[name].startswith("not applicable")
    ]


def in_reading_order(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return ``metrics`` with answers first, then time, memory and size; others last."""
    order = [*_TITLES, ""]

    def place(name: str) -> tuple[int, str]:
        base = name.partition(".")[0]
        return order.index(base if base in _TITLES else ""), name

    return {name: metrics[name] for name in sorted(metrics, key=place)}


def interval_text(metric: Metric) -> str:
    """Return ``[47.1, 50.3]`` in the unit that the value is shown in, else with units.

    Empty where there is no interval.
    """
    if metric.ci95 is None:
        return ""
    shown = [format_quantity(number, metric.unit) for number in (metric.value, *metric.ci95)]
    if len({text.partition(" ")[2] for text in shown}) == 1:
        shown = [text.partition(" ")[0] for text in shown]
    return f"[{shown[1]}, {shown[2]}]"


def metric_text(metric: Metric) -> str:
    """Return value and interval: ``48.2 ms [47.1, 50.3]``."""
    return f"{format_quantity(metric.value, metric.unit)} {interval_text(metric)}".rstrip()


_MANY = 10  # from here on times are told, below it per cent


def _percent(share: float) -> str:
    return f"{abs(share) * 100:.0f} %"


def bound_text(bound: BoundVerdict) -> str:
    """Return ``latency.p95 <= 100 ms``."""
    return f"{bound.metric_name} {bound.op} {format_quantity(bound.value, bound.unit)}"


def miss_text(bound: BoundVerdict, model: ReportedModel) -> str:
    """Return how far ``model`` is from ``bound``: ``130 ms, 30 % over the bound``.

    A percentile that too few requests stand behind is judged by the median, and says so.
    """
    metric = model.metrics.get(bound.metric_name)
    if metric is not None:
        return _distance(bound, metric)
    median = model.metrics.get(f"{bound.metric}.p50") if bound.statistic else None
    if median is None:
        return "not measured"
    return f"p50 {_distance(bound, median)}; too few requests for {bound.statistic}"


def _distance(bound: BoundVerdict, metric: Metric) -> str:
    excess = metric.value - bound.value
    if excess == 0 or (excess > 0) != (bound.op == "<="):
        return metric_text(metric)
    if bound.unit != "1" and metric.value >= _MANY * bound.value:
        return f"{metric_text(metric)}, {metric.value / bound.value:.0f} times the bound"
    # A share of a share would mislead: 0.45 for a bound of 0.90 is 0.45 under it.
    far = format_quantity(abs(excess), "1") if bound.unit == "1" else _percent(excess / bound.value)
    return f"{metric_text(metric)}, {far} {'over' if excess > 0 else 'under'} the bound"


def adapter_text(model: ReportedModel) -> str:
    """Return how a model was trained, in a line."""
    adapter = model.adapter
    if adapter is None:
        return "untrained"
    share = "" if model.fraction == 1 else f", stopped after {model.fraction:.0%} of the steps"
    length = f"{adapter.epochs:g} epochs" if adapter.steps is None else f"{adapter.steps} steps"
    method = adapter.method if adapter.quantiser is None else f"qat-lora for {adapter.quantiser}"
    if adapter.layers is not None:
        method = f"{method} of {adapter.layers} layers"
    if adapter.rslora:
        method = f"{method}, rank-stable"
    return (
        f"{method}, rank {adapter.rank}, alpha {adapter.rank * adapter.alpha_ratio:g},"
        f" learning rate {adapter.learning_rate:.3g}, {length} of batches of"
        f" {adapter.batch_size}, {adapter.target_modules}{share}"
    )
