"""Everything a run needs before its first step: target, model, task, recipes, estimates.

Cheap checks come first and expensive ones last: a typo in a flag costs nothing,
a model that cannot be exported costs no training.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autotune.bounds import check_bounds_on_target, check_measurable
from autotune.candidate import Recipe
from autotune.config import RunConfig
from autotune.errors import OutputError, UsageError
from autotune.estimate import Estimates, free_disk_bytes
from autotune.evaluators import Workload, make_workload
from autotune.kinds import quality_of
from autotune.passes import (
    Artifact,
    ArtifactStore,
    ModelSource,
    Origin,
    OtherPython,
    layer_names,
    resolve_model,
)
from autotune.plain import digest, to_plain
from autotune.run_identity import accelerators, all_versions, record_key, worker_versions
from autotune.run_task import read_task, tokens_for
from autotune.search import (
    SamplerName,
    SearchSettings,
    SearchSpace,
    default_rungs,
    hopeless_latency_s,
    minimum_budget_s,
)
from autotune.step_bench import Bench
from autotune.target_report import TargetMachine, load_target_report
from autotune.targets import (
    Executor,
    Refusal,
    Target,
    read_machine,
    resolve_targets,
)
from autotune.task import Task, TokenizedTask
from autotune.training_plan import offered_methods, offered_space, run_estimates
from autotune.trainings import Offer
from autotune.units import format_duration

__all__ = ["PROBE_ROWS", "REQUESTS_PER_BLOCK", "Session", "prepare"]

_REQUESTS = 64
REQUESTS_PER_BLOCK = 32
# Rows of the validation split whose likelihood ranks trainings at their rungs; the
# standard error of a mean NLL over 200 rows is well below differences that matter.
PROBE_ROWS = 200


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
        record_key: equal for runs that would decide the same.
        target_machine: the machine to search for, where it is another one.
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
    record_key: str
    others: Mapping[str, OtherPython]
    target_machine: TargetMachine | None = None

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
            census_rows=2 * REQUESTS_PER_BLOCK,
            seed=self.config.seed,
            log_dir=log_dir,
            others=self.others,
            target_census=machine.costs() if machine else None,
            stand_ins=machine.stand_ins({t.provider for t in self.targets}) if machine else {},
        )

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
    config: RunConfig, *, executor: Executor, store: ArtifactStore, log_dir: Path | None
) -> Session:
    """Return the session of ``config``; trains and builds nothing.

    Raises:
        UsageError: data, model or bounds that cannot work.
        HardwareError: a target, or counters for a bound, that are not here.
        OutputError: the disk is too small for the plan.
    """
    target_machine = load_target_report(config.target_report) if config.target_report else None
    task, rule = read_task(config)
    targets = tuple(resolve_targets(config.target, executor))
    if target_machine is None:
        check_measurable(config.constraints, [target.provider for target in targets])
    others = _others(targets, executor)
    versions = worker_versions(executor, log_path=_log(log_dir))
    source = resolve_model(
        config.model,
        store=store,
        executor=executor,
        versions=versions,
        trust_remote_code=config.trust_remote_code,
        log_path=_log(log_dir),
    )
    config.trainings.check_modules(layer_names(source.artifact.path))
    tokens = tokens_for(config, task, rule, source)
    workload = make_workload(tokens.validation, n=_REQUESTS, seed=config.seed)
    if target_machine is not None:
        target_machine.check(model=source.revision_or_digest, workload=workload.digest)
    recipes, refused = _recipes(config, targets, source, target_machine)
    machine, trains_on = read_machine(), versions["training-device"]
    estimates = run_estimates(
        config, source, tokens, recipes=recipes, machine=machine, trains_on=trains_on
    )
    if target_machine is not None:
        estimates = estimates.measured_elsewhere()
    _check_disk(estimates, store)
    offered = offered_methods(config, source, machine, versions)
    space = offered_space(config, offered, epochs=estimates.epochs)
    settings = _settings(config, recipes, source, tokens=tokens, estimates=estimates, space=space)
    _check_budget(settings)
    hardware = {**to_plain(machine), "accelerators": accelerators()}
    return Session(
        config=config,
        targets=targets,
        source=source,
        task=task,
        tokens=tokens,
        workload=workload,
        data=_data_artifact(tokens, store),
        refused=refused,
        estimates=estimates,
        settings=settings,
        versions=versions,
        others=others,
        hardware=hardware,
        offer=offered,
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
    )


def _log(log_dir: Path | None) -> str:
    """Return the log of workers that get the model and the machine ready; empty for none."""
    return str(log_dir / "model.log") if log_dir else ""


def _others(targets: Sequence[Target], executor: Executor) -> dict[str, OtherPython]:
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
    if free < estimates.disk_bytes:
        raise OutputError(
            f"The plan needs up to {estimates.disk_bytes / 1e9:.1f} GB of disk, {store.root}"
            f" has {free / 1e9:.1f} GB free; free some, or point AUTOTUNE_CACHE elsewhere."
        )


def _check_budget(settings: SearchSettings) -> None:
    least = minimum_budget_s(settings)
    if settings.budget_s is not None and settings.budget_s < least:
        raise UsageError(
            f"--budget {format_duration(settings.budget_s)} is below one training with its census"
            f" and confirmation, which take about {format_duration(least)} here; allow"
            f" {math.ceil(least / 60)}m or more."
        )


def _settings(
    config: RunConfig,
    recipes: tuple[Recipe, ...],
    source: ModelSource,
    *,
    tokens: TokenizedTask,
    estimates: Estimates,
    space: SearchSpace,
) -> SearchSettings:
    return SearchSettings(
        recipes=recipes,
        constraints=config.constraints,
        budget_s=config.budget_s,
        max_trials=config.max_trials,
        space=space,
        parameters=source.architecture.parameters,
        sampler=SamplerName(config.sampler),
        seed=config.seed,
        objectives=(quality_of(tokens.validation.kind), "latency.p95"),
        rungs=default_rungs(estimates.training_s),
        prior_costs_s=estimates.stage_s,
        n_validation_rows=len(tokens.validation.rows),
        n_test_rows=len(tokens.test.rows),
    )


def _data_artifact(tokens: TokenizedTask, store: ArtifactStore) -> Artifact:
    """Return the tokenised training rows and the probe rows as an artifact."""
    probe = [
        {"ids": row.prompt_ids + row.answer_ids, "answer_start": len(row.prompt_ids)}
        for row in tokens.validation.rows[:PROBE_ROWS]
    ]
    content = {"examples": [asdict(example) for example in tokens.examples], "probe": probe}
    text = json.dumps(content)
    key = digest({"data": digest(json.loads(text))})
    with store.lock(key):
        kept = store.get_verified(key, "data")
        if kept is not None:
            return kept
        with store.workdir(key) as workdir:
            (workdir / "train.json").write_text(text, encoding="utf-8")
            origin = Origin(key=key, name="data", parameters={}, inputs={}, versions={})
            return store.commit(workdir, origin, facts={"task": tokens.digest}, seconds=0.0)
