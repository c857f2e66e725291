from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.candidate import AdapterConfig
from autotune.errors import UsageError
from autotune.search import LogRange, SearchSpace, default_portfolio

WIDE = SearchSpace(
    methods=("lora", "qlora"),
    ranks=(4, 8, 16, 64),
    alpha_ratios=(1.0, 2.0),
    learning_rate=(1e-5, 3e-3),
    epochs=(1.0, 3.0),
    batch_sizes=(8, 16),
    target_modules=("all-linear", "attention"),
    merge_bases=("full", "dequantized"),
)
FINITE = SearchSpace(learning_rates=(1e-4, 3e-4, 1e-3), ranks=(8, 16))


@given(st.integers(min_value=0, max_value=2**32 - 1), st.sampled_from((WIDE, FINITE)))
def test_every_draw_lies_in_the_space_and_survives_the_way_to_parameters_and_back(
    seed: int, space: SearchSpace
) -> None:
    config = space.draw(seed)
    space.check(config)
    assert space.from_params(space.to_params(config)) == config
    assert space.draw(seed) == config


@settings(deadline=None)  # the first one imports optuna
@given(st.integers(min_value=0, max_value=2**32 - 1))
def test_a_trial_with_the_parameters_of_a_config_suggests_that_config(seed: int) -> None:
    from optuna.trial import FixedTrial  # noqa: PLC0415 - heavy

    config = WIDE.draw(seed)
    assert WIDE.suggest(FixedTrial(WIDE.to_params(config))) == config


def test_a_merge_base_is_a_parameter_of_qlora_alone() -> None:
    lora = WIDE.to_params(AdapterConfig(rank=8, learning_rate=1e-3))
    qlora = WIDE.to_params(AdapterConfig(method="qlora", merge_base="dequantized"))
    assert "merge_base" not in lora
    assert qlora["merge_base"] == "dequantized"


def test_what_is_fixed_holds_for_every_config_and_double_quantisation_for_qlora() -> None:
    space = SearchSpace(
        methods=("lora", "qlora"),
        target_modules=("mlp", "q_proj+v_proj"),
        rslora=True,
        double_quant=False,
        schedule="linear",
        steps=90,
        clip_norm=None,
    )
    drawn = [space.draw(seed) for seed in range(40)]
    for config in drawn:
        space.check(config)
        assert config.double_quant == (config.method == "lora")
        assert (config.rslora, config.schedule, config.steps, config.clip_norm) == (
            *(True, "linear", 90, None),
        )
    assert {config.target_modules for config in drawn} == {"mlp", "q_proj+v_proj"}
    with pytest.raises(UsageError, match="differs from the space in a fixed value"):
        space.check(AdapterConfig(target_modules="mlp"))


def test_a_dimension_with_one_value_is_fixed_and_not_shown_to_the_sampler() -> None:
    assert [dimension.name for dimension in SearchSpace().dimensions()] == [
        "learning_rate",
        "rank",
    ]


def test_the_grid_holds_every_combination_once() -> None:
    grid = list(FINITE.grid())
    assert len(grid) == len(set(grid)) == FINITE.size == 6
    assert SearchSpace().size is None
    assert all(rate in (1e-4, 3e-4, 1e-3) for rate in {config.learning_rate for config in grid})
    # lora has no merge base, so 2 methods x 2 merge bases are 3 kinds, not 4.
    conditional = SearchSpace(
        methods=("lora", "qlora"),
        merge_bases=("full", "dequantized"),
        ranks=(8,),
        learning_rates=(1e-3,),
    )
    assert conditional.size == 3


@pytest.mark.parametrize(
    "config",
    [
        AdapterConfig(rank=12),
        AdapterConfig(learning_rate=0.5),
        AdapterConfig(method="qlora"),
        AdapterConfig(dropout=0.3),
    ],
)
def test_a_config_outside_the_space_is_refused_by_name(config: AdapterConfig) -> None:
    with pytest.raises(UsageError, match=config.name):
        SearchSpace().check(config)


@pytest.mark.parametrize(
    "arguments",
    [{"learning_rate": (1e-3, 1e-3)}, {"ranks": ()}, {"ranks": (8, 8)}],
)
def test_a_space_without_a_choice_is_refused(arguments: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(UsageError):
        SearchSpace(**arguments)  # type: ignore[arg-type]  # wrong on purpose


def test_a_range_rounds_to_three_digits_and_stays_inside() -> None:
    rate = LogRange(name="learning_rate", low=1.2345e-4, high=1.2399e-4)
    assert all(rate.low <= float(value or 0) <= rate.high for value in rate.grid())


@given(st.integers(min_value=0, max_value=2**32 - 1))
def test_what_lies_near_a_config_is_in_the_space_and_closer_than_a_draw(seed: int) -> None:
    config = WIDE.draw(seed)
    near = [WIDE.near(config, n) for n in range(30)]
    assert near == [WIDE.near(config, n) for n in range(30)]
    for other in near:
        WIDE.check(other)
    drawn = [WIDE.draw(n) for n in range(30)]
    assert sum(WIDE.distance(config, o) for o in near) < sum(
        WIDE.distance(config, o) for o in drawn
    )


LISTED = SearchSpace(
    learning_rates=(1e-4, 3e-4, 1e-3),
    ranks=(8, 16),
    listed=tuple(list(FINITE.grid())[:4]),
)


def test_a_listed_space_holds_its_configs_and_no_other_combination() -> None:
    assert LISTED.size == len(LISTED.listed) == 4
    assert list(LISTED.grid()) == list(LISTED.listed)
    assert {LISTED.draw(seed) for seed in range(60)} == set(LISTED.listed)
    missing = next(config for config in FINITE.grid() if config not in LISTED.listed)
    with pytest.raises(UsageError, match="none of the 4 configs listed"):
        LISTED.check(missing)
    assert not LISTED.holds(missing)
    assert LISTED.nearest(missing) in LISTED.listed
    assert set(default_portfolio(LISTED)) <= set(LISTED.listed)
    with pytest.raises(UsageError, match=r"learning_rate 0\.001"):
        SearchSpace(ranks=(8,), learning_rates=(1e-4,), listed=(AdapterConfig(rank=64),))


def test_distance_counts_folds_of_numbers_and_other_words() -> None:
    one = AdapterConfig(rank=8, learning_rate=1e-3)
    assert WIDE.distance(one, one) == 0
    assert WIDE.distance(one, AdapterConfig(rank=16, learning_rate=1e-3)) == pytest.approx(
        0.6931, abs=1e-3
    )
    attention = AdapterConfig(rank=8, learning_rate=1e-3, target_modules="attention")
    assert WIDE.distance(one, attention) == 1


@pytest.mark.parametrize(
    ("parameters", "first"), [(None, 1e-3), (135_000_000, 1e-3), (8_000_000_000, 3e-4)]
)
@pytest.mark.parametrize("space", [SearchSpace(), FINITE, WIDE, SearchSpace(ranks=(4,))])
def test_the_portfolio_lies_in_the_space_and_begins_with_the_rate_of_the_size(
    parameters: int | None, first: float, space: SearchSpace
) -> None:
    portfolio = default_portfolio(space, parameters)
    for config in portfolio:
        space.check(config)
    assert len(portfolio) == len(set(portfolio)) >= 2
    assert portfolio[0].learning_rate == first
