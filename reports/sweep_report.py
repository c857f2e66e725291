"""TABLE.json: what a sweep's table is about, so that its rows can be believed and gone on with.

Published as ``schemas/sweep-1.0.json``; the table itself is ``sweep_table``'s. Written
before the first row and never changed: a later row belongs to the table only if every
fact in ``identity`` still holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autotune.candidate import AdapterConfig, Recipe

from .documents import load_document
from .hardware_report import ToolFacts
from .run_report import ModelFacts, TaskFacts, WorkloadFacts

__all__ = ["SweepReport", "load_sweep_report"]


@dataclass(frozen=True, kw_only=True)
class SweepReport:
    """What every row of a table shares.

    Attributes:
        schema: names the document.
        schema_version: of this form.
        created: UTC time, RFC 3339.
        command: the command line as words, credentials replaced, paths by their names.
        tool: what wrote it.
        instance: the search problem, as the table's column of that name says it.
        table: name of the file with the rows, beside this one.
        columns: what each column holds, with its unit, in the table's order.
        model: what is trained.
        task: the data and what is asked.
        workload: the requests that are timed.
        adapters: every way of training, in the order of the sweep.
        recipes: every way of building.
        rungs: shares of the training steps at which a training is looked at, rising.
        rounds: processes per recipe behind a timing.
        requests_per_block: requests timed in each of them.
        device: the machine in a few words.
        hardware: facts by group.
        versions: of the libraries that shape the result.
        seed: of splits, trainings, measuring orders and bootstraps.
        notes: what a reader must know about the numbers.
        identity: facts that a later row must share, by name.
    """

    schema: Literal["autotune.sweep"] = "autotune.sweep"
    schema_version: Literal["1.0"] = "1.0"
    created: str
    command: tuple[str, ...]
    tool: ToolFacts
    instance: str
    table: str
    columns: dict[str, str]
    model: ModelFacts
    task: TaskFacts
    workload: WorkloadFacts
    adapters: tuple[AdapterConfig, ...]
    recipes: tuple[Recipe, ...]
    rungs: tuple[float, ...]
    rounds: int
    requests_per_block: int
    device: str
    hardware: dict[str, Any]
    versions: dict[str, str]
    seed: int
    notes: tuple[str, ...]
    identity: dict[str, str]


def load_sweep_report(path: Path) -> SweepReport:
    """Return the sweep that the file ``path`` speaks of.

    Raises:
        UsageError: missing, truncated, of another schema or version, or not of its form.
    """
    return load_document(path, SweepReport)
