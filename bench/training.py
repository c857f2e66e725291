"""A training here against plain transformers with peft: the same data, model and examples.

    python -m bench.training [--model SPEC] [--rounds 6] [--steps 5] [--seeds 3]
                             [--length 20] [--plain-dtype float32] [--plain-batch 8]
                             [--json OUT]

*Speed*: in each round both train a few steps in turn, the order changing, and the ratio of
their seconds per token is taken round by round; the first step of a round, which sets
things up, is left out. *Loss*: for each seed both train over the same number of examples
and are scored on the validation split by one function. Plain means
``transformers.Trainer`` with peft's ``LoraConfig`` in their defaults, apart from what must
be the same to be compared: layers, rank, alpha, learning rate, batch size, data type, and
loss on answers only. The demo's model and data, on the GPU where torch has one.

With ``--json`` the figures are kept as they come, and the same command goes on with them;
``--at-most N`` ends after N parts, for machines that are shared.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from autotune import demo
from autotune.candidate import AdapterConfig
from autotune.evaluators import compare_latency
from autotune.passes import ArtifactStore, default_root, resolve_model
from autotune.targets import LocalExecutor
from autotune.task import Template, TokenizedTask, load_task, tokenize_task

# Modules behind the folder's front door: what a worker imports.
answer_loss, base_model, compute, examples, lora, training = (
    import_module(f"autotune.passes.{name}")
    for name in ("answer_loss", "base_model", "compute", "examples", "lora", "training")
)

ARMS = ("autotune", "plain")
ADAPTER = AdapterConfig(rank=16, alpha_ratio=2.0, learning_rate=1e-3, batch_size=16)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One training of one arm.

    Attributes:
        kind: ``speed`` or ``loss``.
        number: of the round, or the seed.
        arm: ``autotune`` or ``plain``.
    """

    kind: str
    number: int
    arm: str

    @property
    def name(self) -> str:
        """What it is called in the file."""
        return f"{self.kind}/{self.number}/{self.arm}"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What both train on.

    Attributes:
        plain_dtype: of the plain one's base; None for ours.
        plain_batch: examples of its steps, a divisor of ours, so that both see the same number.
    """

    model_dir: Path
    rows: Sequence[Any]
    validation: Sequence[Any]
    used: Any
    plain_dtype: Any = None
    plain_batch: int = ADAPTER.batch_size

    @classmethod
    def load(cls, spec: str, plain_dtype: str | None, plain_batch: int) -> Problem:
        """Return the demo's data in the tokens of the model ``spec``."""
        task = load_task(str(demo.data_path()), template=Template.parse(demo.TEMPLATE), seed=0)
        with LocalExecutor() as executor:
            source = resolve_model(
                spec,
                store=ArtifactStore(default_root()),
                executor=executor,
                versions=executor.capabilities()["versions"],
            )
        used = compute.training_compute()
        tokens: TokenizedTask = tokenize_task(
            task, source.artifact.path, source.architecture.context_length
        )
        return cls(
            model_dir=source.artifact.path,
            rows=[_example(one.ids, one.answer_start) for one in tokens.examples],
            validation=[
                _example(row.prompt_ids + row.answer_ids, len(row.prompt_ids))
                for row in tokens.validation.rows
            ],
            used=used,
            plain_dtype=getattr(torch, plain_dtype) if plain_dtype else None,
            plain_batch=plain_batch,
        )


def _example(ids: tuple[int, ...], answer_start: int) -> Any:
    return examples.Example(ids=ids, answer_start=answer_start)


def _mean_nll(base: Any, rows: Sequence[Any]) -> float:
    return statistics.fmean(answer_loss.row_losses(base, rows))


def train_here(problem: Problem, *, seed: int, steps: int, scores: bool) -> dict[str, float]:
    """Train with autotune; return tokens and seconds after the first step, and the loss."""
    adapter = replace(ADAPTER, seed=seed, steps=steps)
    base = base_model.training_base(problem.model_dir, "lora", problem.used)
    with lora.adapted(base, adapter) as model, contextlib.redirect_stdout(io.StringIO()):
        one = training.Training(base=base, peft_model=model, adapter=adapter, examples=problem.rows)
        one.advance(1)
        tokens, seconds = one.speed.tokens, one.speed.seconds
        one.advance(steps)
        found = {"tokens": one.speed.tokens - tokens, "seconds": one.speed.seconds - seconds}
        if scores:
            found["nll"] = _mean_nll(base, problem.validation)
    return found


def train_plainly(problem: Problem, *, seed: int, steps: int, scores: bool) -> dict[str, float]:
    """Train with transformers and peft on as many examples as ``steps`` of ours have; the same."""
    from transformers import Trainer, TrainerCallback  # noqa: PLC0415 - takes seconds

    class Clock(TrainerCallback):
        """Notes when each step ended."""

        ends: list[float]

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if problem.used.device == "cuda":
                torch.cuda.synchronize()
            self.ends.append(time.perf_counter())

    base = base_model.load_model(problem.model_dir, problem.plain_dtype or problem.used.dtype)
    model = _plainly_adapted(base, seed)
    collate = _Collator(problem.model_dir)
    clock = Clock()
    clock.ends = []
    per_step = ADAPTER.batch_size // problem.plain_batch
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model=model,
            args=_plain_arguments(problem, folder, seed=seed, steps=steps * per_step),
            train_dataset=[_plain_row(row) for row in problem.rows],
            data_collator=collate,
            callbacks=[clock],
        ).train()
    tokens = float(sum(collate.tokens[per_step : steps * per_step]))
    found = {"tokens": tokens, "seconds": clock.ends[-1] - clock.ends[per_step - 1]}
    if scores:
        found["nll"] = _mean_nll(base, problem.validation)
    return found


def _plainly_adapted(base: Any, seed: int) -> Any:
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - takes seconds

    torch.manual_seed(seed)
    config = LoraConfig(
        r=ADAPTER.rank,
        lora_alpha=round(ADAPTER.alpha_ratio * ADAPTER.rank),
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with lora.quiet_peft():
        return get_peft_model(base, config)


def _plain_row(row: Any) -> dict[str, list[int]]:
    start = row.answer_start
    return {"input_ids": list(row.ids), "labels": [-100] * start + list(row.ids[start:])}


def _plain_arguments(problem: Problem, folder: str, *, seed: int, steps: int) -> Any:
    from transformers import TrainingArguments  # noqa: PLC0415 - takes seconds

    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=problem.plain_batch,
        learning_rate=ADAPTER.learning_rate,
        max_steps=steps,
        seed=seed,
        use_cpu=problem.used.device == "cpu",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


class _Collator:
    """Pads as transformers does, and counts the tokens of each batch."""

    def __init__(self, model_dir: Path) -> None:
        from transformers import AutoTokenizer, DataCollatorForSeq2Seq  # noqa: PLC0415 - slow

        tokenizer = AutoTokenizer.from_pretrained(model_dir)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        self._pad = DataCollatorForSeq2Seq(tokenizer)
        self.tokens: list[int] = []

    def __call__(self, batch: list[dict[str, Any]]) -> Any:
        self.tokens.append(sum(len(row["input_ids"]) for row in batch))
        return self._pad(batch)


def parts(*, rounds: int, seeds: int) -> list[Part]:
    """Return everything to do, the arms of a pair beside each other and in changing order."""
    found = []
    for kind, count in (("speed", rounds), ("loss", seeds)):
        for number in range(count):
            order = ARMS if number % 2 == 0 else ARMS[::-1]
            found += [Part(kind=kind, number=number, arm=arm) for arm in order]
    return found


def summary(found: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return what the parts that are there say; pairs without partner are left out."""

    def pairs(kind: str) -> list[dict[str, dict[str, float]]]:
        numbers = sorted({int(name.split("/")[1]) for name in found if name.startswith(kind)})
        both = [{arm: found.get(f"{kind}/{n}/{arm}", {}) for arm in ARMS} for n in numbers]
        return [pair for pair in both if all(pair.values())]

    result: dict[str, Any] = {}
    if speeds := pairs("speed"):
        blocks = {
            arm: tuple((pair[arm]["seconds"] / pair[arm]["tokens"],) for pair in speeds)
            for arm in ARMS
        }
        compared = compare_latency(blocks["autotune"], blocks["plain"])
        result["tokens_per_s"] = {
            arm: round(1 / statistics.median(block[0] for block in blocks[arm]), 1) for arm in ARMS
        }
        result["seconds_per_token"] = {
            "ratio": round(compared.ratio, 4),
            "ci95": compared.ci95 and [round(end, 4) for end in compared.ci95],
            "verdict": compared.verdict,
            "rounds": compared.rounds,
        }
    if losses := pairs("loss"):
        result["nll"] = {arm: [round(pair[arm]["nll"], 4) for pair in losses] for arm in ARMS}
        gaps = [pair["autotune"]["nll"] - pair["plain"]["nll"] for pair in losses]
        result["nll_difference"] = {
            "mean": round(statistics.fmean(gaps), 4),
            "standard_error": round(statistics.stdev(gaps) / math.sqrt(len(gaps)), 4)
            if len(gaps) > 1
            else None,
        }
    return result


def main() -> None:
    """Train, compare, print."""
    asked = _arguments()
    kept: dict[str, Any] = {}
    if asked.json and asked.json.exists():
        kept = json.loads(asked.json.read_text(encoding="utf-8"))
    found: dict[str, dict[str, float]] = kept.get("parts", {})
    open_parts = [
        part for part in parts(rounds=asked.rounds, seeds=asked.seeds) if part.name not in found
    ]
    threads = compute.use_all_cores()
    problem = Problem.load(asked.model, asked.plain_dtype, asked.plain_batch)
    trains = {"autotune": train_here, "plain": train_plainly}
    for part in open_parts[: asked.at_most]:
        is_speed = part.kind == "speed"
        found[part.name] = trains[part.arm](
            problem,
            seed=part.number,
            steps=asked.steps + 1 if is_speed else asked.length,
            scores=not is_speed,
        )
        print(part.name, {name: round(value, 4) for name, value in found[part.name].items()})
        kept = {
            "model": asked.model,
            "device": problem.used.model or f"{threads} threads of the processor",
            "dtype": problem.used.dtype_name,
            "plain_batch": asked.plain_batch,
            "plain_dtype": asked.plain_dtype or problem.used.dtype_name,
            "steps": asked.steps,
            "length": asked.length,
            "parts": found,
            "summary": summary(found),
        }
        if asked.json:
            asked.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({**kept, "parts": len(found)}, indent=2))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=demo.MODEL)
    parser.add_argument("--rounds", type=int, default=6, help="of speed; six can be compared")
    parser.add_argument("--steps", type=int, default=5, help="of a round, timed")
    parser.add_argument("--seeds", type=int, default=3, help="of losses")
    parser.add_argument("--length", type=int, default=20, help="steps of a training for its loss")
    parser.add_argument("--plain-dtype", choices=["float32", "bfloat16"], default=None)
    parser.add_argument("--plain-batch", type=int, choices=[1, 2, 4, 8, 16], default=16)
    parser.add_argument("--at-most", type=int, default=None, help="parts in this call")
    parser.add_argument("--json", type=Path, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
