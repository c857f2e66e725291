"""How two latencies of one session are told apart."""

from __future__ import annotations

import numpy as np
import pytest

from autotune.evaluators import tell_apart
from autotune.measurement import Measurement


def _latency(medians: list[float], *, half: float) -> Measurement:
    value = float(np.median(medians))
    return Measurement(
        metric="latency.p50",
        unit="s",
        value=value,
        n=len(medians),
        ci95=(value - half, value + half),
        blocks=tuple((one,) for one in medians),
    )


def _drifting(rounds: int, *, factor: float) -> Measurement:
    """Twice as slow at the end as at the beginning, and an interval that says so."""
    return _latency((factor * np.linspace(0.05, 0.1, rounds)).tolist(), half=0.02)


@pytest.mark.parametrize(("factor", "verdict"), [(0.9, "faster"), (1.1, "slower"), (1.0, "same")])
def test_a_drift_hides_no_difference_from_a_confirmation(factor: float, verdict: str) -> None:
    """The intervals overlap for all three; the rounds, pair by pair, do not lie."""
    assert tell_apart(_drifting(6, factor=factor), _drifting(6, factor=1.0)) == verdict


def test_too_few_rounds_are_judged_by_intervals_that_lie_apart() -> None:
    assert tell_apart(_drifting(2, factor=0.9), _drifting(2, factor=1.0)) == "same"
    near, far = (_latency([at, at], half=0.001) for at in (0.05, 0.06))
    assert (tell_apart(near, far), tell_apart(far, near)) == ("faster", "slower")
