"""Which adapter configs to try first: priors in the place of random draws.

Learning rate matters most, rank second, and variants of LoRA hardly at all once
the rate is right (sweep over 35 models, 2026; arXiv 2602.04998). Small
models and short trainings want higher rates: 1e-3 was best for 1B to 3B models
and trains a 135M model to its ceiling at rank 8 to 16; 3e-4 fits larger ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from autotune.candidate import AdapterConfig

from .space import SearchSpace

__all__ = ["default_portfolio"]

_MID_RANK, _HIGH_RANK = 16, 64
_LARGE_MODEL = 3_500_000_000
# (learning rate, rank), best guess first; the second hedges the first's rate.
_SMALL = ((1e-3, _MID_RANK), (3e-4, _HIGH_RANK), (2e-3, _MID_RANK), (5e-4, _MID_RANK))
_LARGE = ((3e-4, _HIGH_RANK), (1e-3, _HIGH_RANK), (3e-4, _MID_RANK), (1e-4, _HIGH_RANK))


def default_portfolio(
    space: SearchSpace, parameters: int | None = None
) -> tuple[AdapterConfig, ...]:
    """Return distinct configs of ``space``, best guess first.

    ``parameters`` counts the model's weights; unknown counts as small. A value that
    the space lacks is replaced by the nearest it has.
    """
    table = _LARGE if parameters is not None and parameters >= _LARGE_MODEL else _SMALL
    configs: dict[AdapterConfig, None] = {}
    for rate, rank in table:
        params = {
            "learning_rate": _rate_in(space, rate),
            "rank": _nearest(space.ranks, rank),
            "alpha_ratio": _nearest(space.alpha_ratios, 2.0),
        }
        configs[space.nearest(space.from_params(params))] = None
    return tuple(configs)


def _rate_in(space: SearchSpace, rate: float) -> float:
    if space.learning_rates:
        return _nearest(space.learning_rates, rate)
    low, high = space.learning_rate
    return min(high, max(low, rate))


def _nearest(choices: Sequence[float], value: float) -> float:
    """Return the choice closest in ratio; of two equally close the smaller."""
    return min(choices, key=lambda choice: (max(choice / value, value / choice), choice))
