"""Turns a planner's steps into pass and evaluator jobs, and their results into outcomes.

This is the one place that maps known errors to outcomes; everything else stops
the run with its traceback. Work found in the store is reused and costs nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace

from autotune.candidate import Candidate
from autotune.errors import (
    AutotuneError,
    BuildError,
    DivergedError,
    MergeError,
    UnsupportedRecipeError,
    WorkerError,
)
from autotune.evaluators import (
    BlockSettings,
    BuiltModel,
    Scored,
    Surroundings,
    measure_latency,
    measure_size,
    score,
)
from autotune.lineage import Lineage, StageLedger
from autotune.measurement import Measurement
from autotune.passes import (
    Artifact,
    Origin,
)
from autotune.plain import digest, from_plain, to_plain
from autotune.reports import write_json_atomic
from autotune.step_bench import Bench
from autotune.steps import (
    MeasureStep,
    Outcome,
    OutcomeStatus,
    ScoreStep,
    Step,
    TestStep,
    TrainStep,
)
from autotune.target_report import as_proxy
from autotune.task import RowSet

__all__ = ["WARM_UP_MOST", "StepRunner", "failed"]

_FAILURES: Mapping[str, OutcomeStatus] = {
    "crashed": OutcomeStatus.CRASHED,
    "timed_out": OutcomeStatus.TIMED_OUT,
    "out_of_memory": OutcomeStatus.OUT_OF_MEMORY,
}
# On a busy machine medians never settle to 2 %; more warm-up than this buys nothing.
WARM_UP_MOST = 6
_CONFIRM_REQUESTS = 16
_TRAINING_NOTES = (
    *("tokens_per_s", "peak_share", "device", "device_model", "dtype", "dtype_reason"),
    *("steps", "total_steps", "fit_reason", "not_replayed", "not_repeatable"),
)


class StepRunner:
    """Runs one step at a time; holds no state of the search.

    Attributes:
        lineage: makes the artifacts of candidates.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.lineage = Lineage(bench)

    def run(self, step: Step) -> Outcome:
        """Return what ``step`` brought; known failures are outcomes, others raise."""
        ledger = StageLedger()
        began = time.monotonic()
        try:
            outcome = self._dispatch(step, ledger)
        except AutotuneError as error:
            outcome = failed(error)
        return replace(
            outcome,
            stage_s=ledger.stage_s,
            reused=tuple(ledger.reused),
            recorded_s=ledger.recorded_s,
            cost_s=time.monotonic() - began,
        )

    def _dispatch(self, step: Step, ledger: StageLedger) -> Outcome:
        match step:
            case TrainStep():
                return self._train(step, ledger)
            case ScoreStep():
                rows = self._rows_for(step.candidate)
                return replace(self._score(step.candidate, rows, ledger), answers={})
            case MeasureStep():
                return self._measure(step, ledger)
            case TestStep():
                return self._test(step, ledger)

    def _train(self, step: TrainStep, ledger: StageLedger) -> Outcome:
        artifact = self.lineage.adapter(step.adapter, step.fraction, ledger)
        facts = artifact.facts
        nll = Measurement(
            metric="nll",
            unit="nat",
            value=float(facts["probe_nll"]),
            n=int(facts["probe_rows"]),
            method="mean over the fixed validation subset of the answer's summed NLL, in training",
        )
        return Outcome(
            status=OutcomeStatus.MEASURED,
            measurements={step.adapter.name: {"nll": nll}},
            losses=tuple(facts["losses"]),
            # Without what is absent here: a GPU's name, a reason for what did happen.
            notes={name: _note(facts[name]) for name in _TRAINING_NOTES if facts.get(name)},
        )

    def _rows_for(self, candidate: Candidate) -> RowSet:
        """Return the validation rows; the first of them for the census.

        How well an untrained model guesses decides nothing that more rows would settle,
        and the rows of a split are in mixed order.
        """
        rows = self._bench.validation
        if candidate.adapter is not None:
            return rows
        return replace(rows, rows=rows.rows[: self._bench.census_rows])

    def _score(self, candidate: Candidate, rows: RowSet, ledger: StageLedger) -> Outcome:
        double = self._bench.stand_ins.get(candidate.recipe.name)
        asked = candidate if double is None else replace(candidate, recipe=double)
        built = self.lineage.built(asked, ledger)
        scored = self._scored(asked, built, rows, ledger)
        measurements = {**scored.measurements, "size": measure_size(built.path)}
        if (distortion := _distortion(built)) is not None:
            measurements["distortion"] = distortion
        if double is not None:
            told = (self._bench.target_census or {}).get(candidate.recipe.name, {})
            measurements = as_proxy(measurements, candidate.recipe, double, told)
        return Outcome(
            status=OutcomeStatus.MEASURED,
            measurements={candidate.name: measurements},
            correct={candidate.name: scored.correct},
            confusion={candidate.name: scored.confusion} if scored.confusion else {},
            answers={candidate.name: scored.predictions},
        )

    def _scored(
        self, candidate: Candidate, built: Artifact, rows: RowSet, ledger: StageLedger
    ) -> Scored:
        """Return the score of a graph on ``rows``; the store remembers it, for it never varies."""
        bench = self._bench
        other = bench.others.get(candidate.recipe.provider)
        key = digest(
            {
                "graph": built.digest,
                "rows": digest(to_plain(rows)),
                "provider": candidate.recipe.provider,
                "versions": {**bench.versions, **(other.versions if other else {})},
            }
        )
        with bench.store.lock(key):
            kept = bench.store.get_verified(key, "score")
            if kept is not None:
                ledger.reused.append("score")
                ledger.recorded_s["score"] = kept.seconds
                return from_plain(
                    Scored, json.loads((kept.path / "scored.json").read_text(encoding="utf-8"))
                )
            began = time.monotonic()
            with ledger.timed("score"):
                scored = score(
                    self._model(candidate, built),
                    rows,
                    executor=bench.executor,
                    log_path=self._log("score"),
                )
            ledger.recorded_s["score"] = time.monotonic() - began
            self._keep_score(key, built, scored, seconds=ledger.recorded_s["score"])
        return scored

    def _keep_score(self, key: str, built: Artifact, scored: Scored, *, seconds: float) -> None:
        store = self._bench.store
        origin = Origin(
            key=key, name="score", parameters={}, inputs={"graph": built.digest}, versions={}
        )
        with store.workdir(key) as workdir:
            write_json_atomic(workdir / "scored.json", to_plain(scored))
            store.commit(workdir, origin, facts={}, seconds=seconds)

    def _measure(self, step: MeasureStep, ledger: StageLedger) -> Outcome:
        census = self._bench.target_census
        if census is not None:
            told = {
                c.name: {m: one for m, one in census[c.recipe.name].items() if m != "size"}
                for c in step.candidates
            }
            return Outcome(status=OutcomeStatus.MEASURED, measurements=told)
        models = [self._model(c, self.lineage.built(c, ledger)) for c in step.candidates]
        around: list[Surroundings] = []
        with ledger.timed("measure"):
            found = measure_latency(
                models,
                self._bench.workload,
                rounds=step.rounds,
                requests_per_block=self._per_block(step),
                seed=self._bench.seed,
                executor=self._bench.executor,
                settings=BlockSettings(
                    warm_up_most=WARM_UP_MOST,
                    hopeless_s=self._bench.hopeless_s,
                    log_path=self._log("measure"),
                ),
                on_surroundings=around.append,
            )
        (session,) = around
        return Outcome(
            status=OutcomeStatus.MEASURED,
            measurements=found,
            unmeasured={name: dict(gaps) for name, gaps in session.unmeasured.items()},
            noise=session.noise(follows_own_work=True),
        )

    def _per_block(self, step: MeasureStep) -> int:
        """Return requests per process; a confirmation has more processes of fewer requests.

        Processes differ more than requests of one do, and finalists are compared by them.
        """
        most = self._bench.requests_per_block
        return min(most, _CONFIRM_REQUESTS) if step.purpose == "confirm" else most

    def _test(self, step: TestStep, ledger: StageLedger) -> Outcome:
        parts = [
            self._score(candidate, self._bench.test, ledger)
            for candidate in dict.fromkeys((step.chosen, step.baseline))
        ]
        return Outcome(
            status=OutcomeStatus.MEASURED,
            measurements={k: v for part in parts for k, v in part.measurements.items()},
            correct={k: v for part in parts for k, v in part.correct.items()},
            confusion={k: v for part in parts for k, v in part.confusion.items()},
            answers={k: v for part in parts for k, v in part.answers.items()},
        )

    def _model(self, candidate: Candidate, built: Artifact) -> BuiltModel:
        provider = candidate.recipe.provider
        other = self._bench.others.get(provider)
        return BuiltModel(
            name=candidate.name,
            path=built.path,
            provider=provider,
            interpreter=other.interpreter if other else "",
        )

    def _log(self, stage: str) -> str:
        return str(self._bench.log_dir / f"{stage}.log")


def failed(error: AutotuneError) -> Outcome:
    """Return the outcome that a known failure is; any other is raised again."""
    match error:
        case UnsupportedRecipeError():
            status = OutcomeStatus.UNSUPPORTED
        case DivergedError():
            status = OutcomeStatus.DIVERGED
        case BuildError() | MergeError():
            status = OutcomeStatus.CRASHED
        case WorkerError():
            status = _FAILURES[error.kind]
        case _:
            raise error
    return Outcome(status=status, reason=str(error))


def _note(value: object) -> float | str:
    """Return a fact of a pass in the form that outcomes keep."""
    return float(value) if isinstance(value, int | float) else str(value)


def _distortion(built: Artifact) -> Measurement | None:
    """Return how much building changed the logits, where the proof ran here."""
    proof = built.facts["proof"]
    if not {"correlation", "prompts"} <= proof.keys():
        return None
    return Measurement(
        metric="distortion",
        unit="1",
        value=1 - float(proof["correlation"]),
        n=int(proof["prompts"]),
        method="1 - correlation of centred last-position logits with the unbuilt model's",
    )
