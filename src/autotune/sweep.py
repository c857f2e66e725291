"""``autotune sweep``: a whole grid of trainings, each built with every recipe, as one table.

A search skips what is not worth its time; a sweep measures all of it, so that searches
can be replayed on the table. Rows are on disk as soon as they are known, and a sweep
goes on from the table that it finds.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import Timeout

from autotune.command_line import shared_command_line
from autotune.errors import OutputError, RunError, UsageError
from autotune.estimate import free_disk_bytes
from autotune.narrate import Narrator, price_of, summary_of
from autotune.passes import ArtifactStore
from autotune.plain import digest, to_plain
from autotune.progress import Progress
from autotune.records import first_change
from autotune.reports import (
    Cell,
    SweepTable,
    load_sweep_report,
    make_console,
    plan_table,
    sweep_summary,
    write_json_atomic,
)
from autotune.session import Session, prepare
from autotune.step_runner import StepRunner
from autotune.steps import MeasureStep, Outcome, OutcomeStatus, ScoreStep, TrainStep
from autotune.sweep_plan import (
    Key,
    Place,
    Row,
    SweepPlan,
    SweepRequest,
    disk_bytes,
    left_s,
    plan_rows,
)
from autotune.sweep_record import (
    failed_cells,
    instance_name,
    report_of,
    scored_cells,
    timing_cells,
    trained_cells,
)
from autotune.targets import Executor, LocalExecutor
from autotune.termination import termination_as_interrupt
from autotune.training_plan import reproduced
from autotune.units import format_duration, format_size

__all__ = ["run_sweep"]

_INTERRUPTED = 130


def run_sweep(request: SweepRequest, *, dry_run: bool = False) -> int:
    """Fill the table of ``request``, or go on with it, and return the exit code.

    Returns:
        0; or 130 where it was interrupted, with a whole table left behind.

    Raises:
        UsageError: a request that cannot work, or a table of another sweep.
        HardwareError: a target that is not here.
        RunError: no recipe can be built, or a step failed in a way no row can say.
    """
    _check_output(request.output)
    store = ArtifactStore()
    with (
        termination_as_interrupt(),
        _alone(request.output, store),
        store.used(),
        _logs(request.output) as log_dir,
        LocalExecutor() as executor,
    ):
        progress = Progress()
        sweep = None
        try:
            sweep = _open(request, executor, store, log_dir, progress)
            if dry_run:
                plan = plan_rows(sweep.plan, sweep.session, sweep.rows, request.rounds)
                make_console(sys.stdout).print(plan_table(plan))
                return 0
            sweep.begin()
            sweep.fill()
        except KeyboardInterrupt:
            progress.rest()
            executor.close()
            n_rows = len(sweep.rows) if sweep else 0
            command = shlex.join(shared_command_line())
            progress.line(
                f"Interrupted; {n_rows} rows are in {str(request.output)!r}. Go on with: {command}"
            )
            return _INTERRUPTED
        make_console(sys.stdout).print(sweep_summary(tuple(sweep.rows.values())))
        progress.line(f"Table: {request.output}, about it: {_report_path(request.output)}")
        return 0


def _report_path(output: Path) -> Path:
    return output.with_suffix(".json")


def _check_output(output: Path) -> None:
    if output.suffix != ".csv":
        raise OutputError(f"--output is the table, a file NAME.csv, got {str(output)!r}.")
    if not output.parent.is_dir():
        raise OutputError(
            f"--output {str(output)!r} is a new file in a folder that exists,"
            f" {str(output.parent)!r} does not; make it, or choose another name."
        )
    if output.exists() and not _report_path(output).exists():
        raise OutputError(
            f"--output {str(output)!r} exists, and {_report_path(output).name!r}, which would say"
            " what sweep it is of, does not; nothing is overwritten, choose another name."
        )


@contextmanager
def _alone(output: Path, store: ArtifactStore) -> Iterator[None]:
    """Keep a second sweep away from the table."""
    lock = store.lock(digest({"sweep": str(output.absolute())}))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"Another sweep is writing {str(output)!r}; wait for it, or choose another --output."
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _logs(output: Path) -> Iterator[Path]:
    """Give a folder for the children's output beside the table; kept with a table only."""
    folder = output.with_suffix(".logs")
    was_there = folder.exists()
    folder.mkdir(exist_ok=True)
    is_named = False
    try:
        yield folder
    except RunError:  # its message may name a log in there
        is_named = True
        raise
    finally:
        if not (was_there or is_named or output.exists()):
            shutil.rmtree(folder)


def _open(
    request: SweepRequest,
    executor: Executor,
    store: ArtifactStore,
    log_dir: Path,
    progress: Progress,
) -> _Sweep:
    """Prepare the sweep and read what its table holds already."""
    progress.working("prepare")
    # Of every recipe that is named the cost is known then, proposed or not.
    config = replace(request.config, recipes=request.recipes)
    session = prepare(config, executor=executor, store=store, log_dir=log_dir)
    progress.rest()
    _check_methods(request, session)
    plan = SweepPlan(
        instance=instance_name(request, session),
        space=request.space,
        recipes=session.settings.recipes,
    )
    settings = replace(
        session.settings, recipes=plan.recipes, rungs=plan.rungs, space=request.space
    )
    session = replace(session, settings=settings)
    Narrator(progress).session(session)
    bench = session.bench(store=store, executor=executor, log_dir=log_dir)
    # Rows are to be compared, so untrained models are scored on as many rows as others.
    bench = replace(bench, census_rows=len(bench.validation.rows))
    return _Sweep(
        request=request,
        session=session,
        plan=plan,
        steps=StepRunner(bench),
        store=store,
        progress=progress,
    )


def _check_methods(request: SweepRequest, session: Session) -> None:
    if "qlora" in request.space.methods and "bitsandbytes" not in session.versions:
        raise UsageError(
            "Method 'qlora' needs bitsandbytes, which is not installed;"
            " run: pip install 'autotune-slm[train]', or use --methods lora."
        )
    possible = reproduced(request.space.quantisers, session.source)
    for name in request.space.quantisers:
        if name not in possible:
            raise UsageError(
                f"--quantisers has {name!r}, whose rounding of this model training does not"
                " reproduce; take one like 'int4-b32' or 'int4-b32-rtn-asym-head8'."
            )


@dataclass(kw_only=True)
class _Sweep:
    """A table on its way.

    Attributes:
        rows: what is on disk, by place.
    """

    request: SweepRequest
    session: Session
    plan: SweepPlan
    steps: StepRunner
    store: ArtifactStore
    progress: Progress
    rows: dict[Key, Row] = field(default_factory=dict)
    _made_merges: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.report = report_of(self.request, self.session, self.plan)
        self.table = SweepTable(path=self.request.output, columns=tuple(self.report.columns))
        path = _report_path(self.request.output)
        if path.exists():
            kept = load_sweep_report(path)
            change = first_change(kept.identity, self.report.identity)
            if change is not None and self.table.path.exists():
                raise UsageError(
                    f"{str(self.request.output)!r} is of another sweep: {change};"
                    " choose another --output, it reuses all it can."
                )
        self.rows = {self.plan.key_of(row): row for row in self.table.read()}

    def begin(self) -> None:
        """Write what the table is about, while it has no rows, and say what is to come.

        Raises:
            OutputError: the disk is too small for what is open, or the report cannot be written.
        """
        needed = disk_bytes(self.plan, self.session, self.rows)
        if needed > (free := free_disk_bytes(self.store.root)):
            raise OutputError(
                f"The sweep needs up to {format_size(needed)} of disk, {self.store.root} has"
                f" {format_size(free)} free; free some, or point AUTOTUNE_CACHE elsewhere."
            )
        if not self.rows:
            write_json_atomic(_report_path(self.request.output), to_plain(self.report))
        left = format_duration(left_s(self.plan, self.session, self.rows))
        self.progress.line(
            f"Sweep    {self.plan.size} rows, {len(self.rows)} of them in the table already;"
            f" about {left}"
        )

    def fill(self) -> None:
        """Do what is open until nothing is.

        Raises:
            RunError: no recipe can be built and scored, or the census cannot be timed.
        """
        while places := self.plan.open_places(self.rows):
            place = places[0]
            if place.recipe is None and place.rung == self.plan.rungs[0]:
                left = format_duration(left_s(self.plan, self.session, self.rows))
                self.progress.line(f"{len(places)} rows to go, about {left}")
            if place.adapter is None:
                self._take_census([one for one in places if one.adapter is None])
            elif place.recipe is None:
                self._train(place)
            else:
                self._build(place, is_last=len(places) == 1 or places[1].adapter != place.adapter)

    # -- the untrained model ------------------------------------------------------

    def _take_census(self, places: list[Place]) -> None:
        """Build, score and time the untrained model; its rows go to disk together."""
        rows = [self._score_untrained(place) for place in places]
        good = [
            place
            for place, row in zip(places, rows, strict=True)
            if row["status"] == OutcomeStatus.MEASURED
        ]
        if not good and not self._timings():
            reasons = "; ".join(f"{row['recipe']}: {row['reason']}" for row in rows)
            raise RunError(
                f"A sweep needs a recipe that can be built and scored, none can ({reasons});"
                " choose other --recipes."
            )
        timed = self._time(good) if good else {}
        self._append([{**row, **timed.get(str(row["recipe"]), {})} for row in rows])

    def _score_untrained(self, place: Place) -> dict[str, Cell]:
        candidate = place.candidate
        outcome = self._run(ScoreStep(candidate=candidate), f"build and score {candidate.name}")
        found = self.plan.cells(place)
        if outcome.status is not OutcomeStatus.MEASURED:
            return {**found, **failed_cells(outcome, "cost_build_s")}
        return {**found, "cost_train_s": 0.0, **scored_cells(outcome, candidate.name)}

    def _time(self, places: list[Place]) -> dict[str, dict[str, Cell]]:
        """Return timings by recipe name; all places are timed in the same rounds."""
        candidates = {p.candidate.recipe.name: p.candidate for p in places}
        step = MeasureStep(candidates=tuple(candidates.values()), rounds=self.request.rounds)
        what = f"time {len(candidates)} models x {step.rounds} rounds"
        self.progress.working(what, silent=True)
        outcome = self._run(step, what)
        if outcome.status is not OutcomeStatus.MEASURED:
            raise RunError(
                f"The recipes could not be timed ({outcome.status}: {outcome.reason}); run the"
                " same command again, or leave the recipe named here out of --recipes."
            )
        return {
            name: timing_cells(outcome.measurements[candidate.name])
            for name, candidate in candidates.items()
        }

    def _timings(self) -> dict[str, Row]:
        """Return the rows of the untrained model by recipe name."""
        places = {place.candidate.recipe.name: place for place in self.plan.places(None)}
        rows = {name: self.rows.get(self.plan.key(place)) for name, place in places.items()}
        return {name: row for name, row in rows.items() if row and row["m_latency_ms"]}

    # -- trained models -----------------------------------------------------------

    def _train(self, place: Place) -> None:
        adapter = place.adapter
        assert adapter is not None  # noqa: S101 - the caller asked
        step = TrainStep(adapter=adapter, fraction=place.rung)
        outcome = self._run(step, f"train {adapter.name} to {place.rung:.0%}")
        if outcome.status is OutcomeStatus.MEASURED:
            cells = trained_cells(outcome, adapter.name)
        else:
            cells = failed_cells(outcome, "cost_train_s")
        self._append([{**self.plan.cells(place), **cells}])

    def _build(self, place: Place, *, is_last: bool) -> None:
        candidate = place.candidate
        outcome = self._run(ScoreStep(candidate=candidate), f"build and score {candidate.name}")
        training = self.rows[self.plan.key(replace(place, recipe=None))]
        if outcome.status is OutcomeStatus.MEASURED:
            untrained = self._timings()[candidate.recipe.name]
            timings = {
                name: untrained[name] for name in self.table.columns if name.startswith("m_")
            }
            scored = scored_cells(outcome, candidate.name)
            cells = {**timings, **scored, "probe_nll": training["probe_nll"]}
        else:
            cells = failed_cells(outcome, "cost_build_s")
        shared = {name: training[name] for name in ("cost_train_s", "dtype")}
        self._append([{**self.plan.cells(place), **shared, **cells}])
        self._clear(place, outcome, is_last=is_last)

    def _clear(self, place: Place, outcome: Outcome, *, is_last: bool) -> None:
        """Take graphs and merged weights that were made for a row off the disk after it."""
        candidate, training = place.candidate, place.candidate.training
        if outcome.status is OutcomeStatus.MEASURED and "build" in outcome.stage_s:
            self.store.discard(self.steps.lineage.built(candidate))
        if "merge" in outcome.stage_s:
            self._made_merges.add(training)
        if is_last and training in self._made_merges:
            self.store.discard(self.steps.lineage.merged(candidate))

    # -- shared -------------------------------------------------------------------

    def _run(self, step: TrainStep | ScoreStep | MeasureStep, what: str) -> Outcome:
        self.progress.working(what, silent=isinstance(step, MeasureStep))
        began = time.monotonic()
        outcome = self.steps.run(step)
        self.progress.rest()
        said = summary_of(outcome) if not isinstance(step, MeasureStep) else "timed"
        price = price_of(outcome, seconds=time.monotonic() - began)
        self.progress.line(f"{what}: {said} [{price}]")
        return outcome

    def _append(self, rows: list[dict[str, Cell]]) -> None:
        shared = {"parameters": self.session.source.architecture.parameters}
        for row in self.table.append([{**row, **shared} for row in rows]):
            self.rows[self.plan.key_of(row)] = row
