"""Whether bounds can be judged at all: asked before anything is trained, built or timed.

A bound that nothing measures would drop every model as uncertain, after an hour of work.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from autotune.candidate import Recipe
from autotune.constraint import Constraint
from autotune.errors import HardwareError, UsageError
from autotune.evaluators import unmeasurable
from autotune.kinds import Kind, is_decision
from autotune.target_report import TargetMachine

__all__ = ["check_bounds_on_target", "check_bounds_on_task", "check_measurable"]

_OF_FURTHER_TOKENS = ("tpot", "energy_per_token")
# What this machine measures of any build, whichever machine it is for.
_TAKEN_HERE = ("size", "accuracy", "macro_f1", "perplexity")
_WHAT = {
    "energy": "the energy of a request",
    "energy_per_token": "the energy of a token",
    "device_memory": "memory on a device",
    "memory": "the memory of a process",
}


def check_bounds_on_task(constraints: Iterable[Constraint], kind: Kind) -> None:
    """Refuse bounds that a task of ``kind`` has no number for.

    Raises:
        UsageError: one that makes no sense for the task.
    """
    for constraint in constraints:
        name = constraint.metric.partition(".")[0]
        if name in _OF_FURTHER_TOKENS and is_decision(kind):
            instead = "energy" if name == "energy_per_token" else "latency"
            raise UsageError(
                f"{constraint} cannot be measured: a {kind} makes no further tokens after"
                f" its decision; bound the {instead} instead, or ask for --task generation."
            )
        if name == "macro_f1" and kind != "classification":
            raise UsageError(f"{constraint} needs labels, this task is {kind}; leave it out.")
        if name == "perplexity" and kind != "perplexity":
            raise UsageError(
                f"{constraint} needs plain text, this task is {kind}; bound the accuracy instead,"
                " or ask for --task perplexity."
            )
        if name == "accuracy" and kind == "perplexity":
            raise UsageError(
                f"{constraint} would judge single tokens, which nobody answers; bound the"
                " perplexity of the text instead, for example --constraint 'perplexity<=20'."
            )


def check_measurable(
    constraints: Iterable[Constraint],
    providers: Collection[str],
    *,
    why_not: Callable[[str, str], str] = unmeasurable,
) -> None:
    """Refuse bounds on what this machine measures for none of ``providers``.

    Args:
        constraints: of a run or a census that takes place here.
        providers: at least one, in the spelling of onnxruntime-genai.
        why_not: returns the reason for a metric and a provider, empty where it is measured.

    Raises:
        HardwareError: counters that are not here or cannot be read.
    """
    for constraint in constraints:
        reasons = {provider: why_not(constraint.metric, provider) for provider in providers}
        if not all(reasons.values()):
            continue
        name = constraint.metric.partition(".")[0]
        told = "; ".join(
            reason if len(reasons) == 1 else f"{provider}: {reason}"
            for provider, reason in reasons.items()
        )
        raise HardwareError(
            f"{constraint} cannot be judged, nothing here measures {_WHAT.get(name, name)}"
            f" ({told}). Leave the bound out, or tune where it is measured."
        )


def check_bounds_on_target(
    constraints: Iterable[Constraint], machine: TargetMachine, recipes: Sequence[Recipe]
) -> None:
    """Refuse bounds on costs that the census of the machine to search for does not tell.

    Raises:
        UsageError: one that no recipe of ``recipes`` has a number for.
    """
    costs = machine.costs()
    known = {metric for recipe in recipes for metric in costs.get(recipe.name, {})}
    for constraint in constraints:
        name = constraint.metric.partition(".")[0]
        if name in _TAKEN_HERE or constraint.metric in known:
            continue
        entries = machine.census.entries
        gaps = [reason for one in entries if (reason := one.unmeasured.get(name))]
        others = sorted(metric for metric in known if metric.partition(".")[0] == name)
        told = gaps[0] if gaps else f"it has {', '.join(others)}" if others else "it has no number"
        way = "take it again there with more --rounds" if others else "leave the bound out"
        raise UsageError(
            f"{constraint} cannot be judged by the census in --target-report {machine.name!r}"
            f" ({told}); {way}."
        )
