"""An edge box that is not here: a census of figures that are easy to recognise, and runs for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.candidate import Algorithm, Precision, Recipe
from autotune.config import RunConfig
from autotune.constraint import parse_constraint
from autotune.measurement import Measurement, metric_unit
from autotune.passes import ArtifactStore
from autotune.plain import to_plain
from autotune.publish import model_facts, workload_facts
from autotune.reports import CensusEntry, HardwareReport, sealed
from autotune.runner import tune
from autotune.session import prepare
from autotune.steps import OutcomeStatus
from autotune.targets import LocalExecutor

from .reports.hardware_record import known
from .reports.hardware_record import report as hardware_report

FP32 = Recipe(provider="cpu", precision=Precision.FP32)
INT4 = Recipe(
    provider="cpu",
    precision=Precision.INT4,
    block_size=32,
    algorithm=Algorithm.DEFAULT,
    accuracy_level=4,
)
CUDA = replace(INT4, provider="cuda", accuracy_level=0)
FP16 = Recipe(provider="cpu", precision=Precision.FP16)
EDGE_BYTES_PER_S = 12e9
MODEL, REQUESTS = "ab" * 20, "cd" * 32
EDGE = "Edge CPU, 4 usable cores"


def number(metric: str, value: float, *, n: int = 128) -> Measurement:
    return Measurement(
        metric=metric,
        unit=metric_unit(metric),
        value=value,
        n=n,
        ci95=(0.98 * value, 1.02 * value),
        method="all requests of 2 processes",
    )


def entry(recipe: Recipe, *, weights_bytes: float = 1e9, **changes: Any) -> CensusEntry:
    """Return a recipe as a machine with 12 GB/s would run it: bound by reading its weights."""
    latency = weights_bytes / EDGE_BYTES_PER_S
    numbers = [number(f"latency.{q}", latency * f) for q, f in (("p50", 1.0), ("p95", 1.2))]
    numbers += [number("load", 3 * latency), number("memory", 1.1 * weights_bytes, n=2)]
    numbers += [number("accuracy", 0.3), number("size", weights_bytes, n=1)]
    made = CensusEntry(
        name=recipe.name,
        recipe=recipe,
        target=recipe.provider,
        status=OutcomeStatus.MEASURED,
        metrics={one.metric: one for one in numbers},
    )
    return replace(made, **changes)


ENTRIES = (
    entry(INT4, weights_bytes=0.5e9),
    entry(FP32, weights_bytes=4e9),
    entry(CUDA, weights_bytes=0.5e9),
    entry(FP16, status=OutcomeStatus.UNSUPPORTED, reason="fails at its first run", metrics={}),
)


def edge_box(**census: Any) -> HardwareReport:
    """Return the report of an edge box; ``census`` changes its census."""
    made = hardware_report()
    assert made.census is not None
    changed = replace(
        made.census,
        model=replace(made.census.model, revision_or_digest=MODEL),
        workload=replace(made.census.workload, digest=REQUESTS),
        entries=ENTRIES,
    )
    processor = {
        "model": known("Edge CPU"),
        "usable_cores": known(4.0),
        "isa": known(["neon"]),
    }
    return replace(
        made,
        device=EDGE,
        hardware={"processor": processor},
        census=sealed(replace(changed, **census)),
    )


def written(report: HardwareReport, path: Path) -> str:
    path.write_text(json.dumps(to_plain(report)), encoding="utf-8")
    return str(path)


_TONES = ("joy", "fear", "sadness")
TEMPLATE = r"### Text: {phrase}\n### Tone:\n{tone}"


def tune_for_edge_box(
    model_dir: Path, place: Path, entries: Sequence[CensusEntry], *, trials: int = 1
) -> int:
    """Tune a model for a box with ``entries`` into ``place``/run; return the exit code."""
    config = asked_of_edge_box(model_dir, place, entries, trials=trials)
    return tune(config, output=place / "run", dry_run=False, as_json=False)


def asked_of_edge_box(
    model_dir: Path, place: Path, entries: Sequence[CensusEntry], *, trials: int = 1
) -> RunConfig:
    """Write data and the box's report into ``place``; return the configuration of a run."""
    data = place / "tones.jsonl"
    rows = [{"phrase": f"news of day {n}", "tone": _TONES[n % 3]} for n in range(60)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = RunConfig(
        target="auto",
        model=str(model_dir),
        data=str(data),
        template=TEMPLATE,
        constraints=(parse_constraint("latency<=100ms"),),
        budget_s=None,
        max_trials=trials,
        is_demo=False,
    )
    report = place / "edge.json"
    written(edge_box(**_subject(config), entries=tuple(entries)), report)
    return replace(config, target_report=str(report))


def _subject(config: RunConfig) -> dict[str, Any]:
    """Return what a census on the edge box would be of: the same model and requests."""
    with LocalExecutor() as executor:
        session = prepare(config, executor=executor, store=ArtifactStore(), log_dir=None)
    return {"model": model_facts(session), "workload": workload_facts(session)}
