"""Just enough SVG for plots: scales with round ticks, axes, marks. Colours are CSS classes.

A plot is one stop of the keyboard; its marks are reached with the arrow keys, which the
page's script sees to. Series differ by shape and dashes as well as by colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = [
    "HEIGHT",
    "WIDTH",
    "Frame",
    "Scale",
    "fixed",
    "mark",
    "plot",
    "polyline",
    "shape",
    "word",
]

WIDTH, HEIGHT = 860, 380
_ROUND = (1.0, 2.0, 2.5, 5.0, 10.0)
_LOG_ROUND = (1.0, 2.0, 5.0)
_ROOM = 200  # pixels that the words of a limit take


def fixed(number: float) -> str:
    """Return a coordinate with a tenth of a pixel, which nobody can tell from more."""
    return f"{number:.1f}".removesuffix(".0")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Values to pixels, linear or logarithmic.

    Attributes:
        low, high: values at the two ends; above 0 for a logarithmic scale.
        start, stop: pixels there.
        is_log: equal ratios take equal room.
    """

    low: float
    high: float
    start: float
    stop: float
    is_log: bool = False

    @classmethod
    def around(
        cls, values: Sequence[float], *, start: float, stop: float, may_log: bool = False
    ) -> Scale:
        """Return a scale on which all ``values`` (at least one) lie with a margin.

        With ``may_log`` it is logarithmic where the largest is eight times the smallest.
        """
        low, high = min(values), max(values)
        if may_log and low > 0 and high >= 8 * low:
            return cls(low=low / 1.15, high=high * 1.15, start=start, stop=stop, is_log=True)
        margin = (high - low) * 0.06 or abs(high) * 0.06 or 1.0
        floor = 0.0 if low >= 0 else -math.inf
        return cls(low=max(floor, low - margin), high=high + margin, start=start, stop=stop)

    def __call__(self, value: float) -> float:
        """Return the pixel of ``value``."""
        turn: Callable[[float], float] = math.log if self.is_log else float
        share = (turn(value) - turn(self.low)) / (turn(self.high) - turn(self.low))
        return self.start + share * (self.stop - self.start)

    def ticks(self, wanted: int = 6) -> list[float]:
        """Return round values within the scale, about ``wanted`` of them.

        >>> Scale(low=0.03, high=0.21, start=0, stop=1).ticks(4)
        [0.05, 0.1, 0.15, 0.2]
        """
        if self.is_log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            every = [m * 10.0**e for e in range(first, last + 1) for m in _LOG_ROUND]
            return [value for value in every if self.low <= value <= self.high]
        rough = (self.high - self.low) / max(wanted, 1)
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(m * unit for m in _ROUND if m * unit >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first + 1
        return [round((first + number) * step, 12) for number in range(count)]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The two axes of a plot.

    Attributes:
        across, up: scales; ``up.start`` is the lower edge.
        across_title, up_title: words with the unit.
        across_text, up_text: a tick's value as text.
    """

    across: Scale
    up: Scale
    across_title: str
    up_title: str
    across_text: Callable[[float], str]
    up_text: Callable[[float], str]

    def limit(self, value: float, text: str, *, y: float) -> str:
        """Return a vertical line at ``value`` with its words at the height ``y``."""
        x = self.across(value)
        has_room = x - self.across.start > _ROOM
        beside = word(
            x - 6 if has_room else x + 6,
            y,
            text,
            anchor="end" if has_room else "start",
            kind="boundword",
        )
        return polyline([(x, self.up.start), (x, self.up.stop)], "bound") + beside

    def draw(self) -> str:
        """Return grid, ticks and titles."""
        left, right = self.across.start, self.across.stop
        bottom, top = self.up.start, self.up.stop
        parts = []
        for value in self.across.ticks():
            x = self.across(value)
            parts.append(_line("grid", x, bottom, x, top))
            parts.append(word(x, bottom + 18, self.across_text(value), anchor="middle"))
        for value in self.up.ticks(5):
            y = self.up(value)
            parts.append(_line("grid", left, y, right, y))
            parts.append(word(left - 8, y + 4, self.up_text(value), anchor="end"))
        parts.append(word((left + right) / 2, bottom + 40, self.across_title, anchor="middle"))
        parts.append(word(left, top - 10, self.up_title))
        return "".join(parts)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    ends = f'x1="{fixed(x1)}" y1="{fixed(y1)}" x2="{fixed(x2)}" y2="{fixed(y2)}"'
    return f'<line class="{kind}" {ends}/>'


def word(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "word") -> str:
    """Return ``text`` at a place."""
    place = f'x="{fixed(x)}" y="{fixed(y)}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(text)}</text>'


def polyline(points: Sequence[tuple[float, float]], kind: str) -> str:
    """Return connected points in pixels."""
    text = " ".join(f"{fixed(x)},{fixed(y)}" for x, y in points)
    return f'<polyline class="{kind}" points="{text}"/>'


def shape(name: str, x: float, y: float) -> str:
    """Return a mark's outline: ``circle``, ``square``, ``diamond``, ``triangle`` or ``cross``."""
    if name == "circle":
        return f'<circle cx="{fixed(x)}" cy="{fixed(y)}" r="5"/>'
    if name == "square":
        return f'<rect x="{fixed(x - 5)}" y="{fixed(y - 5)}" width="10" height="10"/>'
    paths = {
        "diamond": f"M{fixed(x)} {fixed(y - 9)}l8 9l-8 9l-8-9z",
        "triangle": f"M{fixed(x)} {fixed(y - 6)}l6 10h-12z",
        "cross": f"M{fixed(x - 4)} {fixed(y - 4)}l8 8m0-8l-8 8",
    }
    return f'<path d="{paths[name]}"/>'


def mark(content: str, *, kind: str, label: str, tip: str, command: str = "") -> str:
    """Return something that can be pointed at or focused.

    Args:
        content: SVG of it.
        kind: CSS classes.
        label: what it is, for a screen reader.
        tip: what is shown of it, a line each.
        command: that makes it again, offered for copying.
    """
    told = f' data-command="{escape(command)}"' if command else ""
    return (
        f'<g class="mark {kind}" role="img" tabindex="-1" aria-label="{escape(label)}"'
        f' data-tip="{escape(tip)}"{told}>{content}</g>'
    )


def plot(content: str, *, label: str, height: float = HEIGHT, hint: str = "") -> str:
    """Return a whole plot with the box that shows what is pointed at.

    Args:
        content: SVG.
        label: what the plot shows, for a screen reader.
        height: in pixels of a plot ``WIDTH`` wide.
        hint: what the box says before anything is pointed at; no box where it is empty.
    """
    box = f'<div class="tip" aria-live="polite"><p>{escape(hint)}</p></div>' if hint else ""
    reach = ' tabindex="0"' if hint else ""
    return (
        f'<figure class="plot"><div class="wide"><svg viewBox="0 0 {WIDTH} {fixed(height)}"'
        f' role="group" aria-label="{escape(label)}"{reach}>{content}</svg></div>{box}</figure>'
    )
