"""A run from its configuration to its folder: the owner of the study, the loop and the record.

A run is prepared (``session``), looped (``loop``) and published here: the journal
``events.jsonl`` is the truth, everything else in the folder is made from it.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.ahead import TrainingsAhead, idle_gpus
from autotune.command_line import command_line
from autotune.config import RunConfig, default_output, prepare_output
from autotune.errors import AutotuneError, HardwareError, UsageError
from autotune.loop import Loop, agrees, before_confirmation
from autotune.narrate import Narrator, print_plan, print_report
from autotune.passes import ArtifactStore
from autotune.progress import Progress
from autotune.publish import publish
from autotune.records import RecordShelf, RunIdentity
from autotune.remote import check_is_here
from autotune.reports import (
    EventLog,
    RunOutcome,
    RunReport,
    TrialLog,
    TrialOrigin,
    redact_command,
    trials_of,
    write_json_atomic,
)
from autotune.run_folders import has_report
from autotune.search import StagedPlanner, StudyRecord
from autotune.session import Session, prepare
from autotune.step_runner import StepRunner
from autotune.steps import Done, Event, Step, TestStep
from autotune.targets import LocalExecutor
from autotune.termination import termination_as_interrupt

if TYPE_CHECKING:
    from autotune.targets import Executor

__all__ = ["resume", "resume_run", "run_config", "tune"]

_COMMAND = "command.json"
_EXIT: dict[RunOutcome, int] = {
    "feasible": 0,
    "infeasible": 1,
    "uncertain": 1,
    "unconfirmed": 1,
    "failed": 4,
    "interrupted": 130,
}


def tune(
    config: RunConfig,
    *,
    output: Path | None,
    dry_run: bool,
    as_json: bool,
    command: Sequence[str] | None = None,
) -> int:
    """Run ``config``, print the result and return the exit code; as ``run_config``."""
    check_is_here(config)
    if dry_run:
        return _plan_only(config)
    ended = run_config(config, output=output, command=command)
    return _EXIT["interrupted"] if ended is None else _told(*ended, as_json=as_json)


def resume(folder: Path, *, as_json: bool) -> int:
    """Go on with the run in ``folder``, print the result and return the exit code.

    Raises:
        AutotuneError: as ``resume_run``.
    """
    return _told(folder, resume_run(folder), as_json=as_json)


def _told(folder: Path, report: RunReport, *, as_json: bool) -> int:
    """Print a report and return its exit code; an interrupted run has said what it has to."""
    if report.outcome != "interrupted":
        print_report(report, folder=folder, as_json=as_json)
    return _EXIT[report.outcome]


def run_config(
    config: RunConfig,
    *,
    output: Path | None,
    progress: Progress | None = None,
    command: Sequence[str] | None = None,
) -> tuple[Path, RunReport] | None:
    """Run ``config``; return folder and report, or None if interrupted before the first step.

    Args:
        config: what to run.
        output: run folder; None is one of its own in ``results``.
        progress: who is told; None tells the terminal.
        command: that asks for the same, for the report; None is this process's own.

    Raises:
        AutotuneError: the request cannot work, or a step failed in a way no outcome covers.
    """
    progress = progress or Progress()
    with termination_as_interrupt(), LocalExecutor() as executor, ExitStack() as until_end:
        report = config.target_report
        folder = output or default_output(Path(report).stem if report else config.target)
        prepare_output(folder)
        config.save(folder / "run.json")
        write_json_atomic(folder / _COMMAND, redact_command(list(command or command_line())))
        try:
            run = _open(config, folder, executor, progress, until_end)
        except (UsageError, HardwareError):
            executor.close()  # its workers write logs into the folder
            _remove_unused(folder)
            raise
        except KeyboardInterrupt:
            executor.close()
            progress.line("Interrupted before the first step; nothing is left behind.")
            _remove_unused(folder)
            return None
        return folder, run.go(recorded=())


def resume_run(folder: Path, *, progress: Progress | None = None) -> RunReport:
    """Go on with the run in ``folder`` and return its report.

    Raises:
        UsageError: no run folder, a finished run, or data, model or versions that changed.
        ReplayError: a record that the planner would not have made.
    """
    config = RunConfig.load(folder / "run.json")
    if (folder / "model").exists() and has_report(folder):
        raise UsageError(f"{str(folder)!r} is finished; its report is {folder / 'report.json'}.")
    if config.chain is not None and not config.chain.is_whole:
        raise UsageError(
            f"{str(folder)!r} holds a chain that leaves steps out; run its configuration again,"
            " with another --output: what is done is in the store."
        )
    with termination_as_interrupt(), LocalExecutor() as executor, ExitStack() as until_end:
        run = _open(config, folder, executor, progress or Progress(), until_end)
        return run.go(recorded=run.journal.read())


def _plan_only(config: RunConfig) -> int:
    store, narrator = ArtifactStore(), Narrator(Progress())
    with termination_as_interrupt(), LocalExecutor() as executor, store.used():
        session = prepare(config, executor=executor, store=store, log_dir=None)
        narrator.opening(config)
        narrator.session(session)
        print_plan(session)
    return 0


def _remove_unused(folder: Path) -> None:
    """Take back the folder of a run that never began; it holds nothing but our own files.

    Not after a ``RunError``: its message names a log in there.
    """
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
    folder.rmdir()


def _open(
    config: RunConfig,
    folder: Path,
    executor: Executor,
    progress: Progress,
    until_end: ExitStack,
) -> _Run:
    """Prepare the run and check it against what its folder says it was."""
    progress.log_to(folder / "logs" / "run.log")
    narrator = Narrator(progress)
    narrator.opening(config)
    began = time.monotonic()
    store = ArtifactStore()
    until_end.enter_context(store.used())
    session = prepare(config, executor=executor, store=store, log_dir=folder / "logs")
    RunIdentity(path=folder / "identity.json").check_or_write(session.identity())
    narrator.session(session)
    narrator.plan(session)
    return _Run(
        session=session,
        folder=folder,
        executor=executor,
        store=store,
        narrator=narrator,
        command=_command(folder),
        spent_s=max(0.0, time.monotonic() - began - session.source.download_s),
    )


def _command(folder: Path) -> tuple[str, ...]:
    """Return the command that the run began with; resuming it is no way to repeat it."""
    try:
        words = json.loads((folder / _COMMAND).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # of an earlier version
        return command_line()
    return tuple(map(str, words))


@dataclass
class _Run:
    session: Session
    folder: Path
    executor: Executor
    store: ArtifactStore
    narrator: Narrator
    spent_s: float
    events: list[Event] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    command: tuple[str, ...] = ()
    created: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    def __post_init__(self) -> None:
        self.journal = EventLog(self.folder / "events.jsonl")
        self.trials = TrialLog(self.folder / "trials.jsonl")
        self.shelf = RecordShelf(root=self.store.root / "records")

    def go(self, *, recorded: Sequence[Event]) -> RunReport:
        """Loop to the end, publish, and return the report."""
        steps = StepRunner(
            self.session.bench(
                store=self.store, executor=self.executor, log_dir=self.folder / "logs"
            )
        )
        ahead = self._ahead()
        try:
            with StudyRecord(self.folder / "study.journal") as study:
                done = self._decide(steps, study, recorded, ahead)
        except KeyboardInterrupt:
            return self._interrupted(steps)
        except AutotuneError:
            self._publish(None, "failed", steps)
            raise
        finally:
            ahead.stop()
        report = self._publish(done, self._outcome(done), steps)
        self.shelf.keep(self.session.record_key, self.journal.path)
        return report

    def _outcome(self, done: Done) -> RunOutcome:
        if done.chosen is None:
            return "infeasible"
        return "unconfirmed" if self.session.target_machine else "feasible"

    def _ahead(self) -> TrainingsAhead:
        """Return who trains ahead on GPUs that would be idle, and say that there are some."""
        bench = self.session.bench(
            store=self.store, executor=self.executor, log_dir=self.folder / "logs"
        )
        devices = idle_gpus(self.session.versions["training-device"], os.environ)
        if devices:
            self.narrator.line(
                f"GPUs     {1 + len(devices)} of a kind; those beside the first train ahead what"
                " the search is likely to ask for (CUDA_VISIBLE_DEVICES=0 leaves them alone)"
            )
        return TrainingsAhead(
            bench=bench,
            settings=self.session.settings,
            devices=devices,
            say=self.narrator.line,
        )

    def _decide(
        self,
        steps: StepRunner,
        study: StudyRecord,
        recorded: Sequence[Event],
        ahead: TrainingsAhead,
    ) -> Done:
        """Replay what is known and run the rest."""

        def starting(step: Step, why: str) -> None:
            self.narrator.starting(step, why)
            ahead.starting(step, self.events)

        planner = StagedPlanner(self.session.settings, study=study)
        self.narrator.watch(planner, self.session.settings)
        loop = Loop(
            planner=planner,
            run_step=steps.run,
            log=self.journal,
            on_start=starting,
            on_event=self._on_event,
        )
        if recorded:
            self.narrator.replaying(len(recorded), source=str(self.folder))
            loop.replay(recorded, is_new_journal=False)
            return loop.run()
        record = self._record_of_identical_run()
        if known := before_confirmation(record):
            self.narrator.replaying(len(known), source="the record of an identical run")
            loop.replay(known, is_new_journal=True)
        done = loop.run(already_s=self.spent_s)
        self._note_changed_choice(record, done)
        return done

    def _record_of_identical_run(self) -> list[Event]:
        """Return its events, or none where today's planner would have decided otherwise."""
        record = self.shelf.find(self.session.record_key)
        if not agrees(StagedPlanner(self.session.settings), before_confirmation(record)):
            self.narrator.line("The record of an identical run is of an older planner: done anew.")
            return []
        return record

    def _note_changed_choice(self, record: Sequence[Event], done: Done) -> None:
        """Say so where the same search ended with another model than last time."""
        before = next((e.step.chosen for e in record if isinstance(e.step, TestStep)), None)
        if before is not None and done.chosen != before:
            now = done.chosen.name if done.chosen else "nothing"
            self.notes.append(
                f"The identical run before chose {before.name}, this one {now}, because the"
                f" finalists were measured again: {done.reason}"
            )
            self.narrator.line(self.notes[-1])

    def _on_event(self, event: Event) -> None:
        self.events.append(event)
        self.trials.catch_up(trials_of(self.events, self._origin()))
        self.narrator.event(event)

    def _origin(self) -> TrialOrigin:
        session = self.session
        return TrialOrigin(
            versions=session.all_versions, device=session.device, seed=session.config.seed
        )

    def _publish(self, done: Done | None, outcome: RunOutcome, steps: StepRunner) -> RunReport:
        return publish(
            self.session,
            folder=self.folder,
            created=self.created,
            events=self.events,
            done=done,
            outcome=outcome,
            steps=steps,
            notes=self.notes,
            command=self.command,
        )

    def _interrupted(self, steps: StepRunner) -> RunReport:
        self.narrator.rest()
        self.executor.close()
        report = self._publish(None, "interrupted", steps)
        self.narrator.line(
            f"Interrupted after {len(self.events)} finished steps, all kept."
            f" Go on with: autotune resume {shlex.quote(str(self.folder))}"
        )
        return report
