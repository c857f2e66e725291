"""Values to JSON and back: nothing is lost, and a digest depends on the value alone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from autotune.candidate import AdapterConfig, Algorithm, Candidate, Precision, Recipe
from autotune.config import RunConfig
from autotune.constraint import Constraint
from autotune.measurement import Measurement
from autotune.plain import canonical_json, digest, from_plain, to_plain
from autotune.steps import (
    Event,
    MeasureStep,
    Outcome,
    OutcomeStatus,
    ScoreStep,
    Step,
    TestStep,
    TrainStep,
)

finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=1e-9, max_value=1e9)
words = st.text(max_size=12)
adapters = st.builds(
    AdapterConfig,
    rank=st.integers(1, 256),
    learning_rate=positive,
    epochs=positive,
    layers=st.none() | st.integers(1, 40),
) | st.builds(AdapterConfig, method=st.just("qat-lora"), quantiser=st.just("int4-b32"))
floats = st.sampled_from([Precision.FP32, Precision.FP16, Precision.BF16])
recipes = st.builds(
    Recipe,
    provider=st.sampled_from(["cpu", "cuda"]),
    precision=floats,
    layers=st.none() | st.integers(1, 40),
) | st.builds(
    Recipe,
    provider=st.sampled_from(["cpu", "cuda"]),
    precision=st.just(Precision.INT4),
    block_size=st.integers(16, 256),
    algorithm=st.sampled_from(list(Algorithm)),
    accuracy_level=st.integers(0, 4),
)
candidates = st.one_of(
    st.builds(Candidate, adapter=st.none(), fraction=st.just(0.0), recipe=recipes),
    st.builds(
        lambda adapter, fraction, recipe: Candidate(
            adapter=adapter, fraction=fraction, recipe=replace(recipe, layers=adapter.layers)
        ),
        adapters,
        st.floats(0.01, 1),
        recipes,
    ),
)
measurements = st.builds(
    Measurement,
    metric=st.sampled_from(["latency.p95", "accuracy", "nll"]),
    unit=st.sampled_from(["s", "1", "nat"]),
    value=finite,
    n=st.integers(1, 10**6),
    ci95=st.none() | st.tuples(finite, finite),
    blocks=st.lists(st.lists(finite, max_size=3).map(tuple), max_size=3).map(tuple),
    method=words,
)
steps = st.one_of(
    st.builds(TrainStep, adapter=adapters, fraction=st.floats(0.01, 1)),
    st.builds(ScoreStep, candidate=candidates),
    st.builds(
        MeasureStep,
        candidates=st.lists(candidates, min_size=1, max_size=3).map(tuple),
        rounds=st.integers(1, 9),
        purpose=st.sampled_from(["census", "recheck", "confirm"]),
    ),
    st.builds(TestStep, chosen=candidates, baseline=candidates),
)
outcomes = st.builds(
    Outcome,
    status=st.sampled_from(list(OutcomeStatus)),
    reason=words,
    measurements=st.dictionaries(words, st.dictionaries(words, measurements, max_size=2)),
    correct=st.dictionaries(words, st.text("01", max_size=5), max_size=2),
    stage_s=st.dictionaries(words, positive, max_size=2),
    reused=st.lists(words, max_size=2).map(tuple),
    cost_s=positive,
    notes=st.dictionaries(words, positive | words, max_size=2),
)
events = st.builds(
    Event,
    number=st.integers(0, 999),
    step=steps,
    outcome=outcomes,
    started_s=positive,
    elapsed_s=positive,
    at=st.just("2026-11-23T12:00:00+00:00"),
    why=words,
    replayed=st.booleans(),
)
constraints = st.builds(
    Constraint, metric=st.just("latency.p95"), op=st.sampled_from(["<=", ">="]), bound=positive
)
configs = st.builds(
    RunConfig,
    target=words,
    constraints=st.lists(constraints, max_size=2).map(tuple),
    budget_s=st.none() | positive,
    max_trials=st.none() | st.integers(1, 99),
    seed=st.integers(0, 2**31),
)


@given(st.one_of(adapters, recipes, candidates, measurements, constraints, configs, events))
def test_a_value_survives_its_json(value: Any) -> None:
    text = canonical_json(to_plain(value))
    assert from_plain(type(value), json.loads(text)) == value


@given(steps)
def test_a_step_comes_back_as_its_own_kind(step: Step) -> None:
    kind: Any = Step
    back = from_plain(kind, json.loads(json.dumps(to_plain(step, Step))))
    assert type(back) is type(step)
    assert back == step


@given(st.dictionaries(words, st.integers() | words | st.none() | finite, max_size=6))
def test_a_digest_does_not_depend_on_the_order_of_keys(data: dict[str, Any]) -> None:
    backwards = dict(reversed(list(data.items())))
    assert digest(backwards) == digest(data)
    assert len(digest(data)) == 64


@given(recipes, recipes)
def test_different_values_have_different_digests(one: Recipe, other: Recipe) -> None:
    assert (digest(to_plain(one)) == digest(to_plain(other))) == (one == other)


def test_a_digest_is_the_same_in_another_process() -> None:
    recipe = Recipe(provider="cpu", precision=Precision.FP32)
    code = (
        "from autotune.candidate import Recipe\n"
        "from autotune.plain import digest, to_plain\n"
        "print(digest(to_plain(Recipe(provider='cpu', precision='fp32'))))"
    )
    run = [sys.executable, "-c", code]
    other = subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()
    assert other == digest(to_plain(recipe))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_has_not_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        digest({"value": value})


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Recipe, {"provider": "cpu"}),
        (Recipe, {"provider": "cpu", "precision": "int3"}),
        (Constraint, {"metric": "size", "op": "<", "bound": 1}),
        (Measurement, {"metric": "accuracy", "unit": "1", "value": 0.5, "n": 0}),
        (AdapterConfig, {"rank": 0}),
    ],
)
def test_data_that_does_not_fit_is_refused(kind: type[Any], data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        from_plain(kind, data)
