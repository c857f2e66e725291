"""The steps of the census: every recipe is built and timed untrained.

The first few recipes are timed for one block before anything else, so that a
request that nothing can meet costs seconds. Nothing is trained before the census
has ended. Cut models come after the whole ones, and only as these ask for them (``depth``).
"""

from __future__ import annotations

from collections.abc import Sequence

from autotune.candidate import Candidate, Recipe
from autotune.constraint import Verdict
from autotune.steps import MeasureStep, ScoreStep, Step

from .costs import CostModel
from .depth import DepthView
from .ledger import Ledger, untrained
from .reach import out_of_reach, seen_costs, timed_bounds
from .settings import SearchSettings
from .verdicts import cost_constraints, cost_verdict, total_violation

__all__ = ["hopeless_reason", "nearest_recipe", "next_census_step"]


def hopeless_reason(settings: SearchSettings, ledger: Ledger) -> str:
    """Return why no recipe can meet the bounds by far, or an empty string.

    That is so where every provider that can be built for was looked at and is out of reach.
    """
    reasons = []
    for provider in _providers(settings):
        if not _sound(settings, ledger, provider):
            continue
        reason = out_of_reach(settings, ledger, provider)
        if not reason:
            return ""
        reasons.append(reason)
    return "; ".join(reasons)


def _providers(settings: SearchSettings) -> list[str]:
    """Return the providers of the recipes, in their order."""
    return list(dict.fromkeys(recipe.provider for recipe in settings.recipes))


def _sound(settings: SearchSettings, ledger: Ledger, provider: str) -> list[Recipe]:
    """Return the recipes of ``provider`` that have not failed."""
    return [
        recipe
        for recipe in settings.whole_recipes
        if recipe.provider == provider and ledger.recipe_failure(recipe) is None
    ]


def _is_alive(settings: SearchSettings, ledger: Ledger, recipe: Recipe) -> bool:
    """Whether nothing known so far rules ``recipe`` out."""
    if out_of_reach(settings, ledger, recipe.provider):
        return False
    verdict = cost_verdict(settings.constraints, ledger.census_costs(recipe))
    return ledger.recipe_failure(recipe) is None and verdict is not Verdict.FAIL


def _score_next(ledger: Ledger, recipes: Sequence[Recipe]) -> ScoreStep | None:
    for recipe in recipes:
        candidate = untrained(recipe)
        if candidate.name not in ledger.scores and candidate.name not in ledger.failures:
            return ScoreStep(candidate=candidate)
    return None


def _probe_step(settings: SearchSettings, ledger: Ledger) -> tuple[Step, str] | None:
    """Return what is left of the first look: some recipes, then one of each other provider."""
    if not timed_bounds(settings.constraints):
        return None
    if "probe" in ledger.purposes:
        return _look_at_another(settings, ledger)
    sound = [r for r in settings.whole_recipes if ledger.recipe_failure(r) is None]
    probe = sound[: settings.probe_recipes]
    if score := _score_next(ledger, probe):
        return score, f"build {score.candidate.recipe.name} untrained, for a first look"
    if not probe:
        return None
    candidates = tuple(untrained(recipe) for recipe in probe)
    step = MeasureStep(candidates=candidates, rounds=1, purpose="census")
    return step, f"one block of {len(candidates)} recipes, to see if the bounds are in reach"


def _look_at_another(settings: SearchSettings, ledger: Ledger) -> tuple[Step, str] | None:
    """Return the first look at a provider that the first block left out.

    It is timed before it is scored: where a request takes seconds, scoring takes minutes.
    """
    for provider in _providers(settings):
        sound = [untrained(recipe) for recipe in _sound(settings, ledger, provider)]
        is_seen = any(one.name in ledger.probe or one.name in ledger.census for one in sound)
        if sound and not is_seen and "probe" not in ledger.group_failed:
            step = MeasureStep(candidates=(sound[0],), rounds=1, purpose="census")
            return step, f"one block of {sound[0].recipe.name}, a first look at {provider}"
    return None


def _timing_step(
    settings: SearchSettings, ledger: Ledger, recipes: Sequence[Recipe]
) -> tuple[Step, str] | None:
    """Return the timing of those of ``recipes`` that are built and not timed yet."""
    waiting = [
        untrained(recipe)
        for recipe in recipes
        if ledger.base_score(recipe)
        and untrained(recipe).name not in ledger.census
        and _is_alive(settings, ledger, recipe)
    ]
    if not waiting:
        return None
    alone = "census" in ledger.group_failed
    step = MeasureStep(
        candidates=tuple(waiting[:1] if alone else waiting), rounds=settings.census_rounds
    )
    if alone:
        return step, f"time {waiting[0].recipe.name} alone, since timing all together failed"
    return step, f"time {len(waiting)} untrained recipes"


def _recheck_step(settings: SearchSettings, ledger: Ledger) -> tuple[Step, str] | None:
    if "recheck" in ledger.purposes:
        return None
    uncertain = [
        untrained(recipe)
        for recipe in settings.recipes
        if untrained(recipe).name in ledger.census
        and ledger.recipe_failure(recipe) is None
        and cost_verdict(settings.constraints, ledger.census_costs(recipe)) is Verdict.UNCERTAIN
    ]
    if not uncertain:
        return None
    step = MeasureStep(
        candidates=tuple(uncertain), rounds=settings.recheck_rounds, purpose="recheck"
    )
    return step, f"{len(uncertain)} recipes span a bound: measure them longer"


def next_census_step(
    settings: SearchSettings, ledger: Ledger, costs: CostModel, elapsed_s: float
) -> tuple[Step, str] | None:
    """Return the next step of the census with its reason, or None when it has ended.

    ``hopeless_reason`` is to be asked first.
    """
    if probe := _probe_step(settings, ledger):
        return probe
    is_closed = "census" in ledger.purposes
    within = [r for r in settings.whole_recipes if not out_of_reach(settings, ledger, r.provider)]
    score = None if is_closed else _score_next(ledger, within)
    if score and _has_time_for(score.candidate, settings, ledger, costs, elapsed_s):
        return score, f"build {score.candidate.recipe.name} untrained, for size and base loss"
    return (
        _timing_step(settings, ledger, settings.whole_recipes)
        or _depth_step(settings, ledger, costs, elapsed_s)
        or _recheck_step(settings, ledger)
    )


def _depth_step(
    settings: SearchSettings, ledger: Ledger, costs: CostModel, elapsed_s: float
) -> tuple[Step, str] | None:
    """Return what to build or time next of cut models, None where none is wanted."""
    due = DepthView(settings=settings, ledger=ledger).due
    score = _score_next(ledger, due)
    if score and _has_time_for(score.candidate, settings, ledger, costs, elapsed_s):
        why = "as was asked" if settings.asks_depth else "the whole model leaves little room"
        layers = score.candidate.recipe.layers
        return score, f"build {score.candidate.recipe.name}, {layers} layers, untrained: {why}"
    return _timing_step(settings, ledger, due)


def _has_time_for(
    candidate: Candidate,
    settings: SearchSettings,
    ledger: Ledger,
    costs: CostModel,
    elapsed_s: float,
) -> bool:
    """Whether the census may take one recipe more; it always may while it has none."""
    if settings.budget_s is None:
        return True
    alive = sum(
        ledger.base_score(recipe) is not None and _is_alive(settings, ledger, recipe)
        for recipe in settings.recipes
    )
    timing = costs.measure_s(alive + 1, settings.census_rounds)
    end = elapsed_s + costs.score_s(candidate) + timing
    return alive == 0 or end <= settings.census_share * settings.budget_s


def nearest_recipe(settings: SearchSettings, ledger: Ledger) -> Candidate | None:
    """Return the untrained candidate with the least violation of the bounds on cost."""
    bounds = cost_constraints(settings.constraints)
    # A recipe that is too large is known by its build alone and never timed.
    known = ledger.census.keys() | ledger.probe.keys() | ledger.scores.keys()
    seen = [
        (total_violation(bounds, seen_costs(settings, ledger, recipe)), n)
        for n, recipe in enumerate(settings.recipes)
        if untrained(recipe).name in known
    ]
    return untrained(settings.recipes[min(seen)[1]]) if seen else None
