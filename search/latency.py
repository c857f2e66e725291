"""Which timing of a model stands for its latency."""

from __future__ import annotations

from autotune.measurement import Measurement

__all__ = ["latency_of", "typical_latency"]


def latency_of(metrics: dict[str, Measurement]) -> Measurement | None:
    """Return the 95th percentile of request latency, else its median, else None."""
    return metrics.get("latency.p95") or metrics.get("latency.p50")


def typical_latency(metrics: dict[str, Measurement]) -> Measurement | None:
    """Return the median request latency, else what there is: models are compared by it.

    Bounds are on the 95th percentile, but its interval is mostly the machine's noise.
    """
    return metrics.get("latency.p50") or latency_of(metrics)
