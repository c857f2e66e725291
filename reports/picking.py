"""Which model to take to which machine: the best of each report under the same bounds.

Cost must pass for sure; bounds on quality are met by the estimate and not failed by
the interval, as in a search. Of models within one percentage point of the most
accurate, or of plain text one per cent of the least perplexity, the cheaper is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Group
from rich.text import Text

from autotune.constraint import Constraint, Verdict
from autotune.errors import UsageError
from autotune.measurement import Measurement
from autotune.units import format_fraction, format_quantity

from .comparison_table import number_text
from .evidence import Evidence, MeasuredModel

__all__ = [
    "JudgedBound",
    "Pick",
    "Picked",
    "Picking",
    "check_measured",
    "pick",
    "picking_view",
]

_QUALITY = ("accuracy", "macro_f1", "perplexity")
# As in the search's choice: within a point of accuracy (a per cent of a perplexity), and 2 % of
# size, models are equal. A tolerance for rounding: 0.97 - 0.96 is 0.010000000000000009.
_EQUAL = 0.01 + 1e-9
_SMALLER = 0.98
_LATENCIES = ("latency.p95", "latency.p90", "latency.p50")


@dataclass(frozen=True, kw_only=True)
class JudgedBound:
    """A bound on a model: its text, the number it was judged by, and the verdict.

    ``number`` and ``verdict`` are null where the metric was not measured.
    """

    bound: str
    number: Measurement | None
    verdict: Verdict | None


@dataclass(frozen=True, kw_only=True)
class Picked:
    """A model with the verdict on every bound.

    Attributes:
        name: ``training/recipe``.
        accuracy: on the validation split, else on the test split, or null.
        perplexity: of plain text, from the same split; it ranks where all have it.
        latency: its highest published percentile, or null.
        size: on disk, or null.
        bounds: in the order asked for.
    """

    name: str
    accuracy: Measurement | None
    perplexity: Measurement | None
    latency: Measurement | None
    size: Measurement | None
    bounds: tuple[JudgedBound, ...]

    @property
    def loss(self) -> float:
        """What is made small: the perplexity, or the negative accuracy; infinite without either."""
        if self.perplexity is not None:
            return self.perplexity.value
        return -self.accuracy.value if self.accuracy else math.inf

    def behind(self, best: Picked) -> float:
        """Return how much worse this is: points of accuracy, or the share of a perplexity."""
        if self.perplexity is not None and best.perplexity is not None:
            return self.perplexity.value / best.perplexity.value - 1
        return 0.0 if self.loss == best.loss else self.loss - best.loss


@dataclass(frozen=True, kw_only=True)
class Pick:
    """The answer for one report.

    Attributes:
        label: of the report.
        path: of the report.
        device: the machine in a few words.
        picked: the model to take, or null.
        nearest_miss: with ``picked`` null, the model with the least total violation
            among those measured on every bound, or null.
        candidates: models of the report.
        feasible: those that meet every bound.
        reason: why, in a sentence or two.
    """

    label: str
    path: str
    device: str
    picked: Picked | None
    nearest_miss: Picked | None
    candidates: int
    feasible: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Picking:
    """One answer per report; ``notes`` say how far they can be put side by side."""

    schema: Literal["autotune.picking"] = "autotune.picking"
    schema_version: Literal["1.1"] = "1.1"
    constraints: tuple[Constraint, ...]
    picks: tuple[Pick, ...]
    notes: tuple[str, ...] = ()


def pick(documents: Sequence[Evidence], constraints: Sequence[Constraint]) -> Picking:
    """Return the best model of each document under ``constraints`` (none: the best at all)."""
    return Picking(
        constraints=tuple(constraints),
        picks=tuple(_pick_one(document, constraints) for document in documents),
        notes=tuple(_notes(documents, constraints)),
    )


def check_measured(documents: Sequence[Evidence], constraints: Sequence[Constraint]) -> None:
    """Refuse bounds that no model of a document has a number for.

    Raises:
        UsageError: such a bound; the document's own reason is passed on.
    """
    for document in documents:
        for bound in constraints:
            if any(_number(model, bound.metric) for model in document.models):
                continue
            base = bound.metric.partition(".")[0]
            gaps = [model.unmeasured[base] for model in document.models if base in model.unmeasured]
            known = dict.fromkeys(key for model in document.models for key in model.numbers)
            told = gaps[0] if gaps else f"it has {', '.join(known)}"
            raise UsageError(
                f"{bound} cannot be judged by {document.path!r}, which has no {bound.metric}"
                f" ({told}); leave the bound out, or take that report where it can be measured."
            )


def _number(model: MeasuredModel, metric: str) -> Measurement | None:
    """Return what a bound is judged by: of answers the test split where it was scored."""
    for key in (metric, f"{metric}@test", f"{metric}@validation"):
        if key in model.numbers:
            return model.numbers[key]
    return None


def _seen(model: MeasuredModel, metric: str) -> Measurement | None:
    """Return what models are ranked by: the best of test scores would spend the test split."""
    return model.numbers.get(f"{metric}@validation") or _number(model, metric)


def _judged(model: MeasuredModel, constraints: Sequence[Constraint]) -> Picked:
    numbers = {bound: _number(model, bound.metric) for bound in constraints}
    latency = next((model.numbers[key] for key in _LATENCIES if key in model.numbers), None)
    return Picked(
        name=model.name,
        accuracy=_seen(model, "accuracy"),
        perplexity=_seen(model, "perplexity"),
        latency=latency,
        size=model.numbers.get("size"),
        bounds=tuple(
            JudgedBound(
                bound=str(bound),
                number=number,
                verdict=bound.verdict(number) if number else None,
            )
            for bound, number in numbers.items()
        ),
    )


def _is_met(bound: Constraint, judged: JudgedBound) -> bool:
    if bound.metric in _QUALITY and judged.number is not None:
        meets = bound.normalized(judged.number.value) <= 0
        return meets and judged.verdict is not Verdict.FAIL
    return judged.verdict is Verdict.PASS


def _pick_one(document: Evidence, constraints: Sequence[Constraint]) -> Pick:
    models = [_judged(model, constraints) for model in document.models]
    fit = [m for m in models if all(map(_is_met, constraints, m.bounds))]
    if fit:
        best = _best(fit)
        reason, miss = _why(best, fit, models, constraints), None
    else:
        best, miss = None, _nearest(models, constraints)
        reason = _why_none(miss, models)
    return Pick(
        label=document.label,
        path=document.path,
        device=document.origin.device,
        picked=best,
        nearest_miss=miss,
        candidates=len(models),
        feasible=len(fit),
        reason=reason,
    )


def _cost(model: Picked) -> tuple[float, float, str]:
    latency = model.latency.value if model.latency else math.inf
    return latency, model.size.value if model.size else math.inf, model.name


def _best(models: Sequence[Picked]) -> Picked:
    """Return the most accurate, or an equal one that is cheaper; then the fastest."""
    ranked = sorted(models, key=lambda model: (model.loss, *_cost(model)))
    top = best = ranked[0]
    for model in ranked[1:]:
        if model.behind(top) <= _EQUAL and _is_cheaper(model, best):
            best = model
    return best


def _is_cheaper(model: Picked, other: Picked) -> bool:
    """Whether the latency interval lies below, or where they meet, the size by 2 %."""
    if model.latency and other.latency:
        low, high = model.latency.ci95 or (model.latency.value,) * 2
        other_low, other_high = other.latency.ci95 or (other.latency.value,) * 2
        if high < other_low or low > other_high:
            return high < other_low
    return bool(model.size and other.size and model.size.value < _SMALLER * other.size.value)


def _violation(model: Picked, constraints: Sequence[Constraint]) -> float:
    """Return the sum of normalised violations by the estimates, at least 0."""
    return sum(
        max(0.0, bound.normalized(judged.number.value))
        for bound, judged in zip(constraints, model.bounds, strict=True)
        if judged.number
    )


def _nearest(models: Sequence[Picked], constraints: Sequence[Constraint]) -> Picked | None:
    measured = [m for m in models if all(bound.number for bound in m.bounds)]
    key = lambda m: (_violation(m, constraints), m.loss, *_cost(m))  # noqa: E731 - a sort key
    return min(measured, key=key, default=None)


def _facts(model: Picked) -> str:
    """Return ``accuracy 0.940, latency.p95 48.2 ms [47.1, 50.3], size 117 MB``."""
    parts = [_quality_text(model)] if model.loss < math.inf else []
    parts += [f"{n.metric} {number_text(n)}" for n in (model.latency, model.size) if n]
    return ", ".join(parts)


def _quality_text(model: Picked) -> str:
    if model.perplexity is not None:
        return f"perplexity {number_text(model.perplexity)}"
    return f"accuracy {format_fraction(-model.loss)}"


def _excess(bound: JudgedBound, constraint: Constraint) -> str:
    """Return how a bound is missed: ``latency.p95 130 ms, 30 % over 100 ms``."""
    number = bound.number
    if number is None:
        return f"{constraint.metric} was not measured"
    text = f"{constraint.metric} {number_text(number)}"
    limit = format_quantity(constraint.bound, constraint.unit)
    if bound.verdict is Verdict.UNCERTAIN:
        return f"{text} spans {limit}"
    way = "over" if constraint.op == "<=" else "under"
    if constraint.unit == "1":
        return f"{text}, {format_fraction(abs(number.value - constraint.bound))} {way} {limit}"
    return f"{text}, {abs(number.value / constraint.bound - 1) * 100:.0f} % {way} {limit}"


def _why(
    best: Picked, fit: Sequence[Picked], models: Sequence[Picked], constraints: Sequence[Constraint]
) -> str:
    meeting = f"{len(fit)} of {len(models)} models meet the bounds" if constraints else ""
    meeting = meeting or f"no bounds, {len(models)} models"
    top = min(fit, key=lambda model: model.loss)
    if best.loss == math.inf:
        rank = "the fastest (no accuracy was measured)"
    elif len(fit) == 1:
        rank = "the only one"
    elif best.loss <= top.loss:
        rank = "the most accurate" if best.perplexity is None else "the least perplexed"
    else:
        lead = "a point more accurate" if best.perplexity is None else "a per cent less perplexed"
        rank = f"cheaper than {top.name}, which is at most {lead}"
    unsure = [
        _excess(judged, bound)
        for judged, bound in zip(best.bounds, constraints, strict=True)
        if judged.verdict is Verdict.UNCERTAIN
    ]
    note = f" By its estimate only: {'; '.join(unsure)}." if unsure else ""
    lost = _better_outside(best, fit, models, constraints)
    return f"{rank} ({meeting}): {_facts(best)}.{note}{lost}"


def _better_outside(
    best: Picked, fit: Sequence[Picked], models: Sequence[Picked], constraints: Sequence[Constraint]
) -> str:
    """Return the most accurate model that the bounds cost, and which of them."""
    lost = [m for m in models if m not in fit and best.behind(m) > _EQUAL]
    if not lost:
        return ""
    top = min(lost, key=lambda model: model.loss)
    return f" {top.name} is better ({_quality_text(top)}) but {_misses(top, constraints)}."


def _misses(model: Picked, constraints: Sequence[Constraint]) -> str:
    return "; ".join(
        _excess(judged, bound)
        for judged, bound in zip(model.bounds, constraints, strict=True)
        if not _is_met(bound, judged)
    )


def _why_none(miss: Picked | None, models: Sequence[Picked]) -> str:
    if miss is None:
        unmeasured = dict.fromkeys(
            judged.bound for model in models for judged in model.bounds if judged.number is None
        )
        return (
            f"none of {len(models)} models was measured on every bound ({', '.join(unmeasured)})."
        )
    return f"none of {len(models)} models meets every bound for sure."


def _notes(documents: Sequence[Evidence], constraints: Sequence[Constraint]) -> list[str]:
    origins = [document.origin for document in documents]
    notes = []
    is_timed = any(b.metric.partition(".")[0] in ("latency", "ttft", "tpot") for b in constraints)
    if is_timed and len({origin.workload for origin in origins}) > 1:
        notes.append("The reports time different requests; each bound holds for its report's own.")
    if len({origin.model for origin in origins if origin.model}) > 1:
        notes.append("The reports are about different base models.")
    return notes


def picking_view(picking: Picking) -> Group:
    """Return one paragraph per report, and for one without a model the nearest miss."""
    lines: list[Text] = []
    for one in picking.picks:
        lines.append(Text.assemble((f"{one.label}  ", "bold"), f"{one.path}: {one.device}"))
        if one.picked is not None:
            lines.append(Text.assemble("   Take ", (one.picked.name, "bold green")))
            lines.append(_prose(f"   {one.reason[:1].upper()}{one.reason[1:]}"))
        else:
            lines.append(Text.assemble("   ", ("No model", "bold red"), f": {one.reason}"))
            if one.nearest_miss is not None:
                miss = _misses(one.nearest_miss, picking.constraints)
                lines.append(_prose(f"   Nearest miss: {one.nearest_miss.name}, {miss}."))
        lines.append(Text())
    return Group(*lines, *map(Text, picking.notes))


def _prose(text: str) -> Text:
    return Text(text, no_wrap=False, overflow="fold")
