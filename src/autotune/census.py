"""``autotune census``: every recipe of the untrained model, built, proven and timed here.

The census of a run, taken at leisure and kept: the hardware report it ends in can be
compared with others. Nothing is trained. ``census_bundle`` does the two halves of it on
two machines.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from autotune.candidate import Candidate
from autotune.census_entries import (
    CensusFiles,
    CensusSubject,
    Timings,
    Tried,
    census_of,
    publish_census,
)
from autotune.config import RunConfig
from autotune.errors import AutotuneError
from autotune.evaluators import measure_size
from autotune.hardware import asks_of_census, read_assertions
from autotune.lineage import Lineage
from autotune.machine_report import MachineRequest, take_hardware_report
from autotune.measurement import Measurement
from autotune.narrate import Narrator, summary_of, warn_of_noise
from autotune.passes import ArtifactStore
from autotune.progress import Progress
from autotune.publish import model_facts, workload_facts
from autotune.recipe_choice import choose_recipes
from autotune.reports import Census, HardwareReport
from autotune.session import Session, prepare
from autotune.step_bench import Bench
from autotune.step_runner import StepRunner, failed
from autotune.steps import MeasureStep, OutcomeStatus, ScoreStep
from autotune.targets import Executor, LocalExecutor

__all__ = ["CensusRequest", "CensusScope", "Workshop", "build_every", "open_workshop", "run_census"]


@dataclass(frozen=True, kw_only=True)
class CensusScope:
    """What of the recipes and requests a census takes; for targets on which all take hours.

    Attributes:
        recipes: names, or patterns of them (``webgpu-int4-*``); empty takes what is proposed.
        requests: timed per process; None is as many as a run times. The untrained model is
            scored on twice as many rows.
    """

    recipes: tuple[str, ...] = ()
    requests: int | None = None


_EVERYTHING = CensusScope()


@dataclass(frozen=True, kw_only=True)
class CensusRequest:
    """What a census covers.

    Attributes:
        config: model, data, target and bounds; limits of a search are not used.
        scope: what of the recipes and requests.
        rounds: fresh processes per recipe, at least 2 for a 95th percentile.
        calibrates: measure the machine's rates as well, for the floors.
        asserted: ``KEY=VALUE``, facts that a person knows.
    """

    config: RunConfig
    scope: CensusScope = _EVERYTHING
    rounds: int = 2
    calibrates: bool = True
    asserted: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What builds and measures: a session with its bench, and who is told."""

    session: Session
    bench: Bench
    progress: Progress

    @property
    def executor(self) -> Executor:
        """Where its jobs run."""
        return self.bench.executor


@contextmanager
def open_workshop(
    config: RunConfig, scope: CensusScope = _EVERYTHING, *, only_builds: bool = False
) -> Iterator[Workshop]:
    """Prepare what a census of ``config`` works with.

    With ``only_builds``, targets need not be here.

    Raises:
        UsageError: model, data or bounds that cannot work, or no recipe of that name.
        HardwareError: a target that is not here.
    """
    progress = Progress()
    store = ArtifactStore()
    with (
        store.used(),
        LocalExecutor() as executor,
        tempfile.TemporaryDirectory(prefix="autotune-census-") as at,
    ):
        session = prepare(
            config, executor=executor, store=store, log_dir=Path(at), only_builds=only_builds
        )
        session = _only(session, scope.recipes)
        Narrator(progress).session(session)
        bench = session.bench(store=store, executor=executor, log_dir=Path(at))
        if scope.requests is not None:
            bench = replace(
                bench, requests_per_block=scope.requests, census_rows=2 * scope.requests
            )
        yield Workshop(session=session, bench=bench, progress=progress)


def _only(session: Session, names: Sequence[str]) -> Session:
    """Return ``session`` with the recipes of these names, which may be patterns."""
    recipes = choose_recipes(session.recipe_offer, names)
    return replace(session, settings=session.settings.with_recipes(recipes))


def run_census(request: CensusRequest, files: CensusFiles) -> int:
    """Take a census, write and print its hardware report, and return the exit code.

    Returns:
        0; or 1 where bounds were given and no recipe meets them for sure.

    Raises:
        UsageError: model, data or bounds that cannot work.
        HardwareError: a target that is not here.
        OutputError: a file that exists already.
    """
    files.refuse_existing()
    asserted = read_assertions(request.asserted)
    with open_workshop(request.config, request.scope) as workshop:
        machine = MachineRequest(
            asks=asks_of_census(request.config.target),
            calibrates=request.calibrates,
            asserted=asserted,
        )
        report = take_hardware_report(
            machine, executor=workshop.executor, progress=workshop.progress
        )
        report = replace(report, census=_take(workshop, request, report))
    return publish_census(report, files)


def build_every(workshop: Workshop) -> tuple[Tried, ...]:
    """Build and score the untrained model with every recipe of the session; failures stay in."""
    steps = StepRunner(workshop.bench)
    tried = []
    for recipe in workshop.session.settings.recipes:
        candidate = Candidate(adapter=None, fraction=0.0, recipe=recipe)
        outcome = steps.run(ScoreStep(candidate=candidate))
        workshop.progress.line(f"built {recipe.name}: {summary_of(outcome)}")
        one = Tried(recipe=recipe, status=outcome.status, reason=outcome.reason)
        if outcome.status is OutcomeStatus.MEASURED:
            one = _with_build(one, steps.lineage, outcome.measurements[candidate.name])
        tried.append(one)
    return tuple(tried)


def _with_build(tried: Tried, lineage: Lineage, metrics: Mapping[str, Measurement]) -> Tried:
    """Return ``tried`` with its graph, which a stand-in's score has not built yet."""
    candidate = Candidate(adapter=None, fraction=0.0, recipe=tried.recipe)
    try:
        built = lineage.built(candidate)
    except AutotuneError as error:
        outcome = failed(error)
        return replace(tried, status=outcome.status, reason=outcome.reason)
    if "size" not in metrics:  # a stand-in's is another
        metrics = {**metrics, "size": measure_size(built.path)}
    return replace(tried, folder=built.path, digest=built.digest, metrics=metrics)


def _take(workshop: Workshop, request: CensusRequest, report: HardwareReport) -> Census:
    tried = build_every(workshop)
    candidates = {
        one.recipe.name: Candidate(adapter=None, fraction=0.0, recipe=one.recipe)
        for one in tried
        if one.folder is not None
    }
    timings = _time(workshop, candidates, rounds=request.rounds) if candidates else Timings()
    session = workshop.session
    subject = CensusSubject(
        model=model_facts(session),
        workload=workload_facts(session),
        requests=session.workload.rows,
        constraints=session.config.constraints,
        targets={target.provider: target.name for target in session.targets},
        seed=session.config.seed,
        rounds=request.rounds,
    )
    return census_of(subject, tried, timings, report)


def _time(workshop: Workshop, candidates: Mapping[str, Candidate], *, rounds: int) -> Timings:
    """Return what timing ``candidates`` (by recipe name) brings."""
    step = MeasureStep(candidates=tuple(candidates.values()), rounds=rounds)
    outcome = StepRunner(workshop.bench).run(step)
    if outcome.status is not OutcomeStatus.MEASURED:
        return Timings(failures=dict.fromkeys(candidates, outcome))
    warn_of_noise(workshop.progress, outcome.noise)
    names = {name: candidate.name for name, candidate in candidates.items()}
    return Timings(
        found={name: outcome.measurements.get(long, {}) for name, long in names.items()},
        unmeasured={name: outcome.unmeasured.get(long, {}) for name, long in names.items()},
        noise=outcome.noise,
    )
