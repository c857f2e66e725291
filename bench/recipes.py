"""What a quantiser costs a tuned model, and what training with it in the loop regains.

    python -m bench.recipes [--model SPEC] [--data FILE --template T] [--rows N] [--seeds 5]
                            [--epochs 2] [--rounds 6] [--arms ...] [--at-most N] [--json OUT]

For every seed each arm trains an adapter on the same rows, which is merged and built with the
arm's recipes; every built model is scored on the same test rows by the evaluators. The seed
draws rows and split too. *Arms*: ``lora``, also with the better quantisers; ``qat-b32``,
``qat-b128``, ``qat-b128-longer`` (a quarter more steps) and ``qat-best`` (method qat-lora, the
last with the best plain rounding);
``qa-lora``, the group-wise adapter of arXiv 2309.14717 on a rounded base: its update is one
number per block, so that it needs float zero points beside int4 codes, which the builder
does not write; the same numbers are built in fp32 instead.
*Speed*: in rounds all arms train a few steps in turn, the order changing.

With ``--json`` the figures are kept as they come, and the same command goes on with them;
``--at-most N`` ends after N parts, for machines that are shared.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autotune import demo
from autotune.candidate import AdapterConfig, Recipe
from autotune.evaluators import BuiltModel, compare_latency, score
from autotune.passes import ArtifactStore, BuildPass, MergePass, default_root, resolve_model
from autotune.plain import to_plain
from autotune.targets import Job, LocalExecutor
from autotune.task import SplitName, Template, load_task, tokenize_task
from bench.recipe_arms import ARMS, Arm
from bench.seed_statistics import mean_interval, share_interval

# Modules behind the folder's front door: what a worker imports.
base_model, compute, examples, lora, merging, qat, training = (
    import_module(f"autotune.passes.{name}")
    for name in ("base_model", "compute", "examples", "lora", "merging", "qat", "training")
)

# Nothing is chosen by validation rows here, so nearly all that is not trained on is scored.
SHARES: dict[SplitName, float] = {"train": 0.6, "validation": 0.05, "test": 0.35}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is trained on and scored: of one seed."""

    model_dir: Path
    rows: Sequence[Any]
    test: Any
    used: Any

    @classmethod
    def load(cls, asked: argparse.Namespace, model_dir: Path, context: int, seed: int) -> Problem:
        """Draw rows and splits with ``seed``."""
        template = Template.parse(asked.template)
        with tempfile.TemporaryDirectory() as folder:
            data = _drawn(Path(asked.data), asked.rows, seed, Path(folder))
            task = load_task(str(data), template=template, seed=seed, shares=SHARES)
        tokens = tokenize_task(task, model_dir, context)
        rows = [examples.Example(ids=x.ids, answer_start=x.answer_start) for x in tokens.examples]
        return cls(
            model_dir=model_dir, rows=rows, test=tokens.test, used=compute.training_compute()
        )


def _drawn(path: Path, rows: int | None, seed: int, folder: Path) -> Path:
    """Return a file of ``rows`` lines of ``path``; all of them where None."""
    if rows is None:
        return path
    lines = path.read_text(encoding="utf-8").splitlines()
    few = random.Random(seed).sample(lines, min(rows, len(lines)))  # noqa: S311 - no secret
    chosen = folder / path.name
    chosen.write_text("\n".join(few) + "\n", encoding="utf-8")
    return chosen


@contextlib.contextmanager
def started(problem: Problem, arm: Arm, adapter: AdapterConfig) -> Iterator[Any]:
    """A training that has not begun."""
    base = base_model.training_base(problem.model_dir, adapter.method, problem.used)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        if arm.is_grouped:
            stack.enter_context(rounded_weights(base, arm.quantiser))
        model = stack.enter_context(lora.adapted(base, adapter))
        if arm.is_grouped:
            share_groups(model, qat.grids_of(base, arm.quantiser).body.block_size)
        yield training.Training(base=base, peft_model=model, adapter=adapter, examples=problem.rows)


@contextlib.contextmanager
def rounded_weights(base: nn.Module, quantiser: str | None) -> Iterator[None]:
    """Have every linear weight of ``base``, and what is tied to one, rounded inside the block."""
    grid = qat.grids_of(base, quantiser).body
    linear = [module for module in base.modules() if isinstance(module, nn.Linear)]
    before = {id(module.weight): (module.weight, module.weight.data) for module in linear}
    for weight, data in before.values():
        weight.data = grid.rounded(data, data.dtype)
    try:
        yield
    finally:
        for weight, data in before.values():
            weight.data = data


def share_groups(model: nn.Module, size: int) -> None:
    """Make each row of A constant over groups of ``size`` inputs, and keep it so.

    AdamW moves weights of equal gradients alike, so gradients are averaged and no more.
    """
    for name, weight in model.named_parameters():
        if ".lora_A." in name:
            first = weight.data.view(len(weight), -1, size)[..., :1]
            weight.data.copy_(first.expand(-1, -1, size).reshape(weight.shape))
            weight.register_hook(  # type: ignore[no-untyped-call]  # torch leaves it untyped
                lambda gradient: _averaged(gradient, size)
            )


def _averaged(gradient: torch.Tensor, size: int) -> torch.Tensor:
    mean = gradient.view(len(gradient), -1, size).mean(-1, keepdim=True)
    return mean.expand(-1, -1, size).reshape(gradient.shape)


def speed(problem: Problem, arm: Arm, *, steps: int) -> dict[str, Any]:
    """Train ``steps`` steps after a first one; return tokens and seconds."""
    adapter = replace(arm.adapter(seed=0, epochs=1), steps=steps + 1)
    with started(problem, arm, adapter) as one:
        one.advance(1)
        tokens, seconds = one.speed.tokens, one.speed.seconds
        one.advance(steps + 1)
        return {"tokens": one.speed.tokens - tokens, "seconds": one.speed.seconds - seconds}


def quality(
    problem: Problem, arm: Arm, *, seed: int, epochs: float, executor: LocalExecutor
) -> dict[str, Any]:
    """Train, merge, build and score; return the scores by what the recipe rounds with."""
    with tempfile.TemporaryDirectory(prefix="autotune-recipes-") as name:
        folder = Path(name)
        with started(problem, arm, arm.adapter(seed=seed, epochs=epochs)) as one:
            one.advance(one.plan.total_steps)
            found: dict[str, Any] = {"seconds": one.speed.seconds, "tokens": one.speed.tokens}
            one.save(folder)
        merged = _merged(problem, arm, folder)
        found["scores"] = {
            recipe.quantiser or recipe.precision.value: _score(problem, merged, recipe, executor)
            for recipe in arm.recipes
        }
    return found


def _merged(problem: Problem, arm: Arm, adapter: Path) -> Path:
    folder = adapter / "merged"
    folder.mkdir()
    if not arm.is_grouped:
        MergePass().run({"model": problem.model_dir, "adapter": adapter}, folder)
        return folder
    base = base_model.load_model(problem.model_dir, torch.float32)
    with rounded_weights(base, arm.quantiser), lora.quiet_peft():
        model = lora.PeftModel.from_pretrained(base, adapter / "adapter")
        merging.save_model(merging.fold(model), folder, source=problem.model_dir)
    return folder


def _score(
    problem: Problem, merged: Path, recipe: Recipe, executor: LocalExecutor
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=merged.parent) as out:
        payload = {
            "name": "build",
            "parameters": to_plain(BuildPass(recipe=recipe)),
            "inputs": {"model": str(merged)},
            "workdir": out,
        }
        entry = "autotune.passes.worker_entry:run_pass"
        result = executor.run(Job(name=recipe.name, entry=entry, payload=payload, pool="build"))
        if result.status != "ok":
            raise RuntimeError(f"{recipe.name} was not built: {result.error}")
        model = BuiltModel(name=recipe.name, path=Path(out), provider="cpu")
        scored = score(model, problem.test, executor=executor)
    measured = scored.measurements
    return {
        "accuracy": measured["accuracy"].value,
        "nll": measured["nll"].value,
        "rows": len(scored.correct),
    }


def parts(*, arms: Sequence[str], rounds: int, seeds: int) -> list[tuple[str, int, str]]:
    """Return everything to do, arms beside each other and in changing order."""
    found = []
    for kind, count in (("speed", rounds), ("quality", seeds)):
        for number in range(count):
            turn = number % len(arms)
            found += [(kind, number, arm) for arm in (*arms[turn:], *arms[:turn])]
    return found


def summary(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what the parts that are there say, of seeds and rounds that have all arms."""
    result: dict[str, Any] = {}
    speeds, scores = _by_number(found, "speed"), _by_number(found, "quality")
    if speeds:
        result["time_ratio"] = {arm: _time_ratio(speeds, arm) for arm in speeds[0] if arm != "lora"}
    if scores:
        result["seeds"] = len(scores)
        result["test_rows"] = [one["lora"]["scores"]["fp32"]["rows"] for one in scores]
        result["models"] = {
            f"{arm} {quantiser}": _model(scores, arm, quantiser)
            for arm, part in scores[0].items()
            for quantiser in part["scores"]
        }
    return result


def _by_number(found: dict[str, dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Return the parts of ``kind`` by arm, a dictionary for each number that has all arms."""
    grouped: dict[int, dict[str, Any]] = {}
    for name, part in found.items():
        one, number, arm = name.split("/")
        if one == kind:
            grouped.setdefault(int(number), {})[arm] = part
    arms = {arm for group in grouped.values() for arm in group} | {"lora"}
    return [group for _, group in sorted(grouped.items()) if group.keys() == arms]


def _time_ratio(speeds: Sequence[dict[str, Any]], arm: str) -> dict[str, Any]:
    """Return seconds per token of ``arm`` over those of plain LoRA in the same rounds."""
    blocks = [
        tuple((group[name]["seconds"] / group[name]["tokens"],) for group in speeds)
        for name in (arm, "lora")
    ]
    compared = compare_latency(*blocks)
    return {"ratio": compared.ratio, "ci95": compared.ci95, "rounds": compared.rounds}


def _model(scores: Sequence[dict[str, Any]], arm: str, quantiser: str) -> dict[str, Any]:
    """Return the figures of a model over seeds; differences are paired by seed."""

    def accuracy(arm: str, quantiser: str) -> list[float]:
        return [one[arm]["scores"][quantiser]["accuracy"] for one in scores]

    own, full = accuracy(arm, quantiser), accuracy("lora", "fp32")
    mean, ends = mean_interval(own)
    gap, gap_ends = mean_interval([a - b for a, b in zip(own, full, strict=True)])
    result: dict[str, Any] = {
        "accuracy": mean,
        "accuracy_ci95": ends,
        "nll": statistics.fmean(one[arm]["scores"][quantiser]["nll"] for one in scores),
        "to_fp32": gap,
        "to_fp32_ci95": gap_ends,
    }
    if arm != "lora" and quantiser in scores[0]["lora"]["scores"] and quantiser != "fp32":
        plain = accuracy("lora", quantiser)
        result["regained"], result["regained_ci95"] = share_interval(
            [a - b for a, b in zip(own, plain, strict=True)],
            [a - b for a, b in zip(full, plain, strict=True)],
        )
    return result


def table(result: dict[str, Any]) -> str:
    """Return the figures for people; accuracies in percent, differences in points."""
    lines = [f"{'model':40} accuracy  to LoRA in fp32         regained"]
    for name, one in result.get("models", {}).items():
        gap = f"{100 * one['to_fp32']:+.1f} {_ends(one['to_fp32_ci95'], 100)}"
        share = one.get("regained")
        regained = "" if share is None else f"{share:.2f} {_ends(one['regained_ci95'], 1)}"
        lines.append(f"{name:40} {100 * one['accuracy']:8.1f}  {gap:22}  {regained}")
    for arm, one in result.get("time_ratio", {}).items():
        lines.append(f"{arm}: {one['ratio']:.2f} {_ends(one['ci95'], 1)} times LoRA's time")
    return "\n".join(lines)


def _ends(ends: Sequence[float] | None, factor: float) -> str:
    return "" if ends is None else f"[{factor * ends[0]:.2f}, {factor * ends[1]:.2f}]"


def main() -> None:
    """Train, build, score, print."""
    asked = _arguments()
    kept: dict[str, Any] = {}
    if asked.json and asked.json.exists():
        kept = json.loads(asked.json.read_text(encoding="utf-8"))
    found: dict[str, dict[str, Any]] = kept.get("parts", {})
    todo = [
        part
        for part in parts(arms=asked.arms, rounds=asked.rounds, seeds=asked.seeds)
        if "/".join(map(str, part)) not in found
    ]
    threads = compute.use_all_cores()
    with LocalExecutor() as executor:
        source = resolve_model(
            asked.model,
            store=ArtifactStore(default_root()),
            executor=executor,
            versions=executor.capabilities()["versions"],
        )
        for kind, number, arm in todo[: asked.at_most]:
            began = time.monotonic()
            place = source.artifact.path, source.architecture.context_length
            problem = Problem.load(asked, *place, number if kind == "quality" else 0)
            if kind == "speed":
                part = speed(problem, ARMS[arm], steps=asked.steps)
            else:
                part = quality(
                    problem, ARMS[arm], seed=number, epochs=asked.epochs, executor=executor
                )
            found[f"{kind}/{number}/{arm}"] = part
            took = time.monotonic() - began
            print(f"{kind}/{number}/{arm} in {took:.0f} s: {json.dumps(part)}", flush=True)
            kept = {
                "model": asked.model,
                "data": Path(asked.data).name,
                "rows": asked.rows,
                "epochs": asked.epochs,
                "device": problem.used.model or f"{threads} threads of the processor",
                "dtype": problem.used.dtype_name,
                "parts": found,
                "summary": summary(found),
            }
            if asked.json:
                asked.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(table(summary(found)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=demo.MODEL)
    parser.add_argument("--data", default=str(demo.data_path()), help="json lines")
    parser.add_argument("--template", default=demo.TEMPLATE)
    parser.add_argument("--rows", type=int, default=None, help="drawn from the data per seed")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=6, help="of speed; six can be compared")
    parser.add_argument("--steps", type=int, default=5, help="of a round, timed")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--at-most", type=int, default=None, help="parts in this call")
    parser.add_argument("--json", type=Path, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
