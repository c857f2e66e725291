"""Two panels as SVG, with nothing but text: searches done, and hyper-volume missing, by cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from .summary import REGRET_AT, MethodRuns, Summary

__all__ = ["write_plot"]

_COLOURS = ("#0b6e4f", "#c1121f", "#1d3557", "#e09f3e", "#7b2cbf", "#6c757d", "#0096c7", "#8d5524")
_WIDTH, _HEIGHT, _LEFT, _TOP = 420, 300, 60, 40
_FONT = 'font-family="sans-serif" font-size="12"'
_LOW, _HIGH = 0.5, 64.0  # trainings on the x axis, logarithmic
Line = Sequence[tuple[float, float]]


def write_plot(path: Path, runs: Mapping[str, MethodRuns], summaries: Sequence[Summary]) -> None:
    """Write both panels to ``path``, as a page where it ends in .html."""
    text = _svg(runs, summaries)
    if path.suffix == ".html":
        text = f'<!doctype html><meta charset="utf-8"><title>Replay</title>{text}'
    path.write_text(text, encoding="utf-8")


def _svg(runs: Mapping[str, MethodRuns], summaries: Sequence[Summary]) -> str:
    solved = {name: _solved_line(found) for name, found in runs.items()}
    regret = {s.name: [(at, s.regret[at][0]) for at in REGRET_AT] for s in summaries}
    bands = {s.name: [(at, *s.regret[at][1]) for at in REGRET_AT] for s in summaries}
    size = f'width="{2 * (_WIDTH + _LEFT) + 150}" height="{_HEIGHT + 100}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {_FONT} {size}>',
        '<rect width="100%" height="100%" fill="white"/>',
        _panel("share of searches at the target", solved, {}, offset=0),
        _panel("hyper-volume missing (mean, 95% interval)", regret, bands, offset=_WIDTH + _LEFT),
        *_legend(list(runs), x=2 * (_WIDTH + _LEFT) + 15),
        "</svg>",
    ]
    return "\n".join(parts)


def _solved_line(runs: MethodRuns) -> Line:
    reached = np.sort(np.where(runs.solved > 0, runs.cost, np.inf).ravel())
    shares = np.arange(1, len(reached) + 1) / len(reached)
    line = [(_LOW, 0.0)]
    for cost, share in zip(reached, shares, strict=True):
        if math.isfinite(cost):
            line += [(float(cost), line[-1][1]), (float(cost), float(share))]
    return [*line, (_HIGH, line[-1][1])]


def _x(trainings: float) -> float:
    share = math.log(min(max(trainings, _LOW), _HIGH) / _LOW) / math.log(_HIGH / _LOW)
    return _LEFT + share * _WIDTH


def _y(share: float) -> float:
    return _TOP + (1 - min(max(share, 0.0), 1.0)) * _HEIGHT


def _panel(
    title: str,
    lines: Mapping[str, Line],
    bands: Mapping[str, Sequence[tuple[float, float, float]]],
    *,
    offset: float,
) -> str:
    parts = [f'<g transform="translate({offset},0)">']
    parts.append(f'<text x="{_LEFT}" y="20" font-weight="bold">{escape(title)}</text>')
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(share)
        parts.append(f'<path d="M{_LEFT} {y:.1f}h{_WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{share:g}</text>')
    parts += [
        f'<text x="{_x(at):.1f}" y="{_TOP + _HEIGHT + 18}" text-anchor="middle">{at:g}</text>'
        for at in (0.5, 1, 2, 4, 8, 16, 32, 64)
    ]
    parts.append(
        f'<text x="{_LEFT + _WIDTH / 2}" y="{_TOP + _HEIGHT + 38}" text-anchor="middle">'
        "cost, in trainings of the best</text>"
    )
    for number, (name, line) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        if band := bands.get(name):
            edge = [(at, low) for at, low, _ in band] + [(at, high) for at, _, high in band[::-1]]
            parts.append(f'<path d="{_path(edge)}Z" fill="{colour}" opacity="0.12"/>')
        dash = ' stroke-dasharray="5 3"' if number >= len(_COLOURS) else ""
        parts.append(
            f'<path d="{_path(line)}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>'
        )
    parts.append("</g>")
    return "\n".join(parts)


def _path(line: Line) -> str:
    return "M" + "L".join(f"{_x(at):.1f} {_y(share):.1f}" for at, share in line)


def _legend(names: Sequence[str], *, x: float) -> list[str]:
    parts = []
    for number, name in enumerate(names):
        y, colour = _TOP + 10 + 18 * number, _COLOURS[number % len(_COLOURS)]
        parts.append(f'<path d="M{x} {y}h22" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(f'<text x="{x + 28}" y="{y + 4}">{escape(name)}</text>')
    return parts
