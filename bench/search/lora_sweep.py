"""Turns the public sweep of LoRA fine-tunings (35 models, rate x rank) into a replay table.

    python -m bench.search.lora_sweep SWEEP.csv TABLE.csv [--notes SWEEP.md]

Source: tinker-cookbook's SFT sweep (Apache-2.0), columns model, batch, lr, rank, test_nll,
train_nll, wall_min. It has final losses only, so the table has the single rung 1 and every
training is paid whole. It has no recipes: one stands for all, costs nothing to build and has
no metrics. Wall times depended on the load of the servers (the source says so, and they vary
fivefold within a model), so a training costs its model's median; ``--cost wall`` keeps them.

Runs with a loss above 2 nats diverged: they have a cost and no loss. The csv leaves them
out; with ``--notes`` they are read from the source's notes, where those are unambiguous.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

__all__ = ["FAMILIES", "Size", "convert", "diverged_runs", "family_of", "main", "size_of"]

_DIVERGED = 2.0  # nats, the source's own line
# Makers' lines, widest first match; base, instruct and thinking siblings and all sizes of a
# line know of each other, so they are left out together. ``generation`` parts Qwen once more.
FAMILIES: Mapping[str, Mapping[str, str]] = {
    "line": {
        "Qwen/Qwen3": "Qwen3.x",
        "meta-llama/Llama-3": "Llama-3.x",
        "deepseek-ai/DeepSeek-V3": "DeepSeek-V3",
        "moonshotai/Kimi-K2": "Kimi-K2",
        "nvidia/NVIDIA-Nemotron-3": "Nemotron-3",
        "openai/gpt-oss": "gpt-oss",
    },
    "generation": {
        "Qwen/Qwen3.6": "Qwen3.5/3.6",
        "Qwen/Qwen3.5": "Qwen3.5/3.6",
        "Qwen/Qwen3": "Qwen3",
        "meta-llama/Llama-3": "Llama-3.x",
        "deepseek-ai/DeepSeek-V3": "DeepSeek-V3",
        "moonshotai/Kimi-K2": "Kimi-K2",
        "nvidia/NVIDIA-Nemotron-3": "Nemotron-3",
        "openai/gpt-oss": "gpt-oss",
    },
}
# Weights in billions, from the model cards, where the name does not say them.
_BILLIONS = {"deepseek-ai/DeepSeek-V3": 671.0, "moonshotai/Kimi-K2": 1000.0}
_NOTE = re.compile(r"(\d+) run\(s\) diverged .* at lr=\{([^}]*)\} with rank=\{([^}]*)\}")


def family_of(model: str, level: str = "line") -> str:
    """Return the family that ``model`` is left out with.

    Raises:
        ValueError: no family is known; add it rather than let it leak.
    """
    for prefix, family in FAMILIES[level].items():
        if model.startswith(prefix):
            return family
    raise ValueError(f"no family is known for {model!r}; add it to FAMILIES")


def size_of(model: str) -> float:
    """Return the number of weights in ``model``, all experts included."""
    for prefix, billions in _BILLIONS.items():
        if model.startswith(prefix):
            return billions * 1e9
    found = re.search(r"(\d+(?:\.\d+)?)[bB](?![a-zA-Z0-9])", model)
    if found is None:
        raise ValueError(f"the name of {model!r} does not say its size; add it to _BILLIONS")
    return float(found[1]) * 1e9


@dataclass(frozen=True, kw_only=True)
class Size:
    """A learning rate and a rank."""

    rate: float
    rank: int


def diverged_runs(notes: str, known: Mapping[str, set[Size]]) -> dict[str, set[Size]]:
    """Return the runs that the notes name as diverged, by model.

    ``known`` are the finished ones. Only where the rates and ranks of a note, without the
    finished ones, are exactly as many as it counts.
    """
    found: dict[str, set[Size]] = {}
    for section in re.split(r"^## ", notes, flags=re.MULTILINE)[1:]:
        model = section.partition("\n")[0].strip()
        note = _NOTE.search(section)
        if model not in known or note is None:
            continue
        rates, ranks = note[2].split(","), note[3].split(",")
        named = {Size(rate=float(a), rank=int(b)) for a, b in itertools.product(rates, ranks)}
        named -= known[model]
        if len(named) == int(note[1]):
            found[model] = named
    return found


def convert(
    rows: Sequence[Mapping[str, str]], *, notes: str = "", cost: str = "median", level: str = "line"
) -> list[dict[str, object]]:
    """Return the rows of the table; runs that were repeated count with their mean loss."""
    runs: dict[str, dict[Size, list[tuple[float, float]]]] = {}
    for row in rows:
        size = Size(rate=float(row["lr"]), rank=int(row["rank"]))
        values = (float(row["test_nll"]), 60 * float(row["wall_min"]))
        runs.setdefault(row["model"], {}).setdefault(size, []).append(values)
    extra = diverged_runs(notes, {model: set(found) for model, found in runs.items()})
    table: list[dict[str, object]] = []
    for model, by_size in runs.items():
        typical = median(wall for found in by_size.values() for _, wall in found)
        losses = {size: fmean(nll for nll, _ in found) for size, found in by_size.items()}
        for size in sorted({*by_size, *extra.get(model, ())}, key=lambda s: (s.rate, s.rank)):
            nll = losses.get(size)
            has_diverged = nll is None or not nll <= _DIVERGED
            walls = [wall for _, wall in by_size.get(size, [])]
            table.append(
                {
                    "instance": model,
                    "family": family_of(model, level),
                    "parameters": size_of(model),
                    "x_lr": size.rate,
                    "x_rank": size.rank,
                    "recipe": "as trained",
                    "rung": 1.0,
                    "status": "diverged" if has_diverged else "measured",
                    "cost_train_s": median(walls) if walls and cost == "wall" else typical,
                    "cost_build_s": 0.0,
                    "loss": "" if has_diverged else nll,
                }
            )
    return table


def main() -> None:
    """Read, convert, write, and say what there is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--notes", type=Path, help="the source's SWEEP.md, for diverged runs")
    parser.add_argument("--cost", choices=("median", "wall"), default="median")
    parser.add_argument("--family", choices=tuple(FAMILIES), default="line")
    arguments = parser.parse_args()
    with arguments.sweep.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    notes = arguments.notes.read_text(encoding="utf-8") if arguments.notes else ""
    table = convert(rows, notes=notes, cost=arguments.cost, level=arguments.family)
    with arguments.table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    diverged = sum(row["status"] == "diverged" for row in table)
    print(
        f"{len({row['instance'] for row in table})} models in"
        f" {len({row['family'] for row in table})} families, {len(table)} configs,"
        f" {diverged} of them diverged"
    )


if __name__ == "__main__":
    main()
