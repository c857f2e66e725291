"""``autotune export RUN --trial N``: any model of a run as the deploy folder that the choice has.

What the store still holds is used, the rest is made again, exactly as the run made it. The
numbers are those of the search: accuracy on the validation split, times of the model or of
the untrained one that is built alike.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from autotune.candidate import Candidate
from autotune.config import RunConfig
from autotune.errors import OutputError, UsageError
from autotune.lineage import Lineage
from autotune.passes import ArtifactStore
from autotune.progress import Progress
from autotune.publish import write_model
from autotune.records import RunIdentity
from autotune.reports import (
    EventLog,
    ReportedModel,
    RunReport,
    Trial,
    TrialLog,
    load_report,
    search_models,
)
from autotune.run_folders import has_report
from autotune.session import Session, prepare
from autotune.steps import Event, OutcomeStatus, TrainStep
from autotune.targets import LocalExecutor
from autotune.termination import termination_as_interrupt

__all__ = ["export_trial"]


def export_trial(run: Path, trial: int, *, output: Path | None = None) -> Path:
    """Write the deploy folder of trial number ``trial`` and return it.

    Args:
        run: folder of the run.
        trial: number in ``trials.jsonl``.
        output: the folder to make; None is ``model-N`` in the run folder.

    Raises:
        UsageError: no run, no such trial, one that failed, or data, model or versions that
            are no longer those of the run.
        OutputError: the folder exists or cannot be written.
        RunError: a model that has to be made again cannot be.
    """
    config = RunConfig.load(run / "run.json")
    candidate = _candidate(run, TrialLog(run / "trials.jsonl").read(), trial)
    target = output or run / f"model-{trial}"
    if target.exists():
        raise OutputError(
            f"{str(target)!r} exists and nothing is overwritten; name another --output."
        )
    if not has_report(run):
        raise UsageError(
            f"Exported is from a run with its report, {str(run)!r} has none that is whole;"
            f" `autotune resume {run}` writes it, from the record of the run."
        )
    report = load_report(run / "report.json")
    events = EventLog(run / report.events_file).read()
    progress, store = Progress(), ArtifactStore()
    with termination_as_interrupt(), LocalExecutor() as executor, store.used():
        session = prepare(_unbounded(config), executor=executor, store=store, log_dir=run / "logs")
        # How long things take here now shapes the search's settings, and no model.
        identity = RunIdentity(path=run / "identity.json")
        identity.check(session.identity(), ignoring=("settings",))
        bench = session.bench(store=store, executor=executor, log_dir=run / "logs")
        lineage = Lineage(replace(bench, rungs=_rungs(events, candidate)))
        progress.line(f"Trial {trial}: {candidate.name}; what the store lacks is made again.")
        progress.working("merge and build")
        try:
            about = _about(report, candidate, events, session)
            write_model(session, lineage, target, candidate, about)
        finally:
            progress.rest()
    return target


def _candidate(run: Path, trials: list[Trial], number: int) -> Candidate:
    """Return the model of a trial.

    Raises:
        UsageError: there is no such trial, or it has no model.
    """
    if not trials:
        raise UsageError(
            f"{str(run)!r} has no finished trial to export; `autotune resume {run}` goes on."
        )
    found = next((one for one in trials if one.number == number), None)
    if found is None:
        raise UsageError(
            f"Trials of {str(run)!r} are numbered 0 to {trials[-1].number}, got {number};"
            f" `autotune show {run}` lists them."
        )
    if found.recipe is None or found.outcome is not OutcomeStatus.MEASURED:
        raise UsageError(
            f"Trial {number} of {str(run)!r} has no model: it ended {found.outcome.value!r}"
            f"{f' ({found.reason})' if found.reason else ''}; choose one that was measured."
        )
    return Candidate(adapter=found.adapter, fraction=found.fraction, recipe=found.recipe)


def _unbounded(config: RunConfig) -> RunConfig:
    """Return ``config`` without its limit on time, which is none on making one model again."""
    return replace(config, budget_s=None, max_trials=config.max_trials or 1)


def _rungs(events: list[Event], candidate: Candidate) -> tuple[float, ...]:
    """Return the fractions that trainings of the run stopped at: the store's keys know them."""
    stops = {e.step.fraction for e in events if isinstance(e.step, TrainStep)}
    return tuple(sorted(stops | ({candidate.fraction} if candidate.adapter else set())))


def _about(
    report: RunReport, candidate: Candidate, events: list[Event], session: Session
) -> RunReport:
    """Return the report as if the search had chosen ``candidate``.

    The choice itself keeps its numbers of the test split; another model and the untrained
    one beside it have those of the validation split, since no other was scored on the test.
    """
    if report.chosen is not None and report.chosen.name == candidate.name:
        return report
    untrained = _baseline(candidate, events)
    bounds = session.config.constraints
    shown: dict[str, ReportedModel] = {
        model.name: model for model in search_models((candidate, untrained), events, bounds)
    }
    chosen = shown[candidate.name]
    return replace(
        report,
        chosen=chosen,
        nearest_miss=None,
        constraints=chosen.bounds,
        baseline=shown[untrained.name] if candidate.adapter is not None else None,
    )


def _baseline(candidate: Candidate, events: list[Event]) -> Candidate:
    """Return the untrained model to compare with: the whole one where the run measured it."""
    whole = replace(candidate.recipe, layers=None)
    measured = {name for event in events for name in event.outcome.measurements}
    found = Candidate(adapter=None, fraction=0, recipe=whole)
    return found if found.name in measured else replace(found, recipe=candidate.recipe)
