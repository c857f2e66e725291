"""``autotune census`` on two machines: one builds a bundle, the other measures it.

Building takes torch and up to ten times the checkpoint in memory; measuring takes the
core and onnxruntime-genai, and leaves nothing but the report.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autotune.bounds import check_bounds_on_task, check_measurable
from autotune.bundle import OpenBundle, open_bundle, write_bundle
from autotune.candidate import Recipe
from autotune.census import CensusScope, build_every, open_workshop
from autotune.census_entries import (
    METHOD,
    CensusFiles,
    CensusSubject,
    Timings,
    Tried,
    census_of,
    publish_census,
)
from autotune.config import RunConfig
from autotune.constraint import Constraint
from autotune.errors import AutotuneError, BuildError, HardwareError, OutputError, UsageError
from autotune.evaluators import (
    BlockSettings,
    BuiltModel,
    Surroundings,
    measure_latency,
    measure_size,
)
from autotune.hardware import asks_of_census, read_assertions
from autotune.machine_report import MachineRequest, take_hardware_report
from autotune.narrate import warn_of_noise
from autotune.progress import Progress
from autotune.reports import BundledRecipe, Census, HardwareReport
from autotune.search import hopeless_latency_s
from autotune.step_runner import WARM_UP_MOST, failed
from autotune.steps import Outcome, OutcomeStatus
from autotune.targets import Executor, LocalExecutor, Target, families, resolve_targets
from autotune.units import format_size

__all__ = ["BundleRequest", "refuse_flags", "run_bundle_census", "run_export"]


@dataclass(frozen=True, kw_only=True)
class BundleRequest:
    """What the census of a bundle covers.

    Attributes:
        target: ``auto`` or names separated by commas.
        constraints: bounds.
        rounds: fresh processes per recipe, at least 2 for a 95th percentile.
        requests: timed per process; None is what the bundle says.
        calibrates: measure the machine's rates as well, for the floors.
        asserted: ``KEY=VALUE``, facts that a person knows.
    """

    target: str = "auto"
    constraints: tuple[Constraint, ...] = ()
    rounds: int = 2
    requests: int | None = None
    calibrates: bool = True
    asserted: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Site:
    """An open bundle on the machine that measures it; targets by provider."""

    opened: OpenBundle
    request: BundleRequest
    targets: Mapping[str, Target]
    executor: Executor
    progress: Progress


def refuse_flags(flags: Mapping[str, object], *, why: str) -> None:
    """Refuse flags that would have no effect.

    Raises:
        UsageError: one of ``flags`` was given, that is neither None, False nor empty.
    """
    given = [flag for flag, value in flags.items() if value not in (None, False, [])]
    if given:
        raise UsageError(f"{why}, got {', '.join(given)}; leave that out.")


def run_export(config: RunConfig, path: Path, scope: CensusScope | None = None) -> int:
    """Build every recipe here and write the bundle ``path``; return the exit code 0.

    Raises:
        UsageError: model or data that cannot work.
        OutputError: the folder exists or cannot be written.
        BuildError: not one recipe could be built.
    """
    if path.exists() or not path.absolute().parent.is_dir():
        raise OutputError(
            f"--export {str(path)!r} is a new folder in one that exists, and nothing is"
            " overwritten; choose another name."
        )
    with open_workshop(config, scope or CensusScope(), only_builds=True) as workshop:
        tried = build_every(workshop)
        if not any(one.folder for one in tried):
            raise BuildError(
                f"Not one recipe could be built, {tried[0].recipe.name}: {tried[0].reason};"
                " nothing was exported."
            )
        per_block = workshop.bench.requests_per_block
        bundle = write_bundle(path, workshop.session, tried, requests_per_block=per_block)
    built = [one for one in bundle.recipes if one.folder]
    size = format_size(int(sum(one.metrics["size"].value for one in built)))
    sys.stdout.write(
        f"{path}: {len(built)} of {len(bundle.recipes)} recipes built, {size}, with the prompts"
        f" that are timed. Copy it, and measure it there: autotune census {path.name}\n"
    )
    return 0


def run_bundle_census(path: Path, request: BundleRequest, files: CensusFiles) -> int:
    """Measure the bundle ``path`` here, write and print the hardware report.

    Returns:
        0; or 1 where bounds were given and no recipe meets them for sure.

    Raises:
        UsageError: no bundle, or flags that cannot work.
        StoreError: a file of the bundle is damaged; nothing was run.
        HardwareError: no provider of the bundle is here.
        OutputError: a file that exists already.
    """
    files.refuse_existing()
    asserted = read_assertions(request.asserted)
    opened, progress = open_bundle(path), Progress()
    progress.line(
        f"Bundle   {opened.bundle.model.spec}, {len(opened.bundle.recipes)} recipes,"
        f" built on {opened.bundle.device}"
    )
    with LocalExecutor() as executor:
        targets = {one.provider: one for one in resolve_targets(request.target, executor)}
        _check_any(opened, targets)
        check_bounds_on_task(request.constraints, opened.workload.rows.kind)
        held = {one.recipe.provider for one in opened.bundle.recipes if one.folder}
        check_measurable(request.constraints, sorted(held & set(targets)))
        machine = MachineRequest(
            asks=asks_of_census(request.target), calibrates=request.calibrates, asserted=asserted
        )
        report = take_hardware_report(machine, executor=executor, progress=progress)
        site = _Site(
            opened=opened, request=request, targets=targets, executor=executor, progress=progress
        )
        taken = _take(site, report)
    return publish_census(replace(report, census=taken), files)


def _check_any(opened: OpenBundle, targets: Mapping[str, Target]) -> None:
    held = {one.recipe.provider for one in opened.bundle.recipes if one.folder}
    if held.isdisjoint(targets):
        here = ", ".join(target.name for target in targets.values())
        raise HardwareError(
            f"The bundle {str(opened.path)!r} holds builds for {', '.join(sorted(held))}, the"
            f" targets here are {here}; choose another --target, or export a bundle for one of"
            " these."
        )


def _take(site: _Site, report: HardwareReport) -> Census:
    opened, bundle = site.opened, site.opened.bundle
    names = _target_names([one.recipe for one in bundle.recipes], site.targets)
    tried = [_tried(opened, one) for one in bundle.recipes]
    tried = [
        one
        if one.recipe.provider in site.targets or one.folder is None
        else _absent(one, names[one.recipe.provider], site.request.target, report)
        for one in tried
    ]
    timings = _time(site, tried)
    subject = CensusSubject(
        model=bundle.model,
        workload=bundle.workload,
        requests=opened.workload.rows,
        constraints=site.request.constraints,
        targets=names,
        seed=bundle.seed,
        rounds=site.request.rounds,
        method=f"{METHOD}; bundle {opened.digest[:12]}, built on {bundle.device}",
    )
    return census_of(subject, tried, timings, report)


def _target_names(recipes: Sequence[Recipe], targets: Mapping[str, Target]) -> dict[str, str]:
    """Return the user's word for each provider, also of those that are not here."""
    known = {family.provider: family.name for family in families().values()}
    return {
        provider: targets[provider].name if provider in targets else known.get(provider, provider)
        for provider in (recipe.provider for recipe in recipes)
    }


def _tried(opened: OpenBundle, one: BundledRecipe) -> Tried:
    """Return a recipe of the bundle; what was not measured here says so."""
    where = f"on the machine that built it ({opened.bundle.device})"
    metrics = {
        name: replace(number, method=f"{where}: {number.method}")
        for name, number in one.metrics.items()
    }
    folder = opened.path / one.folder if one.folder else None
    if folder is not None:
        metrics["size"] = measure_size(folder)
    return Tried(
        recipe=one.recipe,
        status=one.status,
        reason=f"{where}: {one.reason}" if one.reason else "",
        folder=folder,
        digest=one.digest,
        metrics=metrics,
    )


def _absent(one: Tried, name: str, asked: str, report: HardwareReport) -> Tried:
    """Return a recipe whose provider is not measured here, with the reason."""
    found = next((target for target in report.targets if target.name == name), None)
    if found is None or found.status == "proven":
        reason = f"the provider {one.recipe.provider!r} is not asked for by --target {asked!r}"
    else:
        reason = f"the provider {one.recipe.provider!r} is not usable here: {found.reason}"
    return replace(one, status=OutcomeStatus.UNSUPPORTED, reason=reason, folder=None)


def _time(site: _Site, tried: Sequence[Tried]) -> Timings:
    """Return what timing the builds brings."""
    opened, progress = site.opened, site.progress
    models = [
        BuiltModel(
            name=one.recipe.name,
            path=one.folder.resolve(),
            provider=one.recipe.provider,
            interpreter=site.targets[one.recipe.provider].interpreter,
        )
        for one in tried
        if one.folder is not None
    ]
    failures: dict[str, Outcome] = {}
    around: list[Surroundings] = []

    def on_failure(name: str, error: AutotuneError) -> None:
        failures[name] = _failure(error)
        progress.line(f"{name}: {error}")

    with tempfile.TemporaryDirectory(prefix="autotune-census-") as logs:
        timed = measure_latency(
            models,
            opened.workload,
            rounds=site.request.rounds,
            requests_per_block=site.request.requests or opened.bundle.requests_per_block,
            seed=opened.bundle.seed,
            executor=site.executor,
            settings=BlockSettings(
                warm_up_most=WARM_UP_MOST,
                hopeless_s=hopeless_latency_s(site.request.constraints),
                log_path=str(Path(logs) / "measure.log"),
            ),
            on_failure=on_failure,
            on_progress=lambda text: progress.working(text, silent=True),
            on_surroundings=around.append,
        )
    progress.rest()
    (session,) = around
    noise = session.noise(follows_own_work=True)
    warn_of_noise(progress, noise)
    return Timings(found=timed, failures=failures, unmeasured=session.unmeasured, noise=noise)


def _failure(error: AutotuneError) -> Outcome:
    """Return the outcome of a model that was not timed; a provider that fell back is one."""
    if isinstance(error, HardwareError):
        return Outcome(status=OutcomeStatus.UNSUPPORTED, reason=str(error))
    return failed(error)
