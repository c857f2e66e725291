"""Runs in words: the table of ``autotune ls`` and the text of ``autotune show``.

Plain lines made of plain JSON, since these commands must answer at once; the page and the
summary at the end of a run are the rich forms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autotune.run_folders import RunFolder
from autotune.units import format_quantity

__all__ = ["as_record", "list_lines", "show_lines"]

_HEAD = ("run", "made", "state", "accuracy", "latency p95", "chosen")
_NONE = "-"
_SHOWN = ("accuracy", "macro_f1", "latency.p50", "latency.p95", "tpot.p50", "memory", "size")


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows with their cells under each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(model: Mapping[str, Any], name: str) -> str:
    metric = _mapping(_mapping(model.get("metrics")).get(name))
    value = metric.get("value")
    if not isinstance(value, int | float):
        return _NONE
    return format_quantity(value, str(metric.get("unit")))


def _interval(model: Mapping[str, Any], name: str) -> str:
    metric = _mapping(_mapping(model.get("metrics")).get(name))
    ends = metric.get("ci95")
    if not isinstance(ends, list) or len(ends) != 2:  # noqa: PLR2004 - a low and a high end
        return ""
    low, high = (format_quantity(end, str(metric.get("unit"))) for end in ends)
    return f" [{low}, {high}]"


def list_lines(runs: Sequence[RunFolder]) -> list[str]:
    """Return the table of ``runs``; a damaged one says below the table why."""
    rows = [_HEAD]
    for run in runs:
        chosen = _mapping(run.report.get("chosen"))
        rows.append(
            (
                run.path.name,
                run.created[:19].replace("T", " ") or _NONE,
                run.state,
                _number(chosen, "accuracy"),
                _number(chosen, "latency.p95"),
                str(chosen.get("name", _NONE)),
            )
        )
    damaged = [f"{run.path}: {run.problem}" for run in runs if run.problem]
    return [*_columns(rows), *damaged]


def as_record(run: RunFolder) -> dict[str, Any]:
    """Return what ``ls --json`` tells of a run."""
    chosen = _mapping(run.report.get("chosen"))
    return {
        "path": str(run.path),
        "state": run.state,
        "created": run.created or None,
        "device": run.report.get("device"),
        "chosen": chosen.get("name"),
        "metrics": chosen.get("metrics", {}),
        "problem": run.problem or None,
    }


def show_lines(run: RunFolder) -> Iterator[str]:
    """Yield what there is to say of a run: answer, bounds, trials, and where things lie."""
    report = run.report
    yield f"{run.path}: {run.state}{f', {run.created}' if run.created else ''}"
    if run.problem:
        yield f"Damaged: {run.problem}"
    if report:
        yield f"Target  {report.get('device')}"
        task = _mapping(report.get("task"))
        yield f"Data    {task.get('source') or 'not named'}, {task.get('kind')}"
    if run.job:
        place = _mapping(run.job.get("place"))
        workspace = _mapping(place.get("workspace")).get("workspace_name")
        yield f"Job     {run.job.get('job')} on azureml:{place.get('compute')}, {workspace}"
    yield f"Model   {_mapping(report.get('model')).get('spec') or run.config.get('model')}"
    yield from _answer(report)
    yield from _trials(run)
    yield from _places(run)


def _answer(report: Mapping[str, Any]) -> Iterator[str]:
    for role, key in (("Chosen", "chosen"), ("Nearest miss", "nearest_miss")):
        model = _mapping(report.get(key))
        if model:
            yield f"{role}: {model.get('name')}"
            yield from _against(model, _mapping(report.get("baseline")))
    for bound in report.get("constraints") or ():
        one = _mapping(bound)
        name = ".".join(filter(None, (one.get("metric"), one.get("statistic"))))
        value = format_quantity(float(one.get("value", 0)), str(one.get("unit")))
        yield f"  {name} {one.get('op')} {value}: {one.get('verdict') or 'not measured'}"
    if report.get("decision"):
        yield f"Why: {report['decision']}"


def _against(model: Mapping[str, Any], baseline: Mapping[str, Any]) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("  ", "this model", "untrained" if baseline else "")]
    for name in _SHOWN:
        if _number(model, name) != _NONE:
            cells = [f"{_number(one, name)}{_interval(one, name)}" for one in (model, baseline)]
            rows.append((f"  {name}", *(cell if cell != _NONE else "" for cell in cells)))
    yield from _columns(rows)


def _trials(run: RunFolder) -> Iterator[str]:
    trials = run.trials()
    if not trials:
        return
    front = {_mapping(one).get("name") for one in run.report.get("front") or ()}
    rows = [("trial", "", "outcome", "accuracy", "model")]
    for trial in trials:
        name = str(trial.get("name") or _described(trial))
        value = _mapping(_mapping(trial.get("measurements")).get("accuracy")).get("value")
        rows.append(
            (
                str(trial.get("number", _NONE)).rjust(5),
                "front" if name in front else "",
                str(trial.get("outcome", _NONE)).replace("_", " "),
                f"{value:.3f}" if isinstance(value, float) else _NONE,
                name,
            )
        )
    yield ""
    yield from _columns(rows)
    yield ""


def _described(trial: Mapping[str, Any]) -> str:
    """Return a trial of a record that keeps no names."""
    adapter, recipe = _mapping(trial.get("adapter")), _mapping(trial.get("recipe"))
    how = f"{adapter.get('method')} rank {adapter.get('rank')}" if adapter else "untrained"
    built = " ".join(
        str(recipe[key])
        for key in ("provider", "precision", "block_size", "algorithm")
        if recipe.get(key) not in (None, "default")
    )
    return f"{how} / {built or 'not built'}"


def _places(run: RunFolder) -> Iterator[str]:
    for label, name in (("Model ", "model"), ("Page  ", "report.html"), ("Report", "report.json")):
        if (run.path / name).exists():
            yield f"{label}  {run.path / name}"
    if run.state in ("unfinished", "interrupted", "failed", "at Azure ML", "canceled"):
        yield f"Go on   autotune resume {run.path}"
    elif run.trials() and run.state not in ("running", "damaged"):
        yield f"Another autotune export {run.path} --trial N"
