"""What differs between documents: each number against the first document's, and the verdict.

A verdict needs the whole interval beyond the margin. Numbers that were not taken alike
(other model, other requests, other data) show a direction and get no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from autotune.errors import UsageError
from autotune.measurement import Measurement

from .delta import COUNTS, Delta, delta_of
from .evidence import Evidence, MeasuredModel

__all__ = ["Change", "ComparedDocument", "Comparison", "FactRow", "compare"]

Outcome = Literal["better", "worse", "different", "same", "unjudged", "directional"]
# Below this nobody acts on a difference in cost; as in the statistics of measurements.
_PRACTICAL_MARGIN = 0.02
_HIGHER_IS_BETTER = ("accuracy", "macro_f1")
_ORDER = [
    "accuracy",
    "macro_f1",
    "perplexity",
    "nll",
    "latency",
    "ttft",
    "tpot",
    "load",
    "new_length",
    "energy",
    "energy_per_token",
    "memory",
    "device_memory",
    "size",
    "answer_tokens",
]
_ENERGY = ("energy", "energy_per_token")
_ON_REQUESTS = ("latency", "ttft", "tpot", "memory", "device_memory", *_ENERGY)
# What other work on the machine adds to: the energy of a package is that of all its cores.
_DISTURBED = ("s", "J")


@dataclass(frozen=True, kw_only=True)
class Change:
    """One number of one model in one document, against the first document's.

    Attributes:
        metric: ``latency.p95``; metrics of answers with their split: ``accuracy@test``.
        model: name in the first document.
        document: label of the other document.
        other_model: name there.
        first, second: value, unit, n and interval of both.
        delta: second against first.
        margin: difference that does not count, in the terms of ``delta``.
        verdict: of the second: better, worse or different (a number without a good
            direction) beyond the margin for sure; same where that was not shown;
            unjudged where an interval is missing; directional where the two were not
            taken alike.
        reason: why unjudged or directional.
        is_noisy: a time or an energy from a machine that was graded noisy; nothing about
            it is sure.
        is_regression: worse by more than ``fail_on`` for sure.
    """

    metric: str
    model: str
    document: str
    other_model: str
    first: Measurement
    second: Measurement
    delta: Delta
    margin: float
    verdict: Outcome
    reason: str = ""
    is_noisy: bool = False
    is_regression: bool = False


@dataclass(frozen=True, kw_only=True)
class FactRow:
    """A fact that is not the same in all documents; null where it is not known."""

    name: str
    values: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ComparedDocument:
    """A document by its label; ``unmatched`` are models that the first has no partner for."""

    label: str
    path: str
    kind: str
    created: str
    device: str
    unmatched: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Documents compared with the first of them.

    Attributes:
        schema, schema_version: name the document.
        documents: in the order given; the first is the baseline.
        facts: of machines, libraries, model and workload, only those that differ.
        changes: by metric, then model, then document.
        directional: why some numbers only show a direction.
        noisy: by label, why the times of a document are not sure.
        fail_on: bound on regressions, a share (of accuracy: a difference), or null.
    """

    schema: Literal["autotune.comparison"] = "autotune.comparison"
    schema_version: Literal["1.0"] = "1.0"
    documents: tuple[ComparedDocument, ...]
    facts: tuple[FactRow, ...]
    changes: tuple[Change, ...]
    directional: tuple[str, ...] = ()
    noisy: dict[str, str] = field(default_factory=dict)
    fail_on: float | None = None

    @property
    def regressions(self) -> tuple[Change, ...]:
        """Changes for the worse that are certain to exceed ``fail_on``."""
        return tuple(change for change in self.changes if change.is_regression)


def compare(documents: Sequence[Evidence], *, fail_on: float | None = None) -> Comparison:
    """Compare every document with the first; ``fail_on`` marks regressions, above 0.

    Raises:
        UsageError: fewer than two documents, no model in common, or ``fail_on`` with
            nothing that can be judged.
    """
    if len(documents) < 2:  # noqa: PLR2004 - a comparison
        raise UsageError(f"A comparison takes at least two reports, got {len(documents)}; add one.")
    first, *others = documents
    changes = [
        change
        for model in first.models
        for other in others
        if (partner := other.partner(model)) is not None
        for change in _changes(first, other, model, partner, fail_on=fail_on)
    ]
    _check_common(documents, changes, fail_on=fail_on)
    keys = [key for model in first.models for key in model.numbers]
    names = [model.name for model in first.models]
    changes.sort(key=lambda c: (*_place(c.metric, keys), names.index(c.model)))
    return Comparison(
        documents=tuple(_described(document, documents) for document in documents),
        facts=_differing_facts(documents),
        changes=tuple(changes),
        directional=tuple(dict.fromkeys(c.reason for c in changes if c.verdict == "directional")),
        noisy={one.label: one.origin.noisy for one in documents if one.origin.noisy},
        fail_on=fail_on,
    )


def _place(metric: str, keys: Sequence[str]) -> tuple[int, int]:
    base = metric.partition("@")[0].partition(".")[0]
    return _ORDER.index(base) if base in _ORDER else len(_ORDER), keys.index(metric)


def _changes(
    first: Evidence,
    other: Evidence,
    model: MeasuredModel,
    partner: MeasuredModel,
    *,
    fail_on: float | None,
) -> list[Change]:
    found = []
    for key, number in model.numbers.items():
        if key not in partner.numbers:
            continue
        second = partner.numbers[key]
        delta = delta_of(number, second)
        margin = _margin(first, other, number.unit) if delta.relative else 0.0
        reason = _not_alike(first, other, number.metric)
        reason = reason or _other_counters(first, other, number, second)
        verdict: Outcome = "directional" if reason else _verdict(number.metric, delta, margin)
        if verdict == "unjudged":
            reason = f"{number.metric} has no interval in one of {first.label} and {other.label}"
        is_noisy = number.unit in _DISTURBED and bool(first.origin.noisy or other.origin.noisy)
        found.append(
            Change(
                metric=key,
                model=model.name,
                document=other.label,
                other_model=partner.name,
                first=number,
                second=second,
                delta=delta,
                margin=margin,
                verdict=verdict,
                reason=reason,
                is_noisy=is_noisy,
                is_regression=verdict == "worse" and not is_noisy and _is_beyond(delta, fail_on),
            )
        )
    return found


def _margin(first: Evidence, other: Evidence, unit: str) -> float:
    """Return the ratio minus 1 that does not count; noise is in times and energies."""
    floor = max(first.origin.noise_floor, other.origin.noise_floor)
    return max(_PRACTICAL_MARGIN, floor if unit in _DISTURBED else 0.0)


def _verdict(metric: str, delta: Delta, margin: float) -> Outcome:
    if delta.ci95 is None:
        return "unjudged"
    low, high = delta.ci95
    # On log scale, so that the verdict is the same from either side.
    less = 1 / (1 + margin) - 1 if delta.relative else -margin
    if not (low > margin or high < less):
        return "same"
    if metric in COUNTS:
        return "different"
    is_more = low > margin
    return "better" if is_more == (metric in _HIGHER_IS_BETTER) else "worse"


def _is_beyond(delta: Delta, fail_on: float | None) -> bool:
    """Whether a change for the worse exceeds ``fail_on`` for sure."""
    if fail_on is None or delta.ci95 is None:
        return False
    low, high = delta.ci95
    return min(abs(low), abs(high)) > fail_on


def _not_alike(first: Evidence, other: Evidence, metric: str) -> str:
    """Return why a metric of two documents shows a direction only; empty where it is a fair one."""
    a, b = first.origin, other.origin
    labels = f"{first.label} and {other.label}"
    if a.model and b.model and a.model != b.model:
        return f"{labels} have different base models, {a.model_name} and {b.model_name}"
    base = metric.partition(".")[0]
    if base in _ON_REQUESTS and a.workload != b.workload:
        return f"{labels} were timed on different requests ({a.workload[:12]}, {b.workload[:12]})"
    if base in ("accuracy", "macro_f1", "perplexity", "nll", "answer_tokens") and a.task != b.task:
        return f"{labels} were scored on different data ({a.task[:12]}, {b.task[:12]})"
    return ""


def _other_counters(
    first: Evidence, other: Evidence, number: Measurement, second: Measurement
) -> str:
    """Return why two energies are not of the same counters; empty where they are.

    A census used for another machine's run puts words before the method, never after it.
    """
    counters = [one.method.rpartition("counters: ")[2] for one in (number, second)]
    if number.metric not in _ENERGY or counters[0] == counters[1]:
        return ""
    return f"{first.label} and {other.label} read other counters, {counters[0]} and {counters[1]}"


def _check_common(
    documents: Sequence[Evidence], changes: Sequence[Change], *, fail_on: float | None
) -> None:
    if not changes:
        names = "; ".join(
            f"{document.path!r} has {', '.join(model.name for model in document.models)}"
            for document in documents
        )
        raise UsageError(
            f"Reports are compared model by model, and these have no number of any model in"
            f" common: {names}. Compare reports of one kind."
        )
    if fail_on is not None and not any(
        change.verdict not in ("unjudged", "directional") for change in changes
    ):
        raise UsageError(
            f"--fail-on judges nothing here: {changes[0].reason}; compare reports that were taken"
            " alike, or leave --fail-on out."
        )


def _described(document: Evidence, documents: Sequence[Evidence]) -> ComparedDocument:
    first, *others = documents
    rest = others if document is first else [first]
    alone = [
        model.name
        for model in document.models
        if all(other.partner(model) is None for other in rest)
    ]
    return ComparedDocument(
        label=document.label,
        path=document.path,
        kind=document.origin.kind,
        created=document.origin.created,
        device=document.origin.device,
        unmatched=tuple(alone),
    )


def _differing_facts(documents: Sequence[Evidence]) -> tuple[FactRow, ...]:
    tables: list[Mapping[str, Any]] = [
        {
            "model": f"{document.origin.model_name} {document.origin.model[:12]}".strip(),
            "workload": document.origin.workload[:12],
            **document.origin.facts,
        }
        for document in documents
    ]
    names = dict.fromkeys(name for table in tables for name in table)
    return tuple(
        FactRow(
            name=name,
            values={
                document.label: table.get(name)
                for document, table in zip(documents, tables, strict=True)
            },
        )
        for name in names
        if any(table.get(name) != tables[0].get(name) for table in tables)
    )
