"""Search: what to try next; knows candidates, costs and outcomes only."""

from .ahead import likely_trainings
from .contract import Planner, PlannerState
from .costs import minimum_budget_s
from .dimensions import Choice, Dimension, LogRange
from .experience import Experience, PastResult, PastTask, learn
from .front import Point, dominates, pareto_front
from .planner import Phase, Progress, StagedPlanner
from .priors import default_portfolio
from .reach import hopeless_latency_s
from .room import asks_for_less
from .settings import (
    DEFAULT_PRIOR_COSTS_S,
    SamplerName,
    SearchSettings,
    default_rungs,
    derive_seed,
)
from .space import SearchSpace
from .standing import CensusEntry, CensusState
from .study import StudyRecord
from .verdicts import cost_verdict, meets_quality, total_violation, violations

__all__ = [
    "DEFAULT_PRIOR_COSTS_S",
    "CensusEntry",
    "CensusState",
    "Choice",
    "Dimension",
    "Experience",
    "LogRange",
    "PastResult",
    "PastTask",
    "Phase",
    "Planner",
    "PlannerState",
    "Point",
    "Progress",
    "SamplerName",
    "SearchSettings",
    "SearchSpace",
    "StagedPlanner",
    "StudyRecord",
    "asks_for_less",
    "cost_verdict",
    "default_portfolio",
    "default_rungs",
    "derive_seed",
    "dominates",
    "hopeless_latency_s",
    "learn",
    "likely_trainings",
    "meets_quality",
    "minimum_budget_s",
    "pareto_front",
    "total_violation",
    "violations",
]
