"""Intervals and comparisons that the measurements share; numpy only, every draw seeded.

Requests of one process resemble each other more than requests of two processes, so
timings are resampled in two stages: blocks (fresh processes) first, then the
requests inside each, and two models are compared by their blocks. What a sample is too
small for is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MINIMUM_ROUNDS",
    "MINIMUM_SAMPLES",
    "RESAMPLES",
    "Comparison",
    "SpeedVerdict",
    "accuracy_difference",
    "bootstrap_mean",
    "bootstrap_ratio",
    "compare_latency",
    "hierarchical_bootstrap",
    "macro_f1",
    "mcnemar_exact",
    "noise_floor",
    "percentile",
    "wilson_interval",
]

Blocks = Sequence[Sequence[float]]
Floats = NDArray[np.float64]
SpeedVerdict = Literal["faster", "slower", "same"]

RESAMPLES = 2_000
# Smallest n whose largest sample bounds the percentile from above with 95 % confidence:
# q**n <= 0.05 (order statistics; Hahn & Meeker, Statistical Intervals, 5.3).
MINIMUM_SAMPLES = {0.9: 29, 0.95: 59, 0.99: 299}
# Fewest pairs whose signs alone can speak at 95 %: 2 / 2**6 = 3.1 % (signed-rank test). A
# bootstrap of 3 or 4 rounds called equal models different in 14 and 6 of 100 sessions.
MINIMUM_ROUNDS = 6
# Below this nobody acts on a difference in speed, whatever its significance.
_PRACTICAL_MARGIN = 0.02
_Z95 = 1.959963984540054
_PERCENTS = (2.5, 97.5)


def _interval(draws: Floats) -> tuple[float, float]:
    low, high = np.percentile(draws, _PERCENTS)
    return float(low), float(high)


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927), within [0, 1].

    Raises:
        ValueError: ``n`` below 1, or ``successes`` not in [0, n].
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"successes must be in [0, n] with n >= 1, got {successes!r} of {n!r}")
    share, z2 = successes / n, _Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At the ends the bound is exact; the formula leaves a rounding error there.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    return low, 1.0 if successes == n else min(1.0, centre + half)


def percentile(samples: Sequence[float], q: float) -> float | None:
    """Return the ``q`` quantile, linear between samples; None where they are too few.

    ``q`` is in (0, 1). Above the median, the smallest listed quantile that is at
    least ``q`` says how many samples it takes (``MINIMUM_SAMPLES``).

    Raises:
        ValueError: ``q`` outside (0, 1) or above the largest listed quantile.
    """
    if not 0 < q <= max(MINIMUM_SAMPLES):
        raise ValueError(f"a quantile is in (0, {max(MINIMUM_SAMPLES)}], got {q!r}")
    needed = 1 if q <= 0.5 else min(n for at, n in MINIMUM_SAMPLES.items() if at >= q)  # noqa: PLR2004 - the median
    return float(np.percentile(samples, 100 * q)) if len(samples) >= needed else None


def _resampled(blocks: Blocks, rng: np.random.Generator, resamples: int) -> Floats:
    """Return (resamples, B x longest) two-stage resamples, sorted, padded with inf."""
    lengths = np.array([len(block) for block in blocks])
    padded = np.zeros((len(blocks), lengths.max()))
    for row, block in zip(padded, blocks, strict=True):
        row[: len(block)] = block
    chosen = rng.integers(len(blocks), size=(resamples, len(blocks)))[:, :, None]
    within = rng.random((resamples, len(blocks), lengths.max())) * lengths[chosen]
    draws = padded[chosen, within.astype(np.int64)]
    draws[np.arange(lengths.max()) >= lengths[chosen]] = np.inf
    flat: Floats = draws.reshape(resamples, -1)
    flat.sort(axis=1)
    return flat


def _quantile_of_sorted(rows: Floats, q: float) -> Floats:
    """Return numpy's linear quantile of each sorted row, infinite padding left out."""
    counts = np.isfinite(rows).sum(axis=1)
    position = (counts - 1) * q
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, counts - 1)
    each = np.arange(len(rows))
    low, high = rows[each, below], rows[each, above]
    result: Floats = low + (high - low) * (position - below)
    return result


def hierarchical_bootstrap(
    blocks: Blocks, q: float, *, seed: int, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the 95 % interval of the ``q`` quantile: blocks drawn, then requests in each.

    Far percentiles of few requests come out a little narrow: with 64 requests in 4 to 8
    blocks the upper end for the 95th is below the truth in 5 to 8 of 100 sessions
    (simulated with log-normal noise of 10 % within and 3 % between blocks).

    Raises:
        ValueError: no block, or an empty one.
    """
    if not blocks or not all(blocks):
        raise ValueError("a bootstrap needs at least one block and no empty one")
    rng = np.random.default_rng(seed)
    return _interval(_quantile_of_sorted(_resampled(blocks, rng, resamples), q))


def bootstrap_mean(
    samples: Sequence[float], *, seed: int, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the 95 % interval of the mean of at least one sample."""
    values = np.asarray(samples, dtype=np.float64)
    rng = np.random.default_rng(seed)
    return _interval(values[rng.integers(len(values), size=(resamples, len(values)))].mean(axis=1))


def bootstrap_ratio(
    totals: Sequence[float], sizes: Sequence[float], *, seed: int, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the 95 % interval of sum(totals) / sum(sizes), their pairs drawn together.

    For means over the members of groups (tokens of windows) that resemble each other.

    Raises:
        ValueError: no groups, different numbers of both, or an empty group.
    """
    if len(totals) != len(sizes) or not sizes or min(sizes) <= 0:
        raise ValueError(
            f"a ratio needs a size above 0 for each total, got {len(totals)} and {len(sizes)}"
        )
    above, below = (np.asarray(values, dtype=np.float64) for values in (totals, sizes))
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(above), size=(resamples, len(above)))
    return _interval(above[drawn].sum(axis=1) / below[drawn].sum(axis=1))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How one model's requests compare with another's in the same rounds.

    Attributes:
        ratio: duration of the first over the second, typical round; 0.8 is 20 % faster.
        ci95: interval of ``ratio``, or None below ``MINIMUM_ROUNDS``.
        margin: relative difference that does not count, 0.02 or the noise floor.
        verdict: of the first against the second; ``same`` means that no difference
            beyond the margin was shown.
        rounds: pairs of blocks compared.
    """

    ratio: float
    ci95: tuple[float, float] | None
    margin: float
    verdict: SpeedVerdict
    rounds: int


def _log_ratios(first: Blocks, second: Blocks) -> Floats:
    """Return log(median / median), one per round.

    Raises:
        ValueError: no rounds, or not the same number of both.
    """
    if len(first) != len(second) or not first:
        raise ValueError(
            f"a comparison needs the same rounds of both, got {len(first)} and {len(second)}"
        )
    pairs = zip(first, second, strict=True)
    return np.array([math.log(np.median(a) / np.median(b)) for a, b in pairs])


def _signed_rank_depth(n: int) -> int | None:
    """Return how many Walsh averages each end of the exact 95 % interval leaves out.

    None where even the full range of ``n`` differences covers less than 95 %.
    """
    counts = np.zeros(n * (n + 1) // 2 + 1)  # sign patterns by their sum of positive ranks
    counts[0] = 1.0
    for rank in range(1, n + 1):
        counts[rank:] += counts[:-rank].copy()
    below = np.cumsum(counts) / 2.0**n
    depth = int(np.searchsorted(below, 0.025, side="right")) - 1
    return depth if depth >= 0 else None


def _shift(differences: Floats) -> tuple[float, tuple[float, float] | None]:
    """Return the typical difference and its exact 95 % interval, by signed ranks.

    The median of all pairwise means (Walsh averages) and two of their order statistics
    (Hodges and Lehmann 1963; Hollander, Wolfe and Chicken, Nonparametric Statistical
    Methods, 3.2 and 3.3). It asks for differences symmetric about their centre, which two
    models in rounds of random order have by design where they are equal, and for nothing
    else: no variance is estimated, so a few wild rounds widen it and do not bend it.
    """
    n = len(differences)
    averages = np.sort(np.add.outer(differences, differences)[np.triu_indices(n)] / 2)
    depth = _signed_rank_depth(n)
    interval = None
    if depth is not None:
        interval = (float(averages[depth]), float(averages[-1 - depth]))
    return float(np.median(averages)), interval


def noise_floor(first: Blocks, second: Blocks, *, seed: int, resamples: int = RESAMPLES) -> float:
    """Return the relative difference that one model shows against itself (A/A test).

    That is the 95th percentile of abs(ratio - 1) over resampled rounds; both arguments
    are blocks of the same model, taken in the same rounds under two names.

    Raises:
        ValueError: no rounds, or not the same number of both.
    """
    ratios = _log_ratios(first, second)
    rng = np.random.default_rng(seed)
    draws = np.median(ratios[rng.integers(len(ratios), size=(resamples, len(ratios)))], axis=1)
    return float(np.expm1(np.percentile(np.abs(draws), 95)))


def compare_latency(first: Blocks, second: Blocks, *, floor: float = 0.0) -> Comparison:
    """Compare durations block by block: ``first[i]`` and ``second[i]`` share round ``i``.

    Pairing removes slow drifts of the machine. The verdict needs the whole interval
    beyond ``max(2 %, floor)``, and at least ``MINIMUM_ROUNDS`` rounds. Blocks count once
    each, by their medians: requests of one process share its luck.

    Raises:
        ValueError: no rounds, or not the same number of both.
    """
    centre, interval = _shift(_log_ratios(first, second))
    margin = max(_PRACTICAL_MARGIN, floor)
    verdict: SpeedVerdict = "same"
    if interval is not None and interval[1] < -math.log1p(margin):
        verdict = "faster"
    elif interval is not None and interval[0] > math.log1p(margin):
        verdict = "slower"
    return Comparison(
        ratio=math.exp(centre),
        ci95=None if interval is None else (math.exp(interval[0]), math.exp(interval[1])),
        margin=margin,
        verdict=verdict,
        rounds=len(first),
    )


def _discordant(first: str, second: str) -> tuple[int, int, int]:
    """Return (only first right, only second right, rows)."""
    if len(first) != len(second) or not first or set(first + second) - {"0", "1"}:
        raise ValueError(
            "a paired test needs two equally long strings of 0 and 1, got"
            f" {len(first)} and {len(second)} rows"
        )
    pairs = list(zip(first, second, strict=True))
    return pairs.count(("1", "0")), pairs.count(("0", "1")), len(pairs)


def mcnemar_exact(first: str, second: str) -> float:
    """Return the two-sided p of equal accuracy on the same rows (exact binomial McNemar).

    Arguments are ``Outcome.correct`` strings. Only rows that exactly one got right
    count; with none, p is 1.

    Raises:
        ValueError: other characters, or different lengths.
    """
    only_first, only_second, _ = _discordant(first, second)
    n, k = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(n, i) for i in range(k + 1))
    # Integers until the division: 2**n overflows a float at 1,024 discordant rows.
    return min(1.0, 2 * tail / 2**n) if n else 1.0


def accuracy_difference(
    first: str, second: str, *, seed: int, resamples: int = RESAMPLES
) -> tuple[float, tuple[float, float]]:
    """Return accuracy of the first minus the second, and its 95 % interval over rows.

    Rows are resampled in pairs; only three kinds of row exist, so their counts are
    drawn at once from the multinomial distribution, which is the same thing.

    Raises:
        ValueError: as ``mcnemar_exact``.
    """
    only_first, only_second, n = _discordant(first, second)
    shares = np.array([only_first, only_second, n - only_first - only_second]) / n
    counts = np.random.default_rng(seed).multinomial(n, shares, size=resamples)
    return (only_first - only_second) / n, _interval((counts[:, 0] - counts[:, 1]) / n)


def _f1(confusion: NDArray[np.int64], present: NDArray[np.bool_]) -> Floats:
    """Return mean F1 over the classes ``present``, for each (classes, classes) table."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    total = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    scores = np.divide(2.0 * hits, total, out=np.zeros(hits.shape), where=total > 0)
    result: Floats = scores[..., present].mean(axis=-1)
    return result


def macro_f1(
    references: Sequence[int], predictions: Sequence[int], *, seed: int, resamples: int = RESAMPLES
) -> tuple[float, tuple[float, float]]:
    """Return the mean F1 over classes and its 95 % bootstrap interval.

    A class counts if it occurs among the references or the predictions (scikit-learn's
    convention); one that is never predicted right scores 0.

    Raises:
        ValueError: no rows, or different numbers of both.
    """
    if len(references) != len(predictions) or not references:
        raise ValueError("macro F1 needs as many predictions as references, at least one")
    size = max(*references, *predictions) + 1
    table = np.zeros((size, size), dtype=np.int64)
    np.add.at(table, (np.asarray(references), np.asarray(predictions)), 1)
    present = (table.sum(axis=0) + table.sum(axis=1)) > 0
    draws = np.random.default_rng(seed).multinomial(
        len(references), table.ravel() / table.sum(), size=resamples
    )
    interval = _interval(_f1(draws.reshape(resamples, size, size), present))
    return float(_f1(table, present)), interval
