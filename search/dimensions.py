"""The dimensions of a search space: choices, and numbers spread in their logarithm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

__all__ = ["Choice", "Dimension", "LogRange", "Suggests", "Value", "distance"]

Value = str | int | float | None
_GRID_RATES = 5


class Suggests(Protocol):
    """The part of an Optuna trial that a space needs."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return one of ``choices``."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """Return a number in [low, high]."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of several values; ``when`` (dimension, value) makes it conditional."""

    name: str
    choices: tuple[Value, ...]
    when: tuple[str, Value] | None = None

    def suggest(self, trial: Suggests) -> Value:
        """Return what the trial picks."""
        value: Value = trial.suggest_categorical(self.name, self.choices)
        return value

    def draw(self, random: Random) -> Value:
        """Return a value drawn evenly."""
        return random.choice(self.choices)

    def grid(self) -> tuple[Value, ...]:
        """Return every value."""
        return self.choices

    def holds(self, value: Value) -> bool:
        """Whether ``value`` is one of the choices."""
        return value in self.choices


@dataclass(frozen=True, kw_only=True)
class LogRange:
    """A number in [low, high], evenly spread in its logarithm."""

    name: str
    low: float
    high: float
    when: tuple[str, Value] | None = None

    def suggest(self, trial: Suggests) -> Value:
        """Return what the trial picks."""
        return trial.suggest_float(self.name, self.low, self.high, log=True)

    def draw(self, random: Random) -> Value:
        """Return a value drawn evenly in the logarithm, three digits kept."""
        return self._rounded(math.exp(random.uniform(math.log(self.low), math.log(self.high))))

    def near(self, value: float, random: Random) -> float:
        """Return a value drawn around ``value``, three digits kept."""
        sd = math.log(self.high / self.low) / 6
        return self._rounded(value * math.exp(random.gauss(0, sd)))

    def grid(self) -> tuple[Value, ...]:
        """Return five values from end to end."""
        step = math.log(self.high / self.low) / (_GRID_RATES - 1)
        return tuple(self._rounded(self.low * math.exp(i * step)) for i in range(_GRID_RATES))

    def holds(self, value: Value) -> bool:
        """Whether ``value`` lies within."""
        return not isinstance(value, str | None) and self.low <= value <= self.high

    def _rounded(self, value: float) -> float:
        return min(self.high, max(self.low, float(f"{value:.3g}")))


Dimension = Choice | LogRange


def distance(one: Value, two: Value) -> float:
    """Return how far two values are apart: 1 is another word, or an e-fold of a number."""
    if isinstance(one, str | None) or isinstance(two, str | None):
        return float(one != two)
    return abs(math.log(one / two))
