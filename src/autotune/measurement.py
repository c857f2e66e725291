"""A measured number with its unit, its samples, its interval and how it was taken."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["METRIC_UNITS", "Measurement", "metric_unit"]

# Metrics by name; statistics of a timing follow a dot ("latency.p95").
METRIC_UNITS = {
    "latency": "s",
    "ttft": "s",
    "tpot": "s",
    "load": "s",
    "new_length": "s",  # the first request of a prompt length in a process
    "memory": "B",
    "device_memory": "B",
    "energy": "J",  # of a request
    "energy_per_token": "J",
    "size": "B",
    "accuracy": "1",
    "macro_f1": "1",
    "nll": "nat",
    "perplexity": "1",
    "answer_tokens": "1",
    "distortion": "1",  # 1 - correlation of the built graph's logits with the model's
}


def metric_unit(metric: str) -> str:
    """Return the base unit of ``metric`` (``latency.p95`` is in ``s``).

    Raises:
        KeyError: nothing measures that.
    """
    return METRIC_UNITS[metric.partition(".")[0]]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One metric of one model.

    Attributes:
        metric: ``latency.p95``, ``accuracy``, ...
        unit: ``s``, ``B``, ``J``, ``1`` (a share or count) or ``nat``.
        value: the estimate, finite.
        n: independent samples behind it (requests, rows), at least 1.
        ci95: 95 % confidence interval (low, high), or None where none is defined.
        blocks: raw samples in ``unit``, one tuple per fresh process; empty for
            metrics that are a single reading or whose rows are kept elsewhere.
        method: how it was taken, for people.
    """

    metric: str
    unit: str
    value: float
    n: int
    ci95: tuple[float, float] | None = None
    blocks: tuple[tuple[float, ...], ...] = ()
    method: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"a measurement is finite, got {self.metric} = {self.value!r}")
        if self.n < 1:
            raise ValueError(f"a measurement has at least one sample, got n = {self.n!r}")
