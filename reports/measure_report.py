"""The record of ``autotune measure``: one model folder, timed on one machine.

Published as ``schemas/measure-1.0.json``. Unlike a run report it keeps every sample,
and it knows nothing of how the model was made beyond what its folder says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from autotune.calibration import Grade
from autotune.kinds import Kind
from autotune.units import format_quantity

from .documents import load_document
from .run_report import Metric, ModelFacts
from .wording import in_reading_order, interval_text, metric_title, unmeasured_lines

__all__ = [
    "MeasureReport",
    "MeasuredFolder",
    "MeasuredWorkload",
    "load_measure_report",
    "measure_view",
]


@dataclass(frozen=True, kw_only=True)
class MeasuredFolder:
    """The model that was measured.

    Attributes:
        name: ``training/recipe`` of a folder that this tool made, else the folder's name.
        digest: SHA-256 over names and contents of its files, documentation included.
        checked_files: files that agree with SHA256SUMS; 0 where the folder has none.
        base_model: of a folder that this tool made, else null.
    """

    name: str
    digest: str
    checked_files: int
    base_model: ModelFacts | None


@dataclass(frozen=True, kw_only=True)
class MeasuredWorkload:
    """The requests that were timed.

    Attributes:
        digest: equal digests mean comparable latencies.
        requests: distinct requests in it.
        kind: what is asked of the model.
        statement: what they are and what is timed, in a sentence.
        as_in_run: the folder's own report was measured on the same requests.
    """

    digest: str
    requests: int
    kind: Kind
    statement: str
    as_in_run: bool


@dataclass(frozen=True, kw_only=True)
class MeasureReport:
    """What ``autotune measure`` found.

    Attributes:
        schema: names the document.
        schema_version: of this form.
        created: UTC time, RFC 3339.
        command: the command line as words, credentials replaced.
        seed: of the requests, of the order and of the bootstrap.
        versions: of the libraries that shape the result.
        model: what was measured.
        workload: on which requests.
        target: the user's word for the execution provider.
        rounds: fresh processes.
        device: the machine in a few words.
        hardware: facts of the machine.
        conditions: ``before`` and ``after`` the counters of load, steal and pressure,
            ``during`` what follows from them; each fact or its absence.
        grade: A quiet, B usable, C noisy: comparisons that rest on it are stamped so. One
            session cannot be better than B, as it has no A/A test.
        grade_reasons: for each step below A.
        metrics: by name (``latency.p95``).
        samples: every sample in the unit of its metric (``latency``, ``load``), one
            list per fresh process.
        unmeasured: metrics that this machine could not tell, with the reason.
    """

    schema: Literal["autotune.measure"] = "autotune.measure"
    schema_version: Literal["1.0"] = "1.0"
    created: str
    command: tuple[str, ...]
    seed: int
    versions: dict[str, str]
    model: MeasuredFolder
    workload: MeasuredWorkload
    target: str
    rounds: int
    device: str
    hardware: dict[str, Any]
    conditions: dict[str, Any]
    grade: Grade
    grade_reasons: tuple[str, ...]
    metrics: dict[str, Metric]
    samples: dict[str, tuple[tuple[float, ...], ...]]
    unmeasured: dict[str, str] = field(default_factory=dict)


def load_measure_report(path: Path) -> MeasureReport:
    """Return the record in the file ``path``.

    Raises:
        UsageError: missing, truncated, of another schema or version, or not of its form.
    """
    return load_document(path, MeasureReport)


def measure_view(report: MeasureReport) -> Group:
    """Return a measurement for the terminal: what was timed on what, then every number."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("Measured")
    table.add_column("Value", justify="right", no_wrap=True)
    table.add_column("95 % interval", no_wrap=True)
    table.add_column("n", justify="right")
    for name, metric in in_reading_order(report.metrics).items():
        value = format_quantity(metric.value, metric.unit)
        table.add_row(*map(Text, (metric_title(name), value, interval_text(metric), f"{metric.n}")))
    gaps = unmeasured_lines(report.unmeasured)
    return Group(*map(_prose, _heading(report)), Text(), table, *map(_prose, gaps))


def _heading(report: MeasureReport) -> Iterator[str]:
    model, workload = report.model, report.workload
    checked = f"{model.checked_files} files agree with SHA256SUMS"
    yield f"Model    {model.name}, {checked if model.checked_files else 'no SHA256SUMS to check'}"
    yield f"Device   {report.device}"
    yield f"Workload {workload.requests} requests ({workload.digest[:12]}), {workload.statement}"
    if model.base_model is not None:
        same = "the same requests as" if workload.as_in_run else "not the requests of"
        yield f"         These are {same} the run that made this model."
    yield f"Rounds   {report.rounds}, a fresh process each"
    grade = f"{report.grade}, noisy" if report.grade == "C" else report.grade
    yield f"Noise    grade {grade}: {'; '.join(report.grade_reasons)}"


def _prose(text: str) -> Text:
    return Text(text, no_wrap=False, overflow="fold")
