from __future__ import annotations

import math
import statistics as stdlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from autotune.evaluators import (
    MINIMUM_ROUNDS,
    accuracy_difference,
    bootstrap_mean,
    compare_latency,
    hierarchical_bootstrap,
    macro_f1,
    mcnemar_exact,
    noise_floor,
    percentile,
    wilson_interval,
)

_seconds = st.floats(1e-4, 10.0)
_block = st.lists(_seconds, min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # from scipy 1.17, proportion_ci of binomtest with method wilson
        (0, 10, 0.0, 0.2775327998628892),
        (5, 10, 0.2365930905125641, 0.7634069094874359),
        (10, 10, 0.7224672001371107, 1.0),
        (81, 100, 0.7222115462093562, 0.8748524849023126),
    ],
)
def test_wilson_intervals_have_their_published_values(
    successes: int, n: int, low: float, high: float
) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=1e-12)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_wilson_interval_holds_the_share_and_mirrors(pair: tuple[int, int]) -> None:
    successes, n = pair
    low, high = wilson_interval(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    assert wilson_interval(n - successes, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_a_share_of_nothing_is_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(successes, n)


@given(st.lists(_seconds, min_size=1, max_size=400), st.sampled_from([0.25, 0.5, 0.9, 0.95, 0.99]))
def test_percentiles_are_numpys_or_refused(samples: list[float], q: float) -> None:
    needed = {0.25: 1, 0.5: 1, 0.9: 29, 0.95: 59, 0.99: 299}[q]
    value = percentile(samples, q)
    if len(samples) < needed:
        assert value is None
    else:
        assert value == pytest.approx(float(np.percentile(samples, 100 * q)))


@pytest.mark.parametrize(("q", "needed"), [(0.9, 29), (0.95, 59), (0.99, 299)])
def test_the_smallest_sample_bounds_its_percentile_with_95_percent(q: float, needed: int) -> None:
    assert q**needed <= 0.05 < q ** (needed - 1)


@given(_block, st.sampled_from([0.5, 0.95]))
@settings(max_examples=25)
def test_a_bootstrap_interval_lies_within_the_samples(samples: list[float], q: float) -> None:
    low, high = hierarchical_bootstrap([samples], q, seed=1, resamples=200)
    assert min(samples) <= low <= high <= max(samples)


@given(st.lists(_block, min_size=1, max_size=5), st.integers(0, 9))
@settings(max_examples=25)
def test_a_bootstrap_of_ragged_blocks_repeats_with_its_seed(
    blocks: list[list[float]], seed: int
) -> None:
    first = hierarchical_bootstrap(blocks, 0.5, seed=seed, resamples=100)
    assert first == hierarchical_bootstrap(blocks, 0.5, seed=seed, resamples=100)


def test_one_block_gives_the_plain_bootstrap_of_the_median() -> None:
    samples = np.random.default_rng(0).gamma(4.0, 0.01, size=40)
    rng = np.random.default_rng(7)
    plain = [float(np.median(rng.choice(samples, 40))) for _ in range(4000)]
    expected = np.percentile(plain, (2.5, 97.5))
    found = hierarchical_bootstrap([samples.tolist()], 0.5, seed=3, resamples=4000)
    assert found == pytest.approx(tuple(expected), rel=0.03)


def test_ragged_blocks_agree_with_an_obvious_resampling() -> None:
    rng = np.random.default_rng(5)
    blocks = [(rng.gamma(9.0, 0.01, size=n) + 0.02 * i).tolist() for i, n in enumerate((4, 9, 6))]
    draws = []
    for _ in range(4000):
        chosen = [blocks[i] for i in rng.integers(3, size=3)]
        pooled = [x for block in chosen for x in rng.choice(block, len(block))]
        draws.append(float(np.percentile(pooled, 90)))
    found = hierarchical_bootstrap(blocks, 0.9, seed=2, resamples=4000)
    assert found == pytest.approx(tuple(np.percentile(draws, (2.5, 97.5))), rel=0.04)


def test_blocks_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    alike = [rng.normal(1.0, 0.05, 10).tolist() for _ in range(6)]
    apart = [(np.array(block) + 0.2 * i).tolist() for i, block in enumerate(alike)]
    narrow, wide = (hierarchical_bootstrap(b, 0.5, seed=0) for b in (alike, apart))
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])


def test_the_interval_of_a_median_covers_the_truth_about_as_often_as_it_says() -> None:
    """120 trials at 95 %: fewer than 100 hits has a chance below one in a million."""
    rng = np.random.default_rng(11)
    hits = 0
    for trial in range(120):
        shift = rng.normal(0, 0.02, size=(10, 1))
        blocks = np.exp(rng.normal(0, 0.1, size=(10, 8)) + shift).tolist()
        low, high = hierarchical_bootstrap(blocks, 0.5, seed=trial, resamples=300)
        hits += low <= 1.0 <= high
    assert hits >= 100


@pytest.mark.parametrize("blocks", [[], [[1.0], []]])
def test_empty_blocks_are_refused(blocks: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="block"):
        hierarchical_bootstrap(blocks, 0.5, seed=0)


def test_the_interval_of_a_mean_is_near_the_normal_one() -> None:
    samples = np.random.default_rng(3).normal(2.0, 1.0, 400).tolist()
    centre, error = stdlib.fmean(samples), stdlib.stdev(samples) / 20
    expected = (centre - 1.96 * error, centre + 1.96 * error)
    assert bootstrap_mean(samples, seed=0) == pytest.approx(expected, abs=0.02)


def _rounds(rng: np.random.Generator, *, scale: float) -> list[list[float]]:
    rounds: list[list[float]] = (scale * np.exp(rng.normal(0, 0.01, size=(8, 6)))).tolist()
    return rounds


@pytest.mark.parametrize(
    ("scale", "verdict"), [(0.8, "faster"), (1.25, "slower"), (1.0, "same"), (1.01, "same")]
)
def test_verdicts_need_more_than_two_percent(scale: float, verdict: str) -> None:
    rng = np.random.default_rng(4)
    first, second = _rounds(rng, scale=scale), _rounds(rng, scale=1.0)
    found = compare_latency(first, second)
    assert found.verdict == verdict
    assert found.ci95 is not None
    assert found.ci95[0] <= scale * 1.01
    assert found.ci95[1] >= scale * 0.99


def test_a_difference_below_the_noise_floor_is_none() -> None:
    rng = np.random.default_rng(4)
    first, second = _rounds(rng, scale=0.9), _rounds(rng, scale=1.0)
    assert compare_latency(first, second).verdict == "faster"
    assert compare_latency(first, second, floor=0.3).verdict == "same"


def test_a_drift_shared_by_a_round_does_not_hide_a_difference() -> None:
    rng = np.random.default_rng(6)
    drift = np.linspace(1, 3, 8)[:, None]
    first = (np.array(_rounds(rng, scale=0.9)) * drift).tolist()
    second = (np.array(_rounds(rng, scale=1.0)) * drift).tolist()
    assert compare_latency(first, second).verdict == "faster"


@given(st.lists(st.tuples(_block, _block), min_size=1, max_size=4))
@settings(max_examples=20)
def test_swapping_the_models_inverts_the_ratio(
    pairs: list[tuple[list[float], list[float]]],
) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    one = compare_latency(first, second)
    other = compare_latency(second, first)
    assert one.ratio * other.ratio == pytest.approx(1.0)


def test_comparing_different_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="same rounds"):
        compare_latency([[1.0]], [[1.0], [2.0]])


@pytest.mark.parametrize("rounds", [1, MINIMUM_ROUNDS - 1])
def test_few_rounds_give_no_verdict_however_clear_they_look(rounds: int) -> None:
    found = compare_latency([[0.5] * 4] * rounds, [[1.0] * 4] * rounds)
    assert (found.ratio, found.ci95, found.verdict) == (0.5, None, "same")
    enough = compare_latency([[0.5] * 4] * MINIMUM_ROUNDS, [[1.0] * 4] * MINIMUM_ROUNDS)
    assert enough.verdict == "faster"


@pytest.mark.parametrize("n", [6, 9, 12])
def test_the_interval_agrees_with_the_signed_rank_test_of_scipy(n: int) -> None:
    """The interval ends where the exact test begins to refuse a shift (duality)."""
    rng = np.random.default_rng(n)
    first, second = np.exp(rng.normal(0.1, 0.1, (n, 1))), np.exp(rng.normal(0, 0.1, (n, 1)))
    found = compare_latency(first.tolist(), second.tolist())
    assert found.ci95 is not None
    logs = np.log(first[:, 0] / second[:, 0])
    for end, outwards in zip(found.ci95, (-1, 1), strict=True):
        for nudge, is_inside in ((1e-9, False), (-1e-9, True)):
            shifted = logs - (math.log(end) + outwards * nudge)
            assert (wilcoxon(shifted, method="exact").pvalue >= 0.05) == is_inside


def test_equal_models_are_called_different_in_few_sessions_of_wild_rounds() -> None:
    """With 15 % between processes 3 of 100 sessions would be; 15 of 200 has odds below 0.1 %."""
    rng = np.random.default_rng(5)
    calls = 0
    for _ in range(200):
        pair = np.exp(rng.normal(0, 0.05, (2, 8, 16)) + rng.standard_t(3, (2, 8, 1)) * 0.1)
        calls += compare_latency(pair[0].tolist(), pair[1].tolist()).verdict != "same"
    assert calls <= 14


def test_the_noise_floor_grows_with_the_noise_between_processes() -> None:
    rng = np.random.default_rng(9)
    calm = [np.exp(rng.normal(0, 0.005, (8, 6))).tolist() for _ in range(2)]
    wild = [np.exp(rng.normal(0, 0.2, (8, 1)) + np.zeros((8, 6))).tolist() for _ in range(2)]
    assert noise_floor(*calm, seed=0) < 0.02 < noise_floor(*wild, seed=0)
    assert noise_floor(calm[0], calm[0], seed=0) < 0.02


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        ("1111", "1111", 1.0),
        ("1" * 6, "0" * 6, 2 / 64),
        ("10", "01", 1.0),
        # from scipy's binomtest, 3 of 15
        ("1" * 12 + "000" + "1" * 5, "0" * 12 + "111" + "1" * 5, 0.03515625),
    ],
)
def test_mcnemar_is_the_exact_binomial_test(first: str, second: str, p: float) -> None:
    assert mcnemar_exact(first, second) == pytest.approx(p)
    assert mcnemar_exact(second, first) == pytest.approx(p)


def test_mcnemar_survives_thousands_of_discordant_rows() -> None:
    assert mcnemar_exact("10" * 1500, "01" * 1500) == 1.0
    assert mcnemar_exact("1" * 3000, "0" * 3000) < 1e-300


@pytest.mark.parametrize(("first", "second"), [("", ""), ("10", "1"), ("1x", "10")])
def test_paired_tests_refuse_what_is_no_pair(first: str, second: str) -> None:
    with pytest.raises(ValueError, match="paired"):
        mcnemar_exact(first, second)
    with pytest.raises(ValueError, match="paired"):
        accuracy_difference(first, second, seed=0)


def test_the_accuracy_difference_agrees_with_resampling_rows() -> None:
    rng = np.random.default_rng(2)
    first, second = (rng.random(120) < share for share in (0.9, 0.8))
    draws = []
    for _ in range(4000):
        rows = rng.integers(120, size=120)
        draws.append(float(first[rows].mean() - second[rows].mean()))
    texts = ["".join("01"[int(x)] for x in hits) for hits in (first, second)]
    value, interval = accuracy_difference(*texts, seed=0, resamples=4000)
    assert value == pytest.approx(float(first.mean() - second.mean()))
    assert interval == pytest.approx(tuple(np.percentile(draws, (2.5, 97.5))), abs=0.009)


def test_macro_f1_has_its_hand_computed_value() -> None:
    # class 0: P 2/3, R 1 -> 0.8; class 1: P 1, R 1/2 -> 2/3; class 2 never right -> 0
    value, (low, high) = macro_f1([0, 0, 1, 1, 2], [0, 0, 1, 0, 3], seed=0)
    assert value == pytest.approx((0.8 + 2 / 3 + 0 + 0) / 4)
    assert 0 <= low <= value <= high <= 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
@settings(max_examples=30)
def test_macro_f1_is_one_only_if_all_is_right(pairs: list[tuple[int, int]]) -> None:
    references, predictions = [a for a, _ in pairs], [b for _, b in pairs]
    value, _ = macro_f1(references, predictions, seed=0, resamples=10)
    assert (value == pytest.approx(1.0)) == (references == predictions)
