"""Command line of the replays; see the package."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from autotune.errors import AutotuneError
from autotune.search import Experience, derive_seed

from . import plain
from .lessons import PRIORS, experiences
from .planned import planned, settings_for
from .plot import write_plot
from .problem import Problem
from .summary import REGRET_AT, MethodRuns, Summary, summarise
from .table import parse_limit, problems_of, read_rows
from .trace import Goal, Trace

Method = Callable[[Goal, int, float], Trace]
METHODS = ("planner", "fixed", "grid", "tpe", "nsgaii", "random")
_CACHED = "+cache"
_DEFAULT_METHODS = (
    "planner,fixed,grid,tpe,tpe+cache,nsgaii,nsgaii+cache,random,random+cache"  # one argument
)


def _planner(problems: Sequence[Problem], *, prior: str, sampler: str) -> Method:
    known: dict[int, dict[str | None, Experience | None]] = {}

    def run(goal: Goal, seed: int, cap_s: float) -> Trace:
        key = seed if prior == "shuffled" else 0
        if prior != "default" and key not in known:
            known[key] = experiences(problems, prior=prior, seed=key)
        experience = None if prior == "default" else known[key][goal.problem.family]
        own = _own_seed(goal, seed)
        settings = settings_for(goal, seed=own, experience=experience, sampler=sampler)
        return planned(goal, settings, cap_s=cap_s)

    return run


def method_of(name: str, problems: Sequence[Problem], *, prior: str, sampler: str) -> Method:
    """Return the method called ``name``; ``+cache`` keeps trainings."""
    base = name.removesuffix(_CACHED)
    if base == "planner":
        return _planner(problems, prior=prior, sampler=sampler)
    searches = {
        "fixed": plain.fixed_list,
        "grid": plain.grid,
        "tpe": plain.tpe,
        "nsgaii": plain.nsgaii,
        "random": plain.random,
    }
    # The fixed list is no naive search: it trains each of its configs once.
    cached = name.endswith(_CACHED) or base == "fixed"
    search = partial(searches[base], cached=cached)
    return lambda goal, seed, cap_s: search(goal, seed=_own_seed(goal, seed), cap_s=cap_s)


def _own_seed(goal: Goal, seed: int) -> int:
    """Return a seed of the problem's own, so that problems do not share the luck of a draw."""
    return derive_seed(goal.problem.name, seed)


def compare(
    goals: Sequence[Goal], methods: dict[str, Method], *, seeds: int, cap: float
) -> dict[str, MethodRuns]:
    """Run every method on every goal with every seed."""
    found = {}
    for name, method in methods.items():
        traces = []
        for goal in goals:
            cap_s = cap * goal.training_s
            traces.append(tuple(method(goal, seed, cap_s) for seed in range(seeds)))
        found[name] = MethodRuns(name=name, goals=tuple(goals), traces=tuple(traces))
        print(f"{name}: done", file=sys.stderr, flush=True)
    return found


def table_of(summaries: Sequence[Summary]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| method | solved | ERT [95%] | median | p90 | regret at 2 [95%] | at 8 [95%] | wasted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for s in summaries:
        two, eight = s.regret[2.0], s.regret[8.0]
        lines.append(
            f"| {s.name} | {s.solved:.0%} | {s.ert:.2f} {_span(s.ert_ci)} | {s.median:.2f}"
            f" | {s.p90:.2f} | {two[0]:.3f} {_span(two[1], 3)} | {eight[0]:.3f}"
            f" {_span(eight[1], 3)} | {s.wasted:.2f} {_span(s.wasted_ci)} |"
        )
    return "\n".join(lines)


def _span(interval: tuple[float, float], digits: int = 2) -> str:
    return f"[{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay, print, write."""
    options = _options(arguments)
    rows = read_rows(options.table)
    limits = tuple(parse_limit(text, rows[0]) for text in options.limit)
    problems = problems_of(rows)
    goals = [goal for p in problems if (goal := Goal.of(p, limits, options.gap))]
    if not goals:
        print("No candidate of the table meets the limits.", file=sys.stderr)
        return 1
    methods = {
        name: method_of(name, problems, prior=options.prior, sampler=options.sampler)
        for name in options.methods.split(",")
    }
    runs = compare(goals, methods, seeds=options.seeds, cap=options.cap)
    summaries = [summarise(found) for found in runs.values()]
    good = sum(goal.n_good for goal in goals) / sum(goal.n_all for goal in goals)
    print(f"{len(goals)} problems, {options.seeds} seeds, prior: {options.prior};")
    print(f"{good:.1%} of all candidates are within {options.gap:.2%} of the best feasible loss")
    print(table_of(summaries))
    if options.json:
        document = _document(options, goals, runs, summaries)
        options.json.write_text(json.dumps(document, indent=1), encoding="utf-8")
    for path in options.plot:
        write_plot(path, runs, summaries)
    return 0


def _document(
    options: argparse.Namespace,
    goals: Sequence[Goal],
    runs: dict[str, MethodRuns],
    summaries: Sequence[Summary],
) -> dict[str, object]:
    return {
        "table": options.table.name,
        "limits": options.limit,
        "gap": options.gap,
        "seeds": options.seeds,
        "prior": options.prior,
        "sampler": options.sampler,
        "cap_trainings": options.cap,
        "problems": [
            {
                "name": goal.problem.name,
                "family": goal.problem.family,
                "best_loss": goal.best_loss,
                "training_s": goal.training_s,
                "within_gap": goal.n_good,
                "candidates": goal.n_all,
                "cost_trainings": {
                    name: [round(float(value), 4) for value in found.cost[number]]
                    for name, found in runs.items()
                },
                "solved": {
                    name: [bool(value) for value in found.solved[number]]
                    for name, found in runs.items()
                },
            }
            for number, goal in enumerate(goals)
        ],
        "methods": [summary.to_json() for summary in summaries],
        "regret_at": list(REGRET_AT),
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.search")
    parser.add_argument("--table", type=Path, required=True, help="csv or parquet")
    parser.add_argument("--limit", action="append", default=[], metavar="m_METRIC=NUMBER")
    parser.add_argument("--gap", type=_share, default=0.005, help="e.g. 0.5%% (the default)")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--cap", type=float, default=100.0, help="trainings' worth per search")
    parser.add_argument("--prior", choices=PRIORS, default="default", help="of the planner")
    parser.add_argument("--sampler", default="tpe", help="of the planner")
    parser.add_argument("--methods", default=_DEFAULT_METHODS, help="comma list")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, action="append", default=[], help=".svg or .html")
    options = parser.parse_args(arguments)
    unknown = [m for m in options.methods.split(",") if m.removesuffix(_CACHED) not in METHODS]
    if unknown or options.seeds < 1:
        parser.error(f"unknown methods {unknown}, known: {', '.join(METHODS)}, each {_CACHED}")
    if bad := [str(path) for path in options.plot if path.suffix not in (".svg", ".html")]:
        parser.error(f"a plot is an .svg or .html file, got {bad}")
    return options


def _share(text: str) -> float:
    value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"a share between 0 and 100%, got {text!r}")
    return value


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AutotuneError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
