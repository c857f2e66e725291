"""The planner: census, then training in rungs, then confirmation.

It holds no state but the ledger of what was observed and the study made from it,
so a decision is a pure function of settings, record and elapsed time: a planner
fed the same outcomes takes the same steps, from any point on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from autotune.candidate import AdapterConfig, Recipe
from autotune.errors import ReplayError
from autotune.steps import (
    Done,
    MeasureStep,
    Outcome,
    ScoreStep,
    Step,
    TestStep,
    TrainStep,
    Wait,
)

from .arms import Arm, arms_of
from .census import hopeless_reason, nearest_recipe, next_census_step
from .choice import Chooser
from .confirm import ConfirmView
from .contract import PlannerState
from .costs import CostModel
from .ledger import Ledger
from .loop import LoopView
from .proposals import Proposals
from .room import has_room
from .settings import SearchSettings
from .standing import CensusEntry, CensusState, census_entries, surviving_recipes
from .study import StudyRecord
from .trials import TrialRecorder

__all__ = ["Phase", "Progress", "StagedPlanner"]

Phase = Literal["census", "search", "confirm", "test", "done"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a search stands, for people.

    Attributes:
        phase: of the last step chosen.
        n_recipes: recipes that the census carries on (all of them while it lasts).
        n_started, n_full: trainings begun, and trained to the end.
        n_trials: trained candidates scored or failed.
        best: the candidate that would be chosen now, or None.
        best_accuracy: its accuracy on the validation split.
    """

    phase: Phase
    n_recipes: int
    n_started: int
    n_full: int
    n_trials: int
    best: str | None
    best_accuracy: float | None


class StagedPlanner:
    """Implements ``Planner`` for one run; one step at a time.

    Args:
        settings: the request.
        study: where trials are recorded; None keeps them in memory.
    """

    def __init__(self, settings: SearchSettings, *, study: StudyRecord | None = None) -> None:
        self._settings = settings
        self._ledger = Ledger(census_rounds=settings.census_rounds)
        self._costs = CostModel(settings)
        self._arms: tuple[Arm, ...] = ()
        self._n_configs: Counter[Arm] | None = None
        if settings.space.size is not None:
            self._n_configs = Counter(map(Arm.of, settings.space.grid()))
        self._study = study or StudyRecord()
        self._study.open(settings)
        self._trials = TrialRecorder(settings=settings, ledger=self._ledger, study=self._study)
        self._survivors: tuple[Recipe, ...] | None = None
        self._certain: tuple[Recipe, ...] = ()
        self._owes_depth = False
        self._is_training_over = False
        self._is_confirming = False
        self._proposed: tuple[int, Arm, AdapterConfig] | None = None
        self._reason = ""
        self._phase: Phase = "census"

    # The protocol

    def next(self, state: PlannerState) -> Step | Wait | Done:
        """Return the next step; the same record and elapsed time give the same answer."""
        if state.running:
            return Wait()
        decision, self._reason = self._decide(state.elapsed_s)
        self._phase = self._phase_of(decision)
        if isinstance(decision, Done):
            self._study.finish()
        return decision

    def observe(self, step: Step, outcome: Outcome) -> None:
        """Take in what ``step`` brought."""
        if self._survivors is None and _comes_after_census(step):
            self._close_census()
        is_new = isinstance(step, TrainStep) and step.adapter.name not in self._ledger.trainings
        self._ledger.observe(step, outcome)
        self._costs.observe(step, outcome)
        match step:
            case TrainStep():
                if is_new:
                    self._trials.started(step.adapter, self._first_survivor(step.adapter))
                self._trials.trained(step)
            case ScoreStep() if step.candidate.fraction == 1:
                self._trials.scored(step.candidate)
            case ScoreStep() if step.candidate.adapter is not None:
                self._is_training_over = True
            case MeasureStep(purpose="confirm"):
                self._is_confirming = True

    def explain(self) -> str:
        """Return in one line why the last step was chosen."""
        return self._reason

    def progress(self) -> Progress:
        """Return where the search stands."""
        contenders = self._chooser.contenders()
        best = contenders[0] if contenders else None
        recipes = self._settings.recipes if self._survivors is None else self._survivors
        return Progress(
            phase=self._phase,
            n_recipes=len(recipes),
            n_started=len(self._ledger.trainings),
            n_full=len(self._ledger.full_trainings),
            n_trials=self._ledger.n_trials,
            best=best.candidate.name if best else None,
            best_accuracy=best.accuracy if best else None,
        )

    def census(self) -> dict[str, CensusEntry]:
        """Return what the census says about every recipe so far, by its name."""
        return census_entries(self._settings, self._ledger)

    @property
    def _chooser(self) -> Chooser:
        return Chooser(settings=self._settings, ledger=self._ledger)

    # Decisions

    def _decide(self, elapsed_s: float) -> tuple[Step | Done, str]:
        if self._survivors is None:
            decision = self._decide_census(elapsed_s)
            if decision is not None:
                return decision
        if not self._survivors:
            return self._no_recipe(), "the census left no recipe"
        why = ""
        if not self._is_confirming:
            step, why = self._decide_loop(elapsed_s, self._survivors)
            if step is not None:
                return step, why
        return ConfirmView(
            settings=self._settings,
            ledger=self._ledger,
            costs=self._costs,
            elapsed_s=elapsed_s,
            why_ended=why,
        ).next()

    def _decide_census(self, elapsed_s: float) -> tuple[Step | Done, str] | None:
        if hopeless := hopeless_reason(self._settings, self._ledger):
            nearest = nearest_recipe(self._settings, self._ledger)
            reason = f"nothing was trained: {hopeless}"
            return Done(chosen=None, reason=reason, nearest_miss=nearest), hopeless
        decision = next_census_step(self._settings, self._ledger, self._costs, elapsed_s)
        if decision is None:
            self._close_census()
        return decision

    def _no_recipe(self) -> Done:
        entries = self.census().values()
        if all(entry.state is CensusState.FAILED for entry in entries):
            reason = "nothing was trained: no recipe could be built and timed"
        else:
            reason = "nothing was trained: no recipe meets the bounds"
        nearest = nearest_recipe(self._settings, self._ledger)
        entry = self.census()[(nearest.recipe if nearest else self._settings.recipes[0]).name]
        return Done(
            chosen=None,
            reason=f"{reason} ({entry.recipe.name}: {entry.reason})",
            front=self._chooser.front(),
            nearest_miss=nearest,
        )

    def _decide_loop(
        self, elapsed_s: float, recipes: tuple[Recipe, ...]
    ) -> tuple[Step | None, str]:
        view = LoopView(
            settings=self._settings,
            ledger=self._ledger,
            costs=self._costs,
            recipes=recipes,
            elapsed_s=elapsed_s,
            certain=self._certain,
            arms=self._arms,
            open_arms=tuple(filter(self._has_left, self._arms)),
            owes_depth=self._owes_depth,
        )
        if not self._is_training_over:
            if score := view.next_score():
                return score
            if choice := view.next_training():
                adapter = choice.adapter or self._propose(choice.arm, recipes)
                return TrainStep(adapter=adapter, fraction=choice.target), choice.reason
        return view.next_partial_score() or (None, view.why_ended())

    def _propose(self, arm: Arm, recipes: tuple[Recipe, ...]) -> AdapterConfig:
        """Return the config to start next in ``arm``; asking the study opens a trial, so once."""
        known = self._proposed
        if known is None or known[:2] != (self._ledger.n_steps, arm):
            proposals = Proposals(
                settings=self._settings,
                ledger=self._ledger,
                study=self._study,
                recipes=recipes,
                arms=self._arms,
            )
            known = (self._ledger.n_steps, arm, proposals.next(arm))
        self._proposed = known
        return known[2]

    def _has_left(self, arm: Arm) -> bool:
        """Whether configs of ``arm`` are left to try."""
        if self._n_configs is None:
            return True
        begun = sum(arm.holds(t.adapter) for t in self._ledger.trainings.values())
        return begun < self._n_configs[arm]

    def _close_census(self) -> None:
        """Fix the recipes to train for, and tell the study which are out of reach."""
        self._survivors = surviving_recipes(self._settings, self._ledger)
        if not self._survivors:
            return
        entries = self.census().values()
        self._certain = tuple(e.recipe for e in entries if e.state is CensusState.KEPT)
        self._arms = arms_of(self._settings.space, self._survivors, certain=self._certain)
        self._owes_depth = not has_room(self._settings, self._ledger, self._certain)
        for entry in entries:
            if entry.state is CensusState.INFEASIBLE:
                self._trials.infeasible(entry)

    def _first_survivor(self, adapter: AdapterConfig) -> Recipe:
        served = [recipe for recipe in self._survivors or () if adapter.serves(recipe)]
        if not served:
            raise ReplayError(
                "The record trains although its census left no recipe to build with;"
                " it does not belong to this run, start a new one."
            )
        return served[0]

    def _phase_of(self, decision: Step | Done) -> Phase:
        match decision:
            case Done():
                return "done"
            case TestStep():
                return "test"
            case MeasureStep(purpose="confirm"):
                return "confirm"
            case _:
                return "census" if self._survivors is None else "search"


def _comes_after_census(step: Step) -> bool:
    """Whether a step shows that the census had ended before it."""
    match step:
        case TrainStep() | TestStep():
            return True
        case MeasureStep():
            return step.purpose == "confirm"
        case ScoreStep():
            return step.candidate.adapter is not None
