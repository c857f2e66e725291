"""From a csv or parquet file to search problems.

Columns: ``instance``, ``x_*`` (settings of the adapter), ``recipe``, ``rung`` (share of the
training; 0 is the untrained model), ``cost_train_s`` (from the rung before to this one),
``cost_build_s``, ``loss`` (empty: it failed), ``m_*`` (metrics). Optional: ``status`` (how it
failed), ``cost_merge_s`` (the part of ``cost_build_s`` that merging took), ``family``,
``parameters`` and ``layers`` (of the model). Where trainings differ in depth or have a
quantiser in the loop (``x_layers``, ``x_quantiser``), recipes are named as autotune names them,
so that ``int4-b32`` and ``l20`` in a name say what is rounded how and how deep it is. A row
without ``recipe`` is about the training alone. Without untrained rows, the census of a recipe
is taken to cost the median of its builds. Without ``m_distortion``, nothing is known of how
much a recipe damages the model, and the census compares none with another.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from autotune.candidate import AdapterConfig, Algorithm, Precision, Recipe
from autotune.constraint import Constraint
from autotune.errors import UsageError
from autotune.steps import OutcomeStatus

from .problem import Built, Problem, Rung, Untrained

__all__ = ["metric_of_column", "parse_limit", "problems_of", "read_rows"]

Row = Mapping[str, Any]

# Names of ``x_*`` columns; ``alpha`` becomes a ratio to the rank.
_SETTINGS = {
    "lr": "learning_rate",
    "learning_rate": "learning_rate",
    "r": "rank",
    "rank": "rank",
    "alpha": "alpha_ratio",
    "alpha_ratio": "alpha_ratio",
    "method": "method",
    "epochs": "epochs",
    "batch": "batch_size",
    "batch_size": "batch_size",
    "target_modules": "target_modules",
    "merge_base": "merge_base",
    "warmup": "warmup",
    "dropout": "dropout",
    "weight_decay": "weight_decay",
    "seed": "seed",
    "layers": "layers",
    "quantiser": "quantiser",
}
_WHOLE = ("rank", "batch_size", "seed", "layers")
_WORDS = ("method", "target_modules", "merge_base", "quantiser")
_QUANTISER = re.compile(r"\b(int4|int8)-b(\d+)(?:-(rtn|k_quant_mixed|k_quant))?\b")
_DEPTH = re.compile(r"-l(\d+)\b")
_SCALES = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "b": 1.0,
    "kb": 1e3,
    "mb": 1e6,
    "gb": 1e9,
    "kib": 2.0**10,
    "mib": 2.0**20,
    "gib": 2.0**30,
    "j": 1.0,
    "mj": 1e-3,
}
_LEVERS = ("x_layers", "x_quantiser")
_STATISTICS = {"latency": "p95", "ttft": "p95", "tpot": "p95"}


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a csv or parquet file.

    Raises:
        UsageError: another kind of file, or a column is missing.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    readers: dict[str, Any] = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
    if path.suffix not in readers:
        raise UsageError(f"A table is a .csv or .parquet file, got {str(path)!r}.")
    frame = readers[path.suffix](path)
    needed = ("instance", "recipe", "rung", "cost_train_s", "cost_build_s", "loss")
    missing = [name for name in needed if name not in frame.columns]
    if missing or not any(name.startswith("x_") for name in frame.columns):
        raise UsageError(
            f"{str(path)!r} lacks {', '.join(missing) or 'x_* columns'}; a table has the columns"
            f" {', '.join(needed)} and x_* for the settings of the adapter."
        )
    rows: list[Row] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return rows


def metric_of_column(column: str) -> tuple[str, float]:
    """Return metric and factor to its base unit: ``m_latency_ms`` is (latency.p95, 0.001)."""
    name, _, unit = column.removeprefix("m_").rpartition("_")
    if unit not in _SCALES:
        name, unit = column.removeprefix("m_"), ""
    for statistic in ("p50", "p90", "p95"):
        if name.endswith(f"_{statistic}"):
            return f"{name.removesuffix(f'_{statistic}')}.{statistic}", _SCALES.get(unit, 1.0)
    statistic = _STATISTICS.get(name, "")
    return f"{name}.{statistic}" if statistic else name, _SCALES.get(unit, 1.0)


def parse_limit(text: str, columns: Iterable[str]) -> Constraint:
    """Return the upper bound written as ``m_latency_ms=8``.

    Raises:
        UsageError: not of that form, or no such column.
    """
    column, _, value = text.partition("=")
    if column not in columns or not column.startswith("m_"):
        known = ", ".join(sorted(c for c in columns if c.startswith("m_"))) or "none"
        raise UsageError(f"A limit is m_METRIC=NUMBER, got {text!r}; the table's metrics: {known}.")
    metric, factor = metric_of_column(column)
    try:
        return Constraint(metric=metric, op="<=", bound=float(value) * factor)
    except ValueError as error:
        raise UsageError(f"The limit of {column} is a number, got {value!r}.") from error


def problems_of(rows: Iterable[Row]) -> list[Problem]:
    """Return one problem per ``instance``, in the order of the table.

    Raises:
        UsageError: an ``x_*`` column that is no setting of an adapter, a row twice, or an
            instance without a full training.
    """
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(str(row["instance"]), []).append(row)
    return [_problem(name, found) for name, found in by_name.items()]


def _problem(name: str, rows: list[Row]) -> Problem:
    trained = [row for row in rows if row["rung"]]
    rungs = tuple(sorted({float(row["rung"]) for row in trained}))
    if not rungs or not math.isclose(rungs[-1], 1.0):
        raise UsageError(f"Instance {name!r} has no training to the end (rung 1).")
    keyed = [(_config(row), row) for row in trained]
    labels = dict.fromkeys(str(row["recipe"]) for row in rows if row["recipe"] is not None)
    has_levers = any(row.get(name) is not None for row in rows for name in _LEVERS)
    recipes = {label: _recipe(label, is_read=has_levers) for label in labels}
    full = [(config, row) for config, row in keyed if row["rung"] == rungs[-1]]
    return Problem(
        name=name,
        configs=tuple(dict.fromkeys(config for config, _ in keyed)),
        recipes=tuple(recipes.values()),
        rungs=rungs,
        trainings=_trainings(name, keyed),
        built=_built(name, full, recipes),
        untrained={
            recipe: _untrained([row for row in rows if row["recipe"] == label])
            for label, recipe in recipes.items()
        },
        metrics={
            recipe: _metrics([row for row in rows if row["recipe"] == label])
            for label, recipe in recipes.items()
        },
        family=_single(rows, "family"),
        parameters=_single(rows, "parameters"),
        layers=None if (layers := _single(rows, "layers")) is None else int(layers),
    )


def _recipe(label: str, *, is_read: bool) -> Recipe:
    """Return a stand-in: a planner needs of a recipe its name, its depth and its quantiser."""
    depth = _DEPTH.search(label) if is_read else None
    bare = Recipe(provider=label, precision=Precision.FP32, layers=int(depth[1]) if depth else None)
    found = _QUANTISER.search(label) if is_read else None
    if found is None:
        return bare
    options: dict[str, Any] = {"block_size": int(found[2]), "accuracy_level": 4}
    if found[1] == Precision.INT4:
        options["algorithm"] = Algorithm(found[3] or Algorithm.DEFAULT)
    provider = _DEPTH.sub("", _QUANTISER.sub("", label)).strip("-") or "table"
    return replace(bare, provider=provider, precision=Precision(found[1]), **options)


def _config(row: Row) -> AdapterConfig:
    values: dict[str, Any] = {}
    for column, value in row.items():
        if not column.startswith("x_") or value is None:
            continue
        setting = _SETTINGS.get(column.removeprefix("x_"))
        if setting is None:
            raise UsageError(
                f"{column} is no setting of an adapter; known are"
                f" {', '.join(f'x_{known}' for known in _SETTINGS)}."
            )
        kind = int if setting in _WHOLE else str if setting in _WORDS else float
        values[setting] = kind(value)
    if row.get("x_alpha") is not None:
        values["alpha_ratio"] = float(row["x_alpha"]) / values["rank"]
    return AdapterConfig(**values)


def _status(row: Row) -> OutcomeStatus:
    if row["loss"] is not None:
        return OutcomeStatus.MEASURED
    found = row.get("status")
    return OutcomeStatus(found) if found else OutcomeStatus.DIVERGED


def _trainings(
    name: str, keyed: list[tuple[AdapterConfig, Row]]
) -> dict[tuple[AdapterConfig, float], Rung]:
    """Return trainings by rung: a row without recipe, else the best of its recipes."""
    by_rung: dict[tuple[AdapterConfig, float], list[Row]] = {}
    for config, row in keyed:
        by_rung.setdefault((config, float(row["rung"])), []).append(row)
    trainings = {}
    for (config, rung), rows in by_rung.items():
        alone = [row for row in rows if row["recipe"] is None]
        if len(alone) > 1:
            raise UsageError(f"{name!r} has {config.name} at rung {rung:g} twice.")
        chosen = alone or rows
        losses = [float(row["loss"]) for row in chosen if row["loss"] is not None]
        trainings[config, rung] = Rung(
            cost_s=max(float(row["cost_train_s"] or 0.0) for row in rows),
            loss=min(losses, default=None),
            status=OutcomeStatus.MEASURED if losses else _status(chosen[0]),
        )
    return trainings


def _built(
    name: str, full: list[tuple[AdapterConfig, Row]], recipes: Mapping[str, Recipe]
) -> dict[tuple[AdapterConfig, Recipe], Built]:
    built: dict[tuple[AdapterConfig, Recipe], Built] = {}
    for config, row in full:
        if row["recipe"] is None:
            continue
        recipe = recipes[str(row["recipe"])]
        if (config, recipe) in built:
            raise UsageError(f"{name!r} has {config.name} with {row['recipe']} twice.")
        built[config, recipe] = Built(
            cost_s=float(row["cost_build_s"] or 0.0),
            merge_s=_number(row, "cost_merge_s") or 0.0,
            loss=_number(row, "loss"),
            accuracy=_number(row, "m_accuracy"),
            status=_status(row),
        )
    return built


def _untrained(rows: list[Row]) -> Untrained:
    base = next((row for row in rows if row["rung"] == 0), None)
    if base is None:
        costs = [float(row["cost_build_s"] or 0.0) for row in rows]
        return Untrained(cost_s=median(costs))
    return Untrained(
        cost_s=float(base["cost_build_s"] or 0.0),
        loss=_number(base, "loss"),
        accuracy=_number(base, "m_accuracy"),
        status=_status(base),
    )


def _metrics(rows: list[Row]) -> dict[str, float]:
    """Return what the recipe costs to run: the untrained row's value, else the median."""
    found: dict[str, float] = {}
    for column in rows[0]:
        if not column.startswith("m_") or column == "m_accuracy":
            continue
        metric, factor = metric_of_column(column)
        base = [row[column] for row in rows if row["rung"] == 0 and row[column] is not None]
        values = base or [row[column] for row in rows if row[column] is not None]
        if values:
            found[metric] = median(float(value) for value in values) * factor
    return found


def _number(row: Row, column: str) -> float | None:
    value = row.get(column)
    return None if value is None else float(value)


def _single(rows: list[Row], column: str) -> Any:
    return next((row[column] for row in rows if row.get(column) is not None), None)
