"""A chain that leaves steps out: what it makes is handed over, and nothing is scored or timed.

An adapter, a merged model or a built one lies in the run's folder; the store keeps what a
step made, so the same chain with more steps goes on from there.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune.candidate import Recipe
from autotune.chained import OpenedChain, open_chain
from autotune.config import RunConfig, default_output, prepare_output
from autotune.errors import OutputError
from autotune.passes import (
    Artifact,
    ArtifactStore,
    BuildPass,
    FinetunePass,
    MergePass,
    ModelSource,
    OtherPython,
    Pass,
    produce,
    resolve_model,
)
from autotune.progress import Progress
from autotune.reports import write_json_atomic
from autotune.run_identity import worker_versions
from autotune.run_task import read_task, tokens_for
from autotune.session import other_pythons
from autotune.targets import Executor, LocalExecutor, resolve_targets
from autotune.termination import termination_as_interrupt
from autotune.training_data import data_artifact, training_examples
from autotune.units import format_duration

__all__ = ["run_chain"]

_INTERRUPTED = 130


def run_chain(config: RunConfig, *, output: Path | None, dry_run: bool, as_json: bool) -> int:
    """Run the chain of ``config``, which leaves steps out, and return the exit code.

    Raises:
        AutotuneError: the request cannot work, or a step failed.
    """
    progress, store = Progress(), ArtifactStore()
    with termination_as_interrupt(), LocalExecutor() as executor, store.used():
        try:
            run = _opened(config, store, executor, progress)
            if dry_run:
                for line in run.plan():
                    sys.stdout.write(f"{line}\n")
                return 0
            folder = output or default_output(config.target)
            prepare_output(folder)
            config.save(folder / "run.json")
            made = run.go(folder)
        except KeyboardInterrupt:
            progress.line(
                "Interrupted; with another --output, the same command goes on from the store."
            )
            return _INTERRUPTED
    if as_json:
        sys.stdout.write(json.dumps(made, indent=2) + "\n")
    return 0


@dataclass
class _ChainRun:
    config: RunConfig
    executor: Executor
    store: ArtifactStore
    progress: Progress
    versions: Mapping[str, str]
    source: ModelSource
    chain: OpenedChain
    data: Artifact | None
    recipes: tuple[Recipe, ...]
    provers: Mapping[str, OtherPython]
    steps: list[dict[str, Any]] = field(default_factory=list)

    def plan(self) -> list[str]:
        """Return what would be done, a line each."""
        lines = list(self.chain.notes)
        if (adapter := self.chain.adapter) is not None:
            length = f"{adapter.epochs:g} epochs" if adapter.steps is None else f"{adapter.steps}"
            lines.append(f"train {adapter.name}: {length} steps of {adapter.batch_size} sequences")
            lines += ["merge the adapter into its base"] if self._merges else []
        return lines + [f"build {recipe.name}" for recipe in self.recipes]

    @property
    def _merges(self) -> bool:
        return self.config.chain is not None and self.config.chain.merges

    def go(self, folder: Path) -> dict[str, Any]:
        """Make everything, copy it into ``folder`` and return what ``chain.json`` says."""
        model = self.source.artifact
        if self.chain.adapter is not None and self.data is not None:
            trained = self._produce(
                FinetunePass(adapter=self.chain.adapter), {"model": model, "data": self.data}
            )
            self._hand_over(trained.path / "adapter", folder / "adapter")
            if self._merges:
                merge = MergePass(merge_base=self.chain.adapter.merge_base)
                model = self._produce(merge, {"model": model, "adapter": trained})
                self._hand_over(model.path, folder / "merged")
        for recipe in self.recipes:
            build = BuildPass(recipe=recipe, prover=self.provers.get(recipe.provider))
            built = self._produce(build, {"model": model})
            name = "model" if len(self.recipes) == 1 else f"model-{recipe.name}"
            self._hand_over(built.path, folder / name)
        made = {"schema": "autotune/chain", "schema_version": 1, "steps": self.steps}
        write_json_atomic(folder / "chain.json", made)
        return made

    def _produce(self, pass_: Pass, inputs: Mapping[str, Artifact]) -> Artifact:
        self.progress.working(pass_.name, silent=False)
        made = produce(
            pass_,
            inputs,
            store=self.store,
            executor=self.executor,
            versions=self.versions,
        )
        self.progress.rest()
        how = "from the store" if made.reused else format_duration(made.seconds)
        self.progress.line(f"{pass_.name}: {how}")
        self.steps.append(
            {
                "name": pass_.name,
                "digest": made.artifact.digest,
                "seconds": made.artifact.seconds,
                "reused": made.reused,
                "facts": dict(made.artifact.facts),
            }
        )
        return made.artifact

    def _hand_over(self, source: Path, place: Path) -> None:
        try:
            shutil.copytree(source, place)
        except OSError as error:
            raise OutputError(
                f"{str(place)!r} cannot be written ({error}); free some space, or choose another"
                " --output."
            ) from None
        self.progress.line(f"         {place}")


def _opened(
    config: RunConfig, store: ArtifactStore, executor: Executor, progress: Progress
) -> _ChainRun:
    """Return the chain ready to run: cheap checks first, nothing trained or built."""
    read = read_task(config) if config.data else None
    targets = tuple(resolve_targets(config.target, executor))
    versions = worker_versions(executor, log_path="")
    source = resolve_model(
        config.model,
        store=store,
        executor=executor,
        versions=versions,
        trust_remote_code=config.trust_remote_code,
    )
    data, n_examples = None, 0
    if read is not None:
        task, rule = read
        tokens = tokens_for(config, task, rule, source)
        examples = training_examples(config, tokens, source.architecture.context_length)
        data, n_examples = data_artifact(tokens, examples, store), len(examples)
    chain = open_chain(config.chain, source, n_examples=n_examples)
    recipes: tuple[Recipe, ...] = ()
    if chain.build is not None:
        possible = tuple(r for t in targets for r in t.recipes(source.architecture)[0])
        recipes, _ = chain.choose(possible, (), source.architecture)
    return _ChainRun(
        config=config,
        executor=executor,
        store=store,
        progress=progress,
        versions=versions,
        source=source,
        chain=chain,
        data=data,
        recipes=recipes,
        provers=other_pythons(targets, executor),
    )
