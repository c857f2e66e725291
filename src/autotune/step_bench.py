"""What every step of a run works with: store, workers, rows, requests, the target's own costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autotune.candidate import Recipe
from autotune.evaluators import Workload
from autotune.measurement import Measurement
from autotune.passes import Artifact, ArtifactStore, OtherPython
from autotune.targets import Executor
from autotune.task import RowSet

__all__ = ["Bench"]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every step of a run works with; fixed before the first step.

    Attributes:
        model: the base model's artifact.
        data: the tokenised training data's artifact.
        validation, test: rows to score on.
        workload: requests to time.
        rungs: fractions that a training stops at, rising, the last one 1.
        requests_per_block: requests timed per fresh process.
        census_rows: first rows of the validation split that untrained models are scored on.
        hopeless_s: a model whose requests take longer is not asked all of them; None asks.
        seed: of measurement orders and bootstraps.
        log_dir: where children's output goes.
        others: interpreters that run models, by provider, where it is not this one.
        target_census: what running costs on another machine, by recipe name, then by
            metric; with it nothing is timed here.
        stand_ins: recipes scored in the place of those whose graphs cannot run here, by
            the name of these.
    """

    store: ArtifactStore
    executor: Executor
    versions: Mapping[str, str]
    model: Artifact
    data: Artifact
    validation: RowSet
    test: RowSet
    workload: Workload
    rungs: tuple[float, ...]
    requests_per_block: int
    census_rows: int
    hopeless_s: float | None
    seed: int
    log_dir: Path
    others: Mapping[str, OtherPython] = field(default_factory=dict)
    target_census: Mapping[str, Mapping[str, Measurement]] | None = None
    stand_ins: Mapping[str, Recipe] = field(default_factory=dict)
