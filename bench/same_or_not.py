"""How often equal models are called different (A/A), and whether unequal ones are told apart.

    python -m bench.same_or_not MODEL_DIR [--other MODEL_DIR] [--names 10] [--rounds 8] [--json OUT]

The model is timed under several names in one interleaved session, on random prompts;
every pair of names is an A/A comparison. With ``--other`` a second model is timed in the
same rounds and compared with each name, after every round: each name is then one more
trial of how soon the two are told apart, and a pair costs two models' share of the time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from autotune.evaluators import (
    MINIMUM_ROUNDS,
    BlockSettings,
    BuiltModel,
    RowSet,
    compare_latency,
    make_workload,
    measure_latency,
)
from autotune.targets import LocalExecutor
from autotune.task import EvaluationRow

_PER_BLOCK = 16
_WORDS = "the of and to in for is on that by this with you it not or be are from at as your all"


def random_prompts(model_dir: Path, *, words: int, new_tokens: int) -> RowSet:
    """Return 64 prompts of random common words; random letters would not survive a tokenizer."""
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    random = np.random.default_rng(0)
    vocabulary = _WORDS.split()
    rows = []
    for _ in range(64):
        text = " ".join(random.choice(vocabulary, size=words))
        ids = tuple(tokenizer.encode(text).ids)
        rows.append(
            EvaluationRow(prompt=text, prompt_ids=ids, reference="", answer_ids=ids[:new_tokens])
        )
    return RowSet(
        kind="generation",
        rows=tuple(rows),
        max_new_tokens=new_tokens,
    )


def main() -> None:
    """Measure, compare, print."""
    arguments = _arguments()
    names = [f"same-{number}" for number in range(arguments.names)]
    models = [BuiltModel(name=name, path=arguments.model, provider="cpu") for name in names]
    if arguments.other:
        models.append(BuiltModel(name="other", path=arguments.other, provider="cpu"))
    workload = make_workload(random_prompts(arguments.model, words=24, new_tokens=2), n=64, seed=0)
    began = time.monotonic()
    with LocalExecutor() as executor:
        found = measure_latency(
            models,
            workload,
            rounds=arguments.rounds,
            requests_per_block=_PER_BLOCK,
            seed=0,
            executor=executor,
            settings=BlockSettings(warm_up_most=6),
        )
    seconds = time.monotonic() - began
    blocks = {name: metrics["latency.p50"].blocks for name, metrics in found.items()}
    result: dict[str, Any] = {
        "seconds": seconds,
        "rounds": arguments.rounds,
        "requests_per_block": _PER_BLOCK,
        "same": _verdicts(blocks, list(itertools.combinations(names, 2))),
        "blocks_s": blocks,
    }
    if arguments.other:
        result["other"] = _verdicts(blocks, [("other", name) for name in names])
        result["told_apart"] = _by_round(
            blocks, names, round_s=seconds / arguments.rounds * 2 / len(models)
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(result) + "\n", encoding="utf-8")
    del result["blocks_s"]
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


def _verdicts(
    blocks: dict[str, tuple[tuple[float, ...], ...]], pairs: list[tuple[str, str]]
) -> dict[str, Any]:
    compared = [compare_latency(blocks[a], blocks[b]) for a, b in pairs]
    verdicts = [comparison.verdict for comparison in compared]
    return {
        "comparisons": len(compared),
        "called_different": sum(verdict != "same" for verdict in verdicts),
        "verdicts": {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))},
        "ratios": [round(comparison.ratio, 4) for comparison in compared],
    }


def _by_round(
    blocks: dict[str, tuple[tuple[float, ...], ...]], names: list[str], *, round_s: float
) -> list[dict[str, Any]]:
    """Return, by number of rounds, the verdicts of a session that had ended there."""
    found = []
    for rounds in range(MINIMUM_ROUNDS, len(blocks["other"]) + 1):
        compared = [
            compare_latency(blocks["other"][:rounds], blocks[name][:rounds]) for name in names
        ]
        verdicts = [comparison.verdict for comparison in compared]
        found.append(
            {
                "rounds": rounds,
                "seconds_per_pair": round(rounds * round_s, 1),
                "verdicts": {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))},
            }
        )
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--names", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
