"""The models that nothing beats so far, as a few lines beneath the live line of a run.

Built from the events alone. A trained model has the times of the untrained one that is built
alike until it is measured itself: training does not change them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autotune.candidate import Candidate
from autotune.measurement import Measurement
from autotune.steps import Event, MeasureStep, ScoreStep
from autotune.units import format_quantity

__all__ = ["FrontSoFar"]

_TIME = "latency.p95"
# Quality by its metric, the first that a model has; of perplexity less is better.
_QUALITIES = {"perplexity": -1.0, "accuracy": 1.0}


@dataclass(frozen=True, kw_only=True)
class _Model:
    """A scored model: ``quality`` is better the larger it is, ``seconds`` infinite if unknown."""

    metric: str
    quality: float
    seconds: float
    shown: tuple[str, ...]

    def beats(self, other: _Model) -> bool:
        """Whether it is nowhere worse than ``other``, and somewhere better."""
        nowhere_worse = self.quality >= other.quality and self.seconds <= other.seconds
        return nowhere_worse and (self.quality, self.seconds) != (other.quality, other.seconds)


class FrontSoFar:
    """Takes events and tells what nothing beats in quality and time."""

    def __init__(self) -> None:
        self._candidates: dict[str, Candidate] = {}
        self._found: dict[str, dict[str, Measurement]] = {}

    def take(self, event: Event) -> None:
        """Learn from an event what it measured."""
        candidates: tuple[Candidate, ...] = ()
        if isinstance(event.step, ScoreStep):
            candidates = (event.step.candidate,)
        elif isinstance(event.step, MeasureStep):
            candidates = tuple(event.step.candidates)
        for candidate in candidates:
            measured = event.outcome.measurements.get(candidate.name)
            if measured:
                self._candidates[candidate.name] = candidate
                self._found.setdefault(candidate.name, {}).update(measured)

    def lines(self, *, most: int = 5) -> list[str]:
        """Return a heading and the best models, best quality first; nothing before a score."""
        models = list(self._models())
        front = [one for one in models if not any(other.beats(one) for other in models)]
        if not front:
            return []
        rows = [
            (front[0].metric, "p95", "size", "best so far"),
            *(one.shown for one in sorted(front, key=lambda one: -one.quality)[:most]),
        ]
        widths = [max(len(row[place]) for row in rows) for place in range(3)]
        return [
            "  ".join([*(text.rjust(w) for text, w in zip(row, widths, strict=False)), row[3]])
            for row in rows
        ]

    def _models(self) -> Iterator[_Model]:
        for name, candidate in self._candidates.items():
            found = {**self._alike(candidate), **self._found[name]}
            quality = next((metric for metric in _QUALITIES if metric in self._found[name]), None)
            if quality is None:
                continue
            numbers = [found.get(metric) for metric in (quality, _TIME, "size")]
            timed = numbers[1]
            yield _Model(
                metric=quality,
                quality=_QUALITIES[quality] * self._found[name][quality].value,
                seconds=timed.value if timed is not None else math.inf,
                shown=(*map(_text, numbers), name),
            )

    def _alike(self, candidate: Candidate) -> Mapping[str, Measurement]:
        """Return what the untrained model of the same recipe showed."""
        untrained = Candidate(adapter=None, fraction=0, recipe=candidate.recipe)
        return self._found.get(untrained.name, {})


def _text(number: Measurement | None) -> str:
    return "-" if number is None else format_quantity(number.value, number.unit)
