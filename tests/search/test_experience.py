"""What other models taught: curves, hedged portfolios, families left out, wrong lessons bounded."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.candidate import AdapterConfig
from autotune.errors import UsageError
from autotune.search import Experience, PastResult, PastTask, SearchSettings, SearchSpace, learn

from .world import RECIPES

RATES, RANKS = (1e-4, 3e-4, 1e-3, 3e-3), (4, 16, 64)
SPACE = SearchSpace(learning_rates=RATES, ranks=RANKS)
SMALL, LARGE = 1e9, 100e9


def _task(name: str, best_rate: float, parameters: float, *, family: str = "") -> PastTask:
    """A valley around ``best_rate`` that the highest rank lies deepest in; 3e-3 diverges."""
    results = []
    for rate, rank in itertools.product(RATES, RANKS):
        distance = math.log(rate / best_rate)
        nll = 0.6 * math.exp(0.01 * distance**2 + 0.003 * math.log(64 / rank))
        diverged = rate > 2e-3
        results.append(PastResult(learning_rate=rate, rank=rank, nll=None if diverged else nll))
    return PastTask(name=name, family=family or name, parameters=parameters, results=tuple(results))


TASKS = (
    *(_task(f"small-{n}", 1e-3, SMALL * (1 + n / 9)) for n in range(3)),
    *(_task(f"large-{n}", 3e-4, LARGE * (1 + n / 9)) for n in range(3)),
)


@pytest.mark.parametrize(("parameters", "rate"), [(SMALL, 1e-3), (LARGE, 3e-4)])
def test_the_first_config_is_what_models_of_like_size_wanted(
    parameters: float, rate: float
) -> None:
    first, second, *_ = Experience(tasks=TASKS).portfolio(SPACE, parameters)
    assert (first.learning_rate, first.rank) == (rate, 64)
    # The second hedges: it is what the other half of the models wanted, not the next rank.
    assert {first.learning_rate, second.learning_rate} == {1e-3, 3e-4}


def test_a_rate_that_diverged_is_not_proposed_although_the_curve_goes_on_falling() -> None:
    still_falling = _task("tiny", 5e-3, SMALL)
    portfolio = Experience(tasks=(still_falling,)).portfolio(SPACE, SMALL)
    assert portfolio[0].learning_rate == 1e-3
    assert all(config.learning_rate < 3e-3 for config in portfolio[:2])


def test_ranks_count_by_their_share_of_the_largest_on_offer() -> None:
    wide = SearchSpace(learning_rates=RATES, ranks=(8, 32, 128))
    assert Experience(tasks=TASKS).portfolio(wide, SMALL)[0].rank == 128


@given(st.integers(min_value=1, max_value=20), st.floats(min_value=1e6, max_value=1e13))
def test_a_portfolio_holds_distinct_configs_of_the_space(most: int, parameters: float) -> None:
    portfolio = Experience(tasks=TASKS, most=most).portfolio(SPACE, parameters)
    assert len(portfolio) == len(set(portfolio)) == min(most, len(RATES) * len(RANKS))
    for config in portfolio:
        SPACE.check(config)


def test_learning_takes_the_bandwidth_that_predicts_families_from_the_others() -> None:
    # Six families want 1e-3 and one, beside each of two of them in size, 3e-4: whoever looks
    # at the nearest size only is misled twice, whoever looks further once.
    sizes = (1e8, 1e9, 1e10, 1e11, 1e12, 1e13)
    many = [_task(f"t{n}", 1e-3, size, family=f"f{n}") for n, size in enumerate(sizes)]
    odd = _task("odd", 3e-4, 3e9, family="odd")
    assert learn([*many, odd]).bandwidth > 0.5
    # Where size decides and the sizes stand close, the nearest know best.
    rates = (1e-3, 1e-3, 1e-3, 3e-4, 3e-4, 3e-4)
    close = [_task(f"t{n}", rate, 1e9 * 2**n, family=f"f{n}") for n, rate in enumerate(rates)]
    assert learn(close).bandwidth <= 1.0


def test_an_experience_makes_the_portfolio_of_a_search_where_the_size_is_known() -> None:
    experience = Experience(tasks=TASKS)
    known = SearchSettings(
        recipes=RECIPES, max_trials=9, space=SPACE, experience=experience, parameters=int(LARGE)
    )
    assert known.first_configs == experience.portfolio(SPACE, LARGE)
    unknown = SearchSettings(recipes=RECIPES, max_trials=9, space=SPACE, experience=experience)
    assert (
        unknown.first_configs
        == SearchSettings(recipes=RECIPES, max_trials=9, space=SPACE).first_configs
    )
    named = (AdapterConfig(learning_rate=1e-4, rank=4),)
    given_by_name = SearchSettings(
        recipes=RECIPES, max_trials=9, space=SPACE, experience=experience, portfolio=named
    )
    assert given_by_name.first_configs == named


def test_a_task_without_two_sound_results_teaches_nothing() -> None:
    failed = PastResult(learning_rate=1e-3, rank=8, nll=None)
    with pytest.raises(UsageError, match="two finished trainings"):
        PastTask(name="x", family="x", parameters=1e9, results=(failed, failed))
