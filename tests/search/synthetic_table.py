"""SYNTHETIC tables, for tests alone: formulas stand in for trainings, nothing was measured.

The shape is what recorded tables show: the loss is a valley in the logarithm of the
learning rate that moves with the problem, rank matters less, losses fall along a training
as a power law with 1.5 % of noise at the start, a rate far above the best one diverges, and
quantisation adds to the loss and takes from the latency. Figures made from these tables say
that the machinery works, and nothing about models.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from random import Random

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
RANKS = (4, 16, 64)
METHODS = ("lora", "qlora")
RUNGS = (1 / 9, 1 / 3, 1.0)
# Name, latency in ms, what rounding adds to the loss (share), seconds to build.
RECIPES = (
    ("int4-b128", 4.2, 0.10, 60.0),
    ("int4-b32", 5.0, 0.05, 60.0),
    ("int4-mixed", 7.4, 0.015, 150.0),
    ("int8", 9.0, 0.002, 60.0),
    ("fp16", 12.0, 0.0005, 60.0),
    ("fp32", 18.0, 0.0, 60.0),
)
TRAINING_S = 3600.0
# Of the table with levers: layers of 30 that are kept, what leaving them out adds to the loss;
# latency in ms of the whole model, what rounding adds and how it distorts logits.
DEPTHS = ((None, 0.0), (25, 0.02), (20, 0.06), (15, 0.2))
GRIDS = (
    ("int4-b128", 4.2, 0.15, 0.15),
    ("int4-b32", 5.0, 0.08, 0.08),
    ("int8-b32", 9.0, 0.002, 0.001),
)
LEVER_RATES = (3e-4, 1e-3, 3e-3)


def write_table(path: Path, *, instances: int = 3, seed: int = 0) -> Path:
    """Write a table of ``instances`` problems to ``path`` (csv)."""
    rows = [row for number in range(instances) for row in _instance(number, seed)]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _instance(number: int, seed: int) -> list[dict[str, object]]:
    random = Random(f"{seed}/{number}")
    best_rate = math.exp(random.uniform(math.log(2e-4), math.log(3e-3)))
    rows = []
    for rate, rank, method in itertools.product(RATES, RANKS, METHODS):
        distance = math.log(rate / best_rate)
        final = 0.5 * (1 + 0.03 * distance**2 + 0.02 * math.log(64 / rank) / math.log(4))
        final *= 1 + 0.002 * random.gauss(0, 1) + (0.01 if method == "qlora" else 0.0)
        base = {"instance": f"synthetic-{number}", "family": f"f{number}", "parameters": 1e9}
        base |= {"x_lr": rate, "x_rank": rank, "x_method": method}
        diverges = distance > math.log(6)
        done = 0.0
        for rung in RUNGS:
            cost = (rung - done) * TRAINING_S * (1.3 if method == "qlora" else 1.0)
            done = rung
            noise = 1 + 0.015 * (1 - rung) * random.gauss(0, 1)
            loss = "" if diverges and rung > 0.2 else final * rung**-0.3 * noise
            row = base | {"rung": rung, "cost_train_s": cost, "loss": loss}
            rows.append(row | {"recipe": "", "cost_build_s": "", "m_latency_ms": ""})
            if loss == "":
                break
        if diverges:
            continue
        for recipe, latency, rounding, build_s in RECIPES:
            row = base | {"rung": 1.0, "cost_train_s": cost, "loss": final * (1 + rounding)}
            row |= {"recipe": recipe, "cost_build_s": build_s, "m_latency_ms": latency}
            rows.append(row)
    return rows


def write_lever_table(path: Path) -> Path:
    """Write a table with depths and quantisers in the loop, which win back 4/5 of the rounding."""
    rows = list(_lever_rows())
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _lever_rows() -> Iterator[dict[str, object]]:
    blank: dict[str, object] = dict.fromkeys(
        ("x_lr", "x_rank", "x_method", "x_layers", "x_quantiser", "recipe"), ""
    )
    blank |= {"instance": "levers", "family": "f", "layers": 30, "loss": "", "rung": 0}
    blank |= dict.fromkeys(("cost_train_s", "cost_build_s", "m_latency_ms", "m_distortion"), "")
    for depth, missing in DEPTHS:
        for grid, *_ in GRIDS:
            yield blank | _built(grid, depth) | {"loss": 9.0 if depth else 2.0}
        for rate, aware in itertools.product(LEVER_RATES, (None, *(grid for grid, *_ in GRIDS))):
            final = 0.5 * (1 + missing + 0.05 * math.log(rate / 1e-3) ** 2)
            row = blank | {"x_lr": rate, "x_rank": 16, "x_layers": depth or ""}
            row |= {"x_method": "qat-lora" if aware else "lora", "x_quantiser": aware or ""}
            per_step = (depth or 30) / 30 * (1.4 if aware else 1.0) * TRAINING_S
            for rung, before in zip(RUNGS, (0.0, *RUNGS), strict=False):
                loss = final * (1 + _rounding(aware, aware)) * rung**-0.3
                yield row | {"rung": rung, "cost_train_s": (rung - before) * per_step, "loss": loss}
            for grid, *_ in GRIDS:
                loss = final * (1 + _rounding(grid, aware))
                yield row | _built(grid, depth) | {"rung": 1.0, "loss": loss}


def _built(grid: str, depth: int | None) -> dict[str, object]:
    latency, distortion = next((row[1], row[3]) for row in GRIDS if row[0] == grid)
    name = f"cpu-{grid}" if depth is None else f"cpu-{grid}-l{depth}"
    takes = 0.1 + 0.9 * (depth or 30) / 30
    cells = {"recipe": name, "cost_build_s": 60.0, "m_latency_ms": takes * latency}
    return cells | {"m_distortion": distortion}


def _rounding(grid: str | None, aware: str | None) -> float:
    """Return what rounding to ``grid`` adds to a loss, with ``aware`` in the training loop."""
    cost = next((row[2] for row in GRIDS if row[0] == grid), 0.0)
    return 0.2 * cost if grid == aware else cost
