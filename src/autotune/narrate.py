"""What a run says: one line per event, the plan, and the result. Words only, no decisions."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from autotune.calibration import SessionNoise
from autotune.config import OWN_DATA_BUDGET_S, RunConfig
from autotune.depths import DepthOffer
from autotune.estimate import Estimates
from autotune.front_so_far import FrontSoFar
from autotune.measurement import Measurement
from autotune.plain import to_plain
from autotune.progress import Progress
from autotune.reports import PlanRow, RunReport, make_console, plan_table, run_summary
from autotune.search import SearchSettings, SearchSpace, StagedPlanner
from autotune.session import CENSUS_ROWS, Session
from autotune.steps import (
    Event,
    MeasureStep,
    Outcome,
    OutcomeStatus,
    ScoreStep,
    Step,
    TestStep,
    TrainStep,
)
from autotune.targets import AssumedTarget
from autotune.trainings import Offer
from autotune.units import format_duration, format_quantity, format_size

__all__ = ["Narrator", "price_of", "print_plan", "print_report", "summary_of", "warn_of_noise"]


class Narrator:
    """Tells ``progress`` what happens."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._planner: StagedPlanner | None = None
        self._budget_s: float | None = None
        self._max_trials: int | None = None
        self._elapsed_s = 0.0
        self._searching_since_s: float | None = None
        self._front = FrontSoFar()

    def watch(self, planner: StagedPlanner, settings: SearchSettings) -> None:
        """Take the best so far and the time left from ``planner`` from now on."""
        self._planner = planner
        self._budget_s = settings.budget_s
        self._max_trials = settings.max_trials

    def opening(self, config: RunConfig) -> None:
        """Say what the bounds mean, first of all."""
        bounds = ", ".join(str(constraint) for constraint in config.constraints) or "no bounds"
        limits = [format_duration(config.budget_s)] if config.budget_s else []
        limits += [f"{config.max_trials} trials"] if config.max_trials else []
        self._progress.line(
            f"autotune: {bounds}; latency is that of a whole request, batch 1, on your prompts;"
            f" budget {' and '.join(limits)}"
        )
        if not config.is_demo and config.budget_s == OWN_DATA_BUDGET_S:
            self._progress.line("One hour is planned for data of your own; --budget changes it.")
        if config.is_demo:
            self._progress.line(
                "No --data given: running the built-in demo (the tone of a phrase,"
                f" model {config.model})."
            )

    def session(self, session: Session) -> None:
        """Say what was found: target, model, data, recipes left out."""
        architecture = session.source.architecture
        self._progress.line(f"Target   {session.device}")
        for one in session.targets:
            if isinstance(one, AssumedTarget):
                self._progress.line(
                    f"         {one.name} is not usable here ({one.reason}): its graphs are built"
                    " and read back, and what is scored are stand-ins for the processor"
                )
        if (target := session.target_machine) is not None:
            self._progress.line(
                f"         by its census of {target.report.created} ({target.name});"
                " this machine trains and scores"
            )
        self._progress.line(
            f"Model    {session.source.spec}: {architecture.name},"
            f" {architecture.parameters / 1e6:.0f}M weights, {architecture.layers} layers"
        )
        summary = session.task.summary
        if session.config.is_demo:
            summary = replace(summary, sources=("built-in demo",))
        for number, text in enumerate(summary.lines()):
            self._progress.line(f"{'Data' if number == 0 else '':<8} {text}")
        self._progress.line(f"         {session.tokens.lengths}")
        for warning in session.tokens.warnings:
            self._progress.line(f"         warning: {warning}")
        for number, note in enumerate(session.notes):
            self._progress.line(f"{'Chain' if number == 0 else '':<8} {note}")
        names = ", ".join(recipe.name for recipe in session.settings.whole_recipes)
        self._progress.line(f"Recipes  {names}")
        for refusal in session.refused:
            self._progress.line(f"         not {refusal.recipe.name}: {refusal.reason}")

    def plan(self, session: Session) -> None:
        """Say what will be tried, how long it should take, and what it needs."""
        for number, row in enumerate(plan_rows(session)):
            self._progress.line(f"{'Plan' if number == 0 else '':<8} {row.what}: {row.estimate}")

    def replaying(self, count: int, *, source: str) -> None:
        """Say that recorded steps are not done again."""
        self._progress.line(f"Replaying {count} steps from {source}.")

    def starting(self, step: Step, why: str) -> None:
        """Show what is going on now."""
        is_timed = isinstance(step, MeasureStep)
        self._look_ahead()
        self._progress.working(f"{_title(step)}{f' ({why})' if why else ''}", silent=is_timed)

    def _look_ahead(self) -> None:
        """Refresh what the live line says about best and time left."""
        if self._planner is None:
            return
        progress = self._planner.progress()
        if progress.best is not None and progress.best_accuracy is not None:
            self._progress.best = f"{progress.best_accuracy:.3f} {progress.best}"
        self._progress.front = self._front.lines()
        if self._budget_s is not None:
            self._progress.ends_in(self._budget_s - self._elapsed_s)
        elif (left_s := self._searches_for(progress.n_trials)) is not None:
            self._progress.ends_in(left_s, is_limit=False)

    def _searches_for(self, n_trials: int) -> float | None:
        """Return how long the trials that are left take, going by those that are done."""
        if self._max_trials is None or not n_trials or self._searching_since_s is None:
            return None
        per_trial_s = (self._elapsed_s - self._searching_since_s) / n_trials
        return max(0, self._max_trials - n_trials) * per_trial_s

    def rest(self) -> None:
        """Take the live line down."""
        self._progress.rest()

    def event(self, event: Event) -> None:
        """Print what a step brought."""
        self._progress.rest()
        self._elapsed_s = event.elapsed_s
        if isinstance(event.step, TrainStep) and self._searching_since_s is None:
            self._searching_since_s = event.started_s
        self._front.take(event)
        self._progress.line(
            f"{_clock(event.elapsed_s)} {_title(event.step)}: {_brought(event)} [{_price(event)}]"
        )
        warn_of_noise(self._progress, event.outcome.noise)

    def line(self, text: str) -> None:
        """Print one line that stays."""
        self._progress.line(text)


def warn_of_noise(progress: Progress, noise: SessionNoise | None) -> None:
    """Say so where the machine was too noisy for what was timed to be certain."""
    if noise is not None and noise.warning:
        progress.line(f"         noisy: {noise.warning}")


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60):3d}:{int(seconds % 60):02d}"


def _title(step: Step) -> str:
    match step:
        case TrainStep():
            return f"train {step.adapter.name} to {step.fraction:.0%}"
        case ScoreStep():
            return f"build and score {step.candidate.name}"
        case MeasureStep():
            return f"measure ({step.purpose}) {len(step.candidates)} models x {step.rounds} rounds"
        case TestStep():
            return f"test split, {step.chosen.name} and {step.baseline.name}"


def _price(event: Event) -> str:
    if event.replayed:
        return "from the record"
    return price_of(event.outcome, seconds=event.outcome.cost_s)


def price_of(outcome: Outcome, *, seconds: float) -> str:
    """Return what a step took, and which of its stages came from the store, each named once.

    >>> done = Outcome(status=OutcomeStatus.MEASURED, cost_s=0.4, reused=("heal", "heal"))
    >>> price_of(done, seconds=2.0)
    '2.0 s, heal from the store'
    """
    stages = "+".join(dict.fromkeys(outcome.reused))
    return format_duration(seconds) + (f", {stages} from the store" if stages else "")


def summary_of(outcome: Outcome) -> str:
    """Return what a step brought in a line: the main figures, or how it failed."""
    if outcome.status is not OutcomeStatus.MEASURED:
        return f"{outcome.status}: {outcome.reason}"
    return "; ".join(_shown(metrics) for metrics in outcome.measurements.values())


def _brought(event: Event) -> str:
    outcome = event.outcome
    if outcome.status is OutcomeStatus.MEASURED and isinstance(event.step, MeasureStep):
        parts = [
            f"{name.removeprefix('untrained/')} {_shown(metrics)}"
            for name, metrics in outcome.measurements.items()
        ]
        return "; ".join(parts)
    return summary_of(outcome)


_SHOWN = ("latency.p95", "latency.p50", "accuracy", "perplexity", "nll", "size")


def _shown(metrics: dict[str, Measurement]) -> str:
    names = [name for name in _SHOWN if name in metrics]
    if "latency.p95" in names:
        names = ["latency.p95"]
    return ", ".join(
        f"{name.replace('latency.', '')} {format_quantity(metrics[name].value, metrics[name].unit)}"
        for name in names
    )


def print_plan(session: Session) -> None:
    """Print the plan with its estimates on stdout."""
    make_console(sys.stdout).print(plan_table(plan_rows(session)))


def plan_rows(session: Session) -> list[PlanRow]:
    """Return what a run will do and need, with the basis of each figure."""
    estimates, settings = session.estimates, session.settings
    whole = settings.whole_recipes
    # Untrained models are scored on the first rows only.
    few = min(1.0, CENSUS_ROWS / max(1, len(session.tokens.validation.rows)))
    census = estimates.census_s(whole, rounds=settings.census_rounds, share=few)
    census = min(census, settings.census_share * (settings.budget_s or 1e9))
    limit = f"at most {format_duration(settings.budget_s)}" if settings.budget_s else "no limit"
    return [
        PlanRow(
            what=f"census of {len(whole)} recipes, untrained",
            estimate=format_duration(census),
            basis="build, score and two blocks each; " + estimates.basis,
        ),
        PlanRow(
            what=f"one training, {_length(settings.space)}",
            estimate=format_duration(estimates.training_s),
            basis=f"{estimates.tokens_per_s:.0f} tokens/s",
        ),
        *_trainings(settings, session.offer),
        _depths(session.depths),
        PlanRow(what="whole run", estimate=limit, basis="--budget"),
        PlanRow(
            what="disk",
            estimate=f"about {format_size(estimates.disk_bytes)}",
            basis="graphs of every recipe, "
            + ("one training" if settings.space.size == 1 else "three trainings")
            + " built"
            + _more_for_cuts(estimates),
        ),
        PlanRow(
            what="memory",
            estimate=f"about {format_size(estimates.memory_bytes)}",
            basis="the builder beside the trainer with its largest batch; batches are computed"
            " in parts where memory is short",
        ),
    ]


def _trainings(settings: SearchSettings, offer: Offer) -> list[PlanRow]:
    methods = ", ".join(settings.space.methods)
    if settings.space.size == 1:
        return [PlanRow(what="trainings", estimate=f"one, {methods}", basis="the chain as given")]
    return [
        PlanRow(what="ways of training", estimate=methods, basis=offer.reason),
        PlanRow(
            what="quantisers in training",
            estimate=str(len(offer.quantisers) or "none"),
            basis=": ".join(filter(None, (offer.quantiser_reason, ", ".join(offer.quantisers)))),
        ),
        PlanRow(
            what="trainings started / finished",
            estimate=f"at least {settings.min_started} / {settings.min_full}",
            basis="further ones while the budget lasts",
        ),
    ]


def _more_for_cuts(estimates: Estimates) -> str:
    if not estimates.cut_bytes:
        return ""
    return f"; {format_size(estimates.cut_bytes)} more where the model is cut"


def _depths(depths: DepthOffer) -> PlanRow:
    fewer = "".join(f", {kept}" for kept in depths.layers)
    return PlanRow(what="layers kept", estimate=f"all {depths.total}{fewer}", basis=depths.reason)


def _length(space: SearchSpace) -> str:
    return f"{space.epochs[0]:g} epochs" if space.steps is None else f"{space.steps} steps"


def print_report(report: RunReport, *, folder: Path, as_json: bool) -> None:
    """Print the result on stdout: a table, or the report as JSON."""
    if as_json:
        sys.stdout.write(json.dumps(to_plain(report), indent=2) + "\n")
        return
    make_console(sys.stdout).print(run_summary(report, run_dir=folder))
