"""From a candidate to its artifacts: cut model, healing, adapter, merged model, built graph.

What the store holds is taken from there. Trainings, merges and builds of a candidate take
the model of its depth as theirs, so that a cut model is a model like any other. It is healed
before the first training at its depth; untrained it is as it was cut, since healing changes
nothing of what a request costs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from autotune.candidate import AdapterConfig, Candidate
from autotune.passes import (
    Artifact,
    BuildPass,
    FinetunePass,
    HealPass,
    MergePass,
    Pass,
    PrunePass,
    StackPass,
    produce,
)
from autotune.step_bench import Bench

__all__ = ["Lineage", "StageLedger"]


@dataclass
class StageLedger:
    """Seconds and reuse of one step, stage by stage."""

    stage_s: dict[str, float] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)
    recorded_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the seconds of the block as those of ``stage``."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.stage_s[stage] = self.stage_s.get(stage, 0.0) + time.monotonic() - began


@dataclass(frozen=True)
class Lineage:
    """Makes the artifacts of candidates with what a bench has."""

    bench: Bench
    _cut: dict[int, Artifact] = field(default_factory=dict, repr=False)

    def model(self, layers: int | None, ledger: StageLedger | None = None) -> Artifact:
        """Return the base model with that many layers, chosen on the training rows; None is all."""
        bench = self.bench
        if layers is None:
            return bench.model
        if layers not in self._cut:
            inputs = {"model": bench.model, "data": bench.data}
            cut = self._produce(PrunePass(layers=layers), inputs, "prune", ledger or StageLedger())
            self._cut[layers] = cut
        return self._cut[layers]

    def base(self, adapter: AdapterConfig, ledger: StageLedger) -> Artifact:
        """Return what ``adapter`` is trained on: the base model, or a cut one after its healing."""
        if adapter.layers is None:
            return self.bench.model
        inputs = {
            "model": self.model(adapter.layers, ledger),
            "adapter": self.healing(adapter, ledger),
        }
        return self._produce(MergePass(), inputs, "heal", ledger)

    def healing(self, adapter: AdapterConfig, ledger: StageLedger) -> Artifact:
        """Return the adapter that draws the cut model of ``adapter`` to the whole one."""
        cut = self.model(adapter.layers, ledger)
        inputs = {"model": cut, "whole": self.bench.model, "data": self.bench.data}
        healing = HealPass(kept=tuple(cut.facts["kept"]), epochs=adapter.epochs)
        return self._produce(healing, inputs, "heal", ledger)

    def adapter(self, adapter: AdapterConfig, fraction: float, ledger: StageLedger) -> Artifact:
        """Return the adapter at ``fraction``, going through every rung below it.

        One chain of checkpoints per adapter config keeps the store's keys the same
        whatever order the planner asks in. What an adapter is merged into later does
        not change its training.
        """
        bench, adapter = self.bench, replace(adapter, merge_base="full")
        model = self.base(adapter, ledger)
        checkpoint: Artifact | None = None
        for rung in [rung for rung in bench.rungs if rung <= fraction]:
            inputs = {"model": model, "data": bench.data}
            if checkpoint is not None:
                inputs["checkpoint"] = checkpoint
            checkpoint = self._produce(
                FinetunePass(adapter=adapter, fraction=rung), inputs, "finetune", ledger
            )
        if checkpoint is None:
            raise ValueError(f"{fraction!r} is below the first rung of {bench.rungs!r}")
        return checkpoint

    def built(self, candidate: Candidate, ledger: StageLedger | None = None) -> Artifact:
        """Return the built graph of ``candidate``, making whatever is missing.

        Always with this interpreter: the target's need not have torch (decision 006). The
        target's proves what was built.
        """
        ledger = ledger or StageLedger()
        model = self.merged(candidate, ledger)
        return self._produce(
            BuildPass(
                recipe=candidate.recipe, prover=self.bench.others.get(candidate.recipe.provider)
            ),
            {"model": model},
            "build",
            ledger,
        )

    def merged(self, candidate: Candidate, ledger: StageLedger | None = None) -> Artifact:
        """Return the merged full-precision model; of an untrained candidate the base model."""
        ledger = ledger or StageLedger()
        if candidate.adapter is None:
            return self.model(candidate.recipe.layers, ledger)
        model = self.base(candidate.adapter, ledger)
        trained = self.trained(candidate, ledger)
        merge = MergePass(merge_base=candidate.adapter.merge_base)
        inputs = {"model": model, "adapter": trained}
        return self._produce(merge, inputs, "merge", ledger)

    def trained(self, candidate: Candidate, ledger: StageLedger | None = None) -> Artifact:
        """Return the adapter of a trained candidate."""
        if candidate.adapter is None:
            raise ValueError("the untrained model has no adapter")
        return self.adapter(candidate.adapter, candidate.fraction, ledger or StageLedger())

    def shipped_adapter(self, candidate: Candidate) -> Path | None:
        """Return the folder of an adapter that fits layers of the base model; None untrained.

        Of a cut model what healed it and what tuned it, in one.
        """
        if candidate.adapter is None:
            return None
        ledger, trained = StageLedger(), self.trained(candidate)
        if candidate.adapter.layers is not None:
            inputs = {"first": self.healing(candidate.adapter, ledger), "second": trained}
            trained = self._produce(StackPass(), inputs, "stack", ledger)
        return trained.path / "adapter"

    def _produce(
        self, pass_: Pass, inputs: Mapping[str, Artifact], stage: str, ledger: StageLedger
    ) -> Artifact:
        bench = self.bench
        produced = produce(
            pass_,
            inputs,
            store=bench.store,
            executor=bench.executor,
            versions=bench.versions,
            log_path=str(bench.log_dir / f"{stage}.log"),
        )
        ledger.recorded_s[stage] = produced.artifact.seconds
        if produced.reused:
            ledger.reused.append(stage)
        else:
            ledger.stage_s[stage] = ledger.stage_s.get(stage, 0.0) + produced.seconds
        return produced.artifact
