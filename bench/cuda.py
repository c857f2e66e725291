"""The demo on an NVIDIA GPU, from the hardware report to the tuned model, with every output kept.

    python -m bench.cuda --output DIR [--target cuda] [--budget 3m] [--max-latency 4ms]

Runs ``autotune hardware``, ``autotune census`` and a search one after the other, as their
user would, into DIR: ``hardware.json`` and ``census.json`` (with pages), ``run/`` and a log
of each, and prints what came out. Without a bound the search gets one between its recipes:
the geometric mean of the lowest and the highest 95th percentile of the census. Where there is
no CUDA it says so and ends with exit code 3; with 1 where a command failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from autotune.candidate import UNTRAINED
from autotune.reports import (
    HardwareReport,
    ReportedModel,
    load_hardware_report,
    load_report,
)
from autotune.targets import LocalExecutor, survey

_NO_CUDA = 3
_BOUNDED = "latency.p95"


def _autotune(output: Path, name: str, arguments: Sequence[str], *, fine: Sequence[int]) -> bool:
    """Run a command of autotune with its output in ``NAME.log``; say whether it went well.

    Args:
        output: folder of the log.
        name: of the command.
        arguments: of autotune.
        fine: exit codes that are answers.
    """
    log = output / f"{name}.log"
    began = time.perf_counter()
    with log.open("w", encoding="utf-8") as out:
        code = subprocess.call(
            [sys.executable, "-m", "autotune", *arguments], stdout=out, stderr=subprocess.STDOUT
        )
    print(f"{name}: exit code {code} after {time.perf_counter() - began:.1f} s", flush=True)
    if code not in fine:
        print(log.read_text(encoding="utf-8")[-3000:])
    return code in fine


def _describe(report: HardwareReport) -> None:
    if report.census is None:
        return
    print(f"{'recipe':34}{'p50 ms':>9}{'p95 ms':>9}{'device MB':>11}{'mJ':>9}{'size MB':>9}")
    for entry in report.census.entries:
        values = {name: found.value for name, found in entry.metrics.items()}
        columns = [
            f"{values[name] * scale:{width}.{digits}f}" if name in values else f"{'-':>{width}}"
            for name, scale, width, digits in (
                ("latency.p50", 1e3, 9, 2),
                (_BOUNDED, 1e3, 9, 2),
                ("device_memory", 1e-6, 11, 0),
                ("energy", 1e3, 9, 1),
                ("size", 1e-6, 9, 0),
            )
        ]
        print(f"{entry.recipe.name:34}{''.join(columns)}  {entry.status}")


def _bound(report: HardwareReport) -> str:
    """Return a latency between the fastest and the slowest recipe, as a flag's value.

    Empty where no recipe has a 95th percentile.
    """
    entries = report.census.entries if report.census else ()
    tails = [e.metrics[_BOUNDED].value for e in entries if _BOUNDED in e.metrics]
    return f"{(min(tails) * max(tails)) ** 0.5 * 1e3:.3g}ms" if tails else ""


def _describe_run(run: Path) -> None:
    report = load_report(run / "report.json")
    shown: list[tuple[str, ReportedModel | None]] = [
        ("chosen", report.chosen),
        (UNTRAINED, report.baseline),
    ]
    for word, model in shown:
        if model is not None:
            values = ", ".join(f"{name} {found.value:.4g}" for name, found in model.metrics.items())
            print(f"{word}: {model.name}: {values}")


def main() -> None:
    """Run the demo on a GPU."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--target", default="cuda", help="as for autotune; it must hold cuda")
    parser.add_argument("--recipes", nargs="*", default=[], help="of the census, * for any")
    parser.add_argument("--budget", default="3m", help="of the search")
    parser.add_argument("--max-latency", default="", help="of the search; by the census if empty")
    asked = parser.parse_args()
    with LocalExecutor() as executor:
        (cuda,) = (found for found in survey(executor) if found.family.name == "cuda")
    if cuda.target is None:
        print(f"There is no CUDA here: {cuda.reason}")
        raise SystemExit(_NO_CUDA)
    output: Path = asked.output
    output.mkdir(parents=True, exist_ok=True)

    def files(name: str) -> list[str]:
        return ["--output", str(output / f"{name}.json"), "--html", str(output / f"{name}.html")]

    target = ["--target", asked.target]
    only = [word for name in asked.recipes for word in ("--recipes", name)]
    went_well = _autotune(output, "hardware", ["hardware", *target, *files("hardware")], fine=[0])
    bound = asked.max_latency
    if _autotune(output, "census", ["census", *target, *only, *files("census")], fine=[0]):
        census = load_hardware_report(output / "census.json")
        _describe(census)
        bound = bound or _bound(census)
    else:
        went_well = False
    print(f"bound: {bound or 'none'}", flush=True)
    search = [*target, *(["--max-latency", bound] if bound else []), "--budget", asked.budget]
    if _autotune(output, "run", [*search, "--output", str(output / "run")], fine=[0, 1]):
        _describe_run(output / "run")
    else:
        went_well = False
    raise SystemExit(0 if went_well else 1)


if __name__ == "__main__":
    main()
