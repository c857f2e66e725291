"""What a sweep consists of: every way of training at every rung, every recipe at the last.

A cell is one row of the table to be. Which cells are still open follows from the rows
that are there, so an interrupted sweep and a new one are the same thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from autotune.candidate import AdapterConfig, Candidate, Recipe
from autotune.config import RunConfig
from autotune.reports import Cell, PlanRow
from autotune.search import SearchSpace
from autotune.session import Session
from autotune.steps import OutcomeStatus
from autotune.trainings import QLORA_SLOWDOWN
from autotune.units import format_duration, format_size

__all__ = [
    "RUNGS",
    "Key",
    "Place",
    "Row",
    "SweepPlan",
    "SweepRequest",
    "disk_bytes",
    "left_s",
    "plan_rows",
]

# A first rung of 11 % keeps most winners of the last (facts on learning curves, LCBench).
RUNGS = (1 / 9, 1 / 3, 1.0)
_NONE = "none"
_ALWAYS = ("method", "learning_rate", "rank")
_BYTES_PER_TRAINED_WEIGHT = 12  # float32: the weight and two moments of AdamW

Key = tuple[str, ...]
Row = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """What a sweep is asked to cover.

    Attributes:
        config: model, data and target; limits of a search are not used.
        space: ways of training; its grid is trained.
        output: the table; its report lies beside it.
        recipes: names of ways of building; empty is every one that the targets run.
        rounds: fresh processes per recipe behind a timing, at least 2.
        name: of the search problem in the table; empty makes one of model and data.
    """

    config: RunConfig
    space: SearchSpace
    output: Path
    recipes: tuple[str, ...] = ()
    rounds: int = 4
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a row belongs.

    Attributes:
        adapter: None is the untrained model.
        rung: share of the training steps, 0 for the untrained model.
        recipe: None is a row about the training alone.
    """

    adapter: AdapterConfig | None
    rung: float
    recipe: Recipe | None

    @property
    def candidate(self) -> Candidate:
        """The model to build; only for a place with a recipe."""
        if self.recipe is None:
            raise ValueError(f"nothing is built at {self!r}")
        return Candidate(adapter=self.adapter, fraction=self.rung, recipe=self.recipe)


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """All places of a table.

    Attributes:
        instance: name of the search problem.
        space: ways of training.
        recipes: ways of building, distinct.
        rungs: shares of the training steps, rising, the last one 1.
    """

    instance: str
    space: SearchSpace
    recipes: tuple[Recipe, ...]
    rungs: tuple[float, ...] = RUNGS

    @property
    def adapters(self) -> tuple[AdapterConfig, ...]:
        """Every way of training, in the order of the sweep."""
        return tuple(self.space.grid())

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the adapter settings that the table shows: the main ones and what varies."""
        varied = (dimension.name for dimension in self.space.dimensions())
        rounded = ("quantiser",) if self.space.quantisers else ()
        return tuple(dict.fromkeys((*_ALWAYS, *rounded, *varied)))

    @property
    def size(self) -> int:
        """Rows of the table where nothing fails."""
        each = len(self.rungs) + len(self.recipes)
        return len(self.recipes) + len(self.adapters) * each

    def cells(self, place: Place) -> dict[str, Cell]:
        """Return the cells that say where a row belongs."""
        trained = {name: getattr(place.adapter, name, None) for name in self.settings}
        if place.adapter is None:
            trained["method"] = _NONE
        return {
            "instance": self.instance,
            **{f"x_{name}": value for name, value in trained.items()},
            "recipe": place.recipe.name if place.recipe else None,
            "rung": float(place.rung),
        }

    def key(self, place: Place) -> Key:
        """Return what tells the row of ``place`` from all others."""
        return tuple("" if cell is None else str(cell) for cell in self.cells(place).values())

    def key_of(self, row: Row) -> Key:
        """Return the same of a row that was read."""
        untrained = Place(adapter=None, rung=0, recipe=None)
        return tuple(row[column] for column in self.cells(untrained))

    def places(self, adapter: AdapterConfig | None) -> Iterator[Place]:
        """Yield the places of one way of training in the order in which they are filled."""
        if adapter is not None:
            for rung in self.rungs:
                yield Place(adapter=adapter, rung=rung, recipe=None)
        for recipe in self.recipes:
            yield Place(adapter=adapter, rung=0.0 if adapter is None else 1.0, recipe=recipe)

    def open_places(self, rows: Mapping[Key, Row]) -> list[Place]:
        """Return what is still to do; after a failure nothing that rests on it."""
        unusable = {
            place.recipe
            for place in self.places(None)
            if (row := rows.get(self.key(place))) and not _is_measured(row)
        }
        found = []
        for adapter in (None, *self.adapters):
            for place in self.places(adapter):
                row = rows.get(self.key(place))
                if row is None and (adapter is None or place.recipe not in unusable):
                    found.append(place)
                elif row is not None and place.recipe is None and not _is_measured(row):
                    break
        return found


def left_s(plan: SweepPlan, session: Session, rows: Mapping[Key, Row]) -> float:
    """Return the seconds that the open places will take: as seen in ``rows``, else estimated."""
    seen: dict[Key, list[float]] = {}
    for row in rows.values():
        cost = row["cost_build_s"] if row["recipe"] else row["cost_train_s"]
        if _is_measured(row):
            seen.setdefault(_kind(row), []).append(float(cost))
    total = 0.0
    for place in plan.open_places(rows):
        kind = _kind({name: str(cell or "") for name, cell in plan.cells(place).items()})
        total += mean(seen[kind]) if kind in seen else _estimate_s(plan, session, place)
    return total


def plan_rows(
    plan: SweepPlan, session: Session, rows: Mapping[Key, Row], rounds: int
) -> list[PlanRow]:
    """Return what a sweep will do and need, with the basis of each figure."""
    estimates, places = session.estimates, plan.open_places(rows)
    untrained = [place for place in places if place.adapter is None]
    timing = len(untrained) * rounds * estimates.stage_s["measure"]
    found = [
        PlanRow(
            what=f"census of {len(untrained)} recipes, untrained",
            estimate=format_duration(_sum_s(plan, session, untrained) + timing),
            basis=f"build, score and {rounds} timed blocks each; {estimates.basis}",
        )
    ]
    for method in plan.space.methods:
        trained = [p for p in places if p.adapter and p.adapter.method == method and not p.recipe]
        n_trainings = len({place.adapter for place in trained})
        found.append(
            PlanRow(
                what=f"{n_trainings} trainings, {method}, {plan.space.epochs[0]:g} epochs,"
                f" {len(plan.rungs)} rungs",
                estimate=format_duration(_sum_s(plan, session, trained)),
                basis=f"{estimates.tokens_per_s:.0f} tokens/s"
                + (f", {QLORA_SLOWDOWN:g} times as long" if method == "qlora" else ""),
            )
        )
    built = [place for place in places if place.adapter and place.recipe]
    found += [
        PlanRow(
            what=f"{len(built)} models merged, built and scored",
            estimate=format_duration(_sum_s(plan, session, built)),
            basis=f"{len(plan.recipes)} recipes, {len(session.tokens.validation.rows)} rows each",
        ),
        PlanRow(
            what="whole sweep",
            estimate=format_duration(left_s(plan, session, rows) + timing),
            basis=f"{plan.size} rows, {len(rows)} of them in the table already",
        ),
        PlanRow(
            what="disk",
            estimate=f"up to {format_size(disk_bytes(plan, session, rows))}",
            basis="checkpoints of every training, the graphs of two",
        ),
    ]
    return found


def disk_bytes(plan: SweepPlan, session: Session, rows: Mapping[Key, Row]) -> float:
    """Return what the store will grow by at most with what is open.

    An adapter of rank 1 has in + out weights for a matrix of in x out, which is at most
    twice the matrix's weights over the model's width for nearly all matrices.
    """
    architecture = session.source.architecture
    per_rank = 2 * architecture.parameters / architecture.hidden_size
    places = plan.open_places(rows)
    adapters = {place.adapter for place in places if place.adapter and not place.recipe}
    trained = sum(adapter.rank * per_rank for adapter in adapters)
    checkpoints = len(plan.rungs) * _BYTES_PER_TRAINED_WEIGHT * trained
    return checkpoints + session.estimates.disk_bytes


def _is_measured(row: Row) -> bool:
    return row["status"] == OutcomeStatus.MEASURED


def _kind(row: Row) -> Key:
    """Return what rows of about the same cost have in common."""
    is_trained = str(row["x_method"] != _NONE)
    return (row["recipe"], is_trained) if row["recipe"] else (row["x_method"], row["rung"])


def _sum_s(plan: SweepPlan, session: Session, places: Sequence[Place]) -> float:
    return sum(_estimate_s(plan, session, place) for place in places)


def _estimate_s(plan: SweepPlan, session: Session, place: Place) -> float:
    estimates = session.estimates
    if place.recipe is not None:
        merge_s = estimates.stage_s["merge"] if place.adapter else 0.0
        build_s = estimates.stage_s[f"build:{place.recipe.name}"]
        return merge_s + build_s + estimates.stage_s["score"]
    if place.adapter is None:
        raise ValueError("a place without adapter has a recipe")
    before = max((rung for rung in plan.rungs if rung < place.rung), default=0.0)
    whole_s = estimates.training_s / estimates.epochs * place.adapter.epochs
    slowdown = QLORA_SLOWDOWN if place.adapter.method == "qlora" else 1.0
    return (place.rung - before) * whole_s * slowdown
