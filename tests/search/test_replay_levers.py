"""The planner on a synthetic table with depths and quantisers in the loop."""

from __future__ import annotations

import math

import pytest

from bench.search.planned import planned, settings_for
from bench.search.problem import Problem
from bench.search.table import parse_limit, problems_of, read_rows
from bench.search.trace import Goal

from .synthetic_table import TRAINING_S, write_lever_table


@pytest.fixture(scope="module")
def levers(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    path = write_lever_table(tmp_path_factory.mktemp("levers") / "levers.csv")
    (problem,) = problems_of(read_rows(path))
    return problem


def test_a_table_tells_the_depth_and_the_quantiser_of_its_recipes(levers: Problem) -> None:
    assert levers.space.layers == (None, 25, 20, 15)
    assert levers.space.quantisers == ("int4-b128", "int4-b32", "int8-b32")
    assert {(recipe.quantiser, recipe.layers) for recipe in levers.recipes} >= {
        *(("int4-b32", None), ("int8-b32", 20)),
    }
    assert all(recipe.name.startswith("cpu-int") for recipe in levers.recipes)
    assert levers.layers == 30


@pytest.mark.parametrize(
    ("limit", "depth", "quantiser", "trainings"),
    [
        # int8 in full meets it, and rounding costs it next to nothing.
        ("m_latency_ms=12", None, "int8-b32", 1.0),
        # int8 takes too long; int4 is best with its rounding in the loop.
        ("m_latency_ms=6.5", None, "int4-b32", 4.0),
        # No whole model meets it: 25 layers in blocks of 128, the rounding in the loop.
        ("m_latency_ms=4", 25, "int4-b128", 4.0),
    ],
)
def test_the_planner_pulls_the_levers_that_a_bound_needs(
    levers: Problem, limit: str, depth: int | None, quantiser: str, trainings: float
) -> None:
    goal = Goal.of(levers, (parse_limit(limit, ["m_latency_ms"]),), 0.03)
    assert goal is not None
    best, recipe, _ = levers.best(goal.limits) or pytest.fail("nothing is feasible")
    assert (recipe.layers, recipe.quantiser, best.quantiser) == (depth, quantiser, quantiser)
    settings = settings_for(goal, seed=1, experience=None, sampler="tpe")
    trace = planned(goal, settings, cap_s=math.inf)
    found_s = trace.time_to(goal.target_loss)
    assert found_s is not None
    census_s = 60.0 * len(levers.recipes)
    # Of 48 trainings in the table; the census of all recipes is more than is paid.
    assert found_s <= census_s + trainings * TRAINING_S
    assert trace.wasted == 0
