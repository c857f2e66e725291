"""How much faster options are scored by rewinding than each from scratch, with the same scores.

    python -m bench.scoring MODEL_DIR DATA --template T [--options COLUMNS] [--rows 60] [--json OUT]

Every block of rows is scored both ways in one process, in random order, so that the
machine's moods hit both alike. From scratch means: for each option or label a new generator,
the whole prompt again, then its tokens one by one. The tokeniser is the model folder's own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import autotune.evaluators
from autotune.task import DecisionPlan, Template, decision_plan, load_task, tokenize_task

_CONTEXT = 2048


@dataclass(frozen=True, kw_only=True)
class _Question:
    """A prompt with the token sequences to score after it; labels come with their trie."""

    prompt: tuple[int, ...]
    sequences: list[list[int]]
    plan: DecisionPlan | None

    @property
    def depths(self) -> list[int]:
        """Tokens of each sequence that are scored."""
        return list(self.plan.depths) if self.plan else [len(ids) for ids in self.sequences]


def main() -> None:
    """Score both ways, compare, print."""
    arguments = _arguments()
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    child, scoring = _script("runtime_child"), _script("scoring")
    runtime = child.Runtime(folder=arguments.model, provider="cpu", threads=arguments.threads)
    questions = _questions(arguments)[: arguments.rows]
    seconds: dict[str, list[float]] = {"scratch": [], "ours": []}
    differences, draw = [], np.random.default_rng(0)
    for start in range(0, len(questions), arguments.block):
        block, scores = questions[start : start + arguments.block], {}
        for way in draw.permutation(["scratch", "ours"]).tolist():
            score = _from_scratch if way == "scratch" else _ours
            began = time.perf_counter()
            scores[way] = score(scoring, runtime, block)
            seconds[way].append(time.perf_counter() - began)
        pairs = zip(scores["scratch"], scores["ours"], strict=True)
        differences.append(max(abs(one - other) for one, other in pairs))
    result = _summary(questions, seconds, max(differences))
    if arguments.json:
        arguments.json.write_text(json.dumps({**result, **seconds}) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


def _script(name: str) -> ModuleType:
    """Return a script of the measuring process, which nothing imports but by its path."""
    path = Path(autotune.evaluators.__path__[0]) / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"autotune_{name}", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _questions(arguments: argparse.Namespace) -> list[_Question]:
    """Return the rows of the test split in the tokens of the model."""
    options = arguments.options.split(",") if arguments.options else ()
    task = load_task(arguments.data, template=Template.parse(arguments.template), options=options)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        tokenizer = (arguments.model / "tokenizer.json").read_bytes()
        (place / "tokenizer.json").write_bytes(tokenizer)
        config = json.loads((arguments.model / "genai_config.json").read_text(encoding="utf-8"))
        eos = {"eos_token_id": config["model"]["eos_token_id"]}
        (place / "config.json").write_text(json.dumps(eos), encoding="utf-8")
        rows = tokenize_task(task, place, _CONTEXT).test
    plan = decision_plan(rows.label_ids) if rows.label_ids else None
    return [
        _Question(
            prompt=row.prompt_ids,
            sequences=[list(ids) for ids in row.option_ids or rows.label_ids],
            plan=plan,
        )
        for row in rows.rows
    ]


def _from_scratch(scoring: Any, runtime: Any, block: list[_Question]) -> list[float]:
    totals = []
    for question in block:
        for ids, depth in zip(question.sequences, question.depths, strict=True):
            generator = runtime.generator(length=len(question.prompt) + max(1, depth))
            scoring.append(generator, question.prompt)
            total = 0.0
            for place, token in enumerate(ids[:depth]):
                if place:
                    scoring.append(generator, [ids[place - 1]])
                logits = generator.get_logits()[0, -1]
                total += float(logits[token]) - scoring.log_normaliser(logits)
            totals.append(total)
    return totals


def _ours(scoring: Any, runtime: Any, block: list[_Question]) -> list[float]:
    labels, first = None, block[0]
    if first.plan is not None:
        plan = {"nodes": [list(node) for node in first.plan.nodes], "depths": first.depths}
        labels = scoring.Decision(plan, first.sequences)
    rows = [
        {"prompt_ids": list(one.prompt), "reference": 0, "option_ids": one.sequences}
        for one in block
    ]
    results = scoring.score_decisions(runtime, rows, labels)
    return [score for result in results for score in result["scores"]]


def _summary(
    questions: list[_Question], seconds: dict[str, list[float]], difference: float
) -> dict[str, Any]:
    ratios = [a / b for a, b in zip(seconds["scratch"], seconds["ours"], strict=True)]
    depths = [depth for question in questions for depth in question.depths]
    return {
        "rows": len(questions),
        "options_a_row": round(len(depths) / len(questions), 2),
        "scored_tokens_an_option": round(statistics.fmean(depths), 2),
        "tokens_a_prompt": round(statistics.fmean(len(one.prompt) for one in questions), 1),
        "scratch_ms_a_row": round(1e3 * sum(seconds["scratch"]) / len(questions), 2),
        "ours_ms_a_row": round(1e3 * sum(seconds["ours"]) / len(questions), 2),
        "times_faster_by_block": [round(ratio, 2) for ratio in ratios],
        "times_faster_median_block": round(statistics.median(ratios), 2),
        "times_faster_in_all": round(sum(seconds["scratch"]) / sum(seconds["ours"]), 2),
        "largest_difference_nat": difference,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("data")
    parser.add_argument("--template", required=True)
    parser.add_argument("--options", default="")
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--block", type=int, default=10, help="rows scored one way at a time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
