"""Everything a run needs before its first step: target, model, task, recipes, estimates.

Cheap checks come first and expensive ones last: a typo in a flag costs nothing,
a model that cannot be exported costs no training.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.bounds import check_bounds_on_target, check_measurable
from autotune.candidate import Recipe
from autotune.chained import open_chain
from autotune.config import RunConfig
from autotune.depths import DepthOffer, offer_depths
from autotune.errors import OutputError
from autotune.estimate import Estimates, free_disk_bytes
from autotune.evaluators import Workload, make_workload
from autotune.passes import (
    Artifact,
    ArtifactStore,
    ModelSource,
    OtherPython,
    layer_names,
    resolve_model,
)
from autotune.plain import digest, to_plain
from autotune.recipe_choice import RecipeOffer, choose_recipes
from autotune.run_identity import accelerators, all_versions, record_key, worker_versions
from autotune.run_settings import make_settings
from autotune.run_task import read_task, tokens_for
from autotune.search import SearchSettings, hopeless_latency_s
from autotune.step_bench import Bench
from autotune.target_report import TargetMachine, load_target_report
from autotune.targets import (
    AssumedTarget,
    Executor,
    Machine,
    Refusal,
    Target,
    read_machine,
    resolve_targets,
    stand_in,
)
from autotune.task import Task, TokenizedTask, TrainingExample
from autotune.training_data import data_artifact, training_examples
from autotune.training_plan import offered_methods, offered_space, run_estimates
from autotune.trainings import Offer

__all__ = ["CENSUS_ROWS", "REQUESTS_PER_BLOCK", "Session", "other_pythons", "prepare"]

_REQUESTS = 64
REQUESTS_PER_BLOCK = 32
CENSUS_ROWS = 2 * REQUESTS_PER_BLOCK  # that untrained models are scored on


@dataclass(frozen=True, kw_only=True)
class Session:
    """A run, ready to start.

    Attributes:
        config: what was asked.
        targets: proven ones, at least one.
        source: the base model.
        task, tokens: the data as text and as token ids.
        workload: requests to time.
        data: artifact with the tokenised training rows.
        refused: recipes that the capability table leaves out.
        estimates: expected cost.
        settings: for the planner.
        versions: of the libraries here that shape results.
        others: interpreters that run models, by provider, where it is not this one.
        hardware: machine facts of this machine, which trains and scores.
        offer: methods of training that may be tried, and why.
        depths: layers that may be left out, and why.
        record_key: equal for runs that would decide the same.
        target_machine: the machine to search for, where it is another one.
        notes: what became of a configuration's words with this model, for people.
    """

    config: RunConfig
    targets: tuple[Target, ...]
    source: ModelSource
    task: Task
    tokens: TokenizedTask
    workload: Workload
    data: Artifact
    refused: tuple[Refusal, ...]
    estimates: Estimates
    settings: SearchSettings
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]
    offer: Offer
    depths: DepthOffer
    record_key: str
    others: Mapping[str, OtherPython]
    target_machine: TargetMachine | None = None
    notes: tuple[str, ...] = ()

    @property
    def recipe_offer(self) -> RecipeOffer:
        """What ``--recipes`` can choose from."""
        return RecipeOffer(
            recipes=self.settings.recipes,
            refused=self.refused,
            architecture=self.source.architecture,
        )

    @property
    def all_versions(self) -> dict[str, str]:
        """Versions here and, under ``PROVIDER: LIBRARY``, those of other interpreters."""
        return all_versions(self.versions, self.others)

    @property
    def device(self) -> str:
        """Target and machine in a few words."""
        tried = {recipe.provider for recipe in self.settings.recipes}
        if (machine := self.target_machine) is not None:
            there = (e.target for e in machine.census.entries if e.recipe.provider in tried)
            return f"{', '.join(dict.fromkeys(there))}: {machine.report.device}"
        names = ", ".join(t.name for t in self.targets if t.provider in tried)
        processor = self.hardware["processor"]
        cores = processor["usable_cores"]["value"] or "?"
        words = [f"{processor['model']['value'] or 'unknown CPU'}, {cores:g} usable cores"]
        if tried != {"cpu"}:
            words = [*(self.hardware["accelerators"]["nvidia"]["value"] or ()), *words]
        return f"{names}: {', '.join(words)}"

    def bench(self, *, store: ArtifactStore, executor: Executor, log_dir: Path) -> Bench:
        """Return what the steps of this run work with."""
        machine = self.target_machine
        return Bench(
            store=store,
            executor=executor,
            versions=self.versions,
            model=self.source.artifact,
            data=self.data,
            validation=self.tokens.validation,
            test=self.tokens.test,
            workload=self.workload,
            rungs=self.settings.rungs,
            requests_per_block=REQUESTS_PER_BLOCK,
            hopeless_s=hopeless_latency_s(
                self.settings.constraints, factor=self.settings.hopeless_factor
            ),
            census_rows=CENSUS_ROWS,
            seed=self.config.seed,
            log_dir=log_dir,
            others=self.others,
            target_census=machine.costs() if machine else None,
            stand_ins=self._stand_ins(),
        )

    def _stand_ins(self) -> dict[str, Recipe]:
        """Return what is scored for recipes whose graphs cannot run here, by their names."""
        here = {one.provider for one in self.targets if not isinstance(one, AssumedTarget)}
        if self.target_machine is not None:
            return self.target_machine.stand_ins(here)
        return {
            recipe.name: stand_in(recipe)
            for recipe in self.settings.recipes
            if recipe.provider not in here
        }

    def identity(self) -> dict[str, str]:
        """Return what a resumed run must have in common with its record, for people."""
        target = self.target_machine
        return {
            **({"census of the target": target.census.digest} if target else {}),
            "model": self.source.artifact.digest,
            "data": self.tokens.digest,
            "settings": digest(to_plain(self.settings)),
            "workload": self.workload.digest,
            **{f"version of {name}": version for name, version in self.all_versions.items()},
        }


def prepare(
    config: RunConfig,
    *,
    executor: Executor,
    store: ArtifactStore,
    log_dir: Path | None,
    only_builds: bool = False,
) -> Session:
    """Return the session of ``config``; trains and builds nothing.

    With ``only_builds``, targets need not be here: nothing is measured.

    Raises:
        UsageError: data, model or bounds that cannot work.
        HardwareError: a target, or counters for a bound, that are not here.
        OutputError: the disk is too small for the plan.
    """
    target_machine = load_target_report(config.target_report) if config.target_report else None
    task, rule = read_task(config)
    targets = tuple(resolve_targets(config.target, executor, may_be_absent=only_builds))
    if target_machine is None:
        check_measurable(config.constraints, [target.provider for target in targets])
    others = other_pythons(targets, executor)
    versions = worker_versions(executor, log_path=_log(log_dir))
    source = _source(config, store, executor, versions=versions, log_dir=log_dir)
    tokens = tokens_for(config, task, rule, source)
    examples = training_examples(config, tokens, source.architecture.context_length)
    workload = make_workload(tokens.validation, n=_REQUESTS, seed=config.seed)
    if target_machine is not None:
        target_machine.check(model=source.revision_or_digest, workload=workload.digest)
    machine = read_machine()
    plan = _plan(
        config,
        source=source,
        tokens=tokens,
        examples=examples,
        possible=_recipes(config, targets, source, target_machine),
        machine=machine,
        versions=versions,
        is_measured_elsewhere=target_machine is not None,
    )
    _check_disk(plan.estimates, store)
    hardware = {**to_plain(machine), "accelerators": accelerators()}
    return Session(
        config=config,
        targets=targets,
        source=source,
        task=task,
        tokens=tokens,
        workload=workload,
        data=data_artifact(tokens, examples, store),
        refused=plan.refused,
        estimates=plan.estimates,
        settings=plan.settings,
        versions=versions,
        others=others,
        hardware=hardware,
        offer=plan.offer,
        depths=plan.depths,
        record_key=record_key(
            config=config,
            source=source,
            tokens=tokens,
            workload=workload,
            versions=all_versions(versions, others),
            hardware=hardware,
            target_machine=target_machine,
        ),
        target_machine=target_machine,
        notes=plan.notes,
    )


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What will be tried and what it costs: recipes and trainings put together."""

    refused: tuple[Refusal, ...]
    estimates: Estimates
    offer: Offer
    depths: DepthOffer
    settings: SearchSettings
    notes: tuple[str, ...]


def _plan(
    config: RunConfig,
    *,
    source: ModelSource,
    tokens: TokenizedTask,
    examples: Sequence[TrainingExample],
    possible: tuple[tuple[Recipe, ...], tuple[Refusal, ...]],
    machine: Machine,
    versions: Mapping[str, str],
    is_measured_elsewhere: bool,
) -> _Plan:
    chain = open_chain(config.chain, source, n_examples=len(examples))
    proposed, refused = chain.choose(*possible, source.architecture)
    offer = RecipeOffer(
        recipes=proposed,
        refused=refused,
        architecture=source.architecture,
        is_closed=is_measured_elsewhere,
    )
    recipes = choose_recipes(offer, config.recipes)
    estimates = chain.estimated(
        run_estimates(
            config,
            source,
            examples,
            n_scored=len(tokens.validation.rows),
            recipes=recipes,
            machine=machine,
            trains_on=versions["training-device"],
        )
    )
    if is_measured_elsewhere:
        estimates = estimates.measured_elsewhere()
    offered = offered_methods(config, source, machine, versions, recipes=recipes)
    depths = offer_depths(config, source)
    estimates = estimates.with_cuts([n / depths.total for n in depths.layers])
    settings = make_settings(
        config,
        recipes=recipes,
        depths=depths,
        parameters=source.architecture.parameters,
        tokens=tokens,
        estimates=estimates,
        space=offered_space(config, offered, depths, epochs=estimates.epochs),
        chain=chain,
    )
    return _Plan(
        refused=refused,
        estimates=estimates,
        offer=offered,
        depths=depths,
        settings=settings,
        notes=chain.notes,
    )


def _source(
    config: RunConfig,
    store: ArtifactStore,
    executor: Executor,
    *,
    versions: Mapping[str, str],
    log_dir: Path | None,
) -> ModelSource:
    """Return the model, which has to have the layers that adapters are asked for."""
    source = resolve_model(
        config.model,
        store=store,
        executor=executor,
        versions=versions,
        trust_remote_code=config.trust_remote_code,
        log_path=_log(log_dir),
    )
    config.trainings.check_modules(layer_names(source.artifact.path))
    return source


def _log(log_dir: Path | None) -> str:
    """Return the log of workers that get the model and the machine ready; empty for none."""
    return str(log_dir / "model.log") if log_dir else ""


def other_pythons(targets: Sequence[Target], executor: Executor) -> dict[str, OtherPython]:
    """Return the interpreters of targets that are not this one, by provider."""
    found = {}
    for target in targets:
        if target.interpreter != sys.executable:
            versions = executor.capabilities(target.interpreter)["versions"]
            runtime = {n: v for n, v in versions.items() if n.startswith("onnxruntime")}
            found[target.provider] = OtherPython(interpreter=target.interpreter, versions=runtime)
    return found


def _recipes(
    config: RunConfig,
    targets: Sequence[Target],
    source: ModelSource,
    target_machine: TargetMachine | None,
) -> tuple[tuple[Recipe, ...], tuple[Refusal, ...]]:
    """Return what can be tried and what is refused; bounds must be told of what can be."""
    if target_machine is not None:
        told, left_out = target_machine.recipes({target.provider for target in targets})
        check_bounds_on_target(config.constraints, target_machine, told)
        return told, left_out
    recipes: list[Recipe] = []
    refused: list[Refusal] = []
    for target in targets:
        possible, impossible = target.recipes(source.architecture)
        recipes += possible
        refused += impossible
    return tuple(recipes), tuple(refused)


def _check_disk(estimates: Estimates, store: ArtifactStore) -> None:
    free = free_disk_bytes(store.root)
    needed = estimates.disk_bytes + estimates.cut_bytes
    if free < needed:
        raise OutputError(
            f"The plan needs up to {needed / 1e9:.1f} GB of disk, {store.root}"
            f" has {free / 1e9:.1f} GB free; free some, or point AUTOTUNE_CACHE elsewhere."
        )
