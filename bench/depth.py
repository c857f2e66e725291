"""What fewer layers cost and save: cut models against the whole one, on the same rows.

    python -m bench.depth [--depths 20 18 16] [--rules influence] [--seeds 3] [--epochs 3]
                          [--precision int8] [--rounds 12] [--unhealed] [--json OUT]
                          [--data TRAIN --validation FILE --test FILE --template TEXT --rows N]

For each seed the whole model and every cut of it are trained alike, merged, built and
scored on the test split by the passes and evaluators of a run: an arm is a rule and a
depth. Cut models are healed first, as in a run; ``--unhealed`` adds them as they were cut.
*Accuracy* is compared row by row, seeds averaged; *time* between the untrained
builds of the arms, interleaved in fresh processes, round by round, since training does not
change it. The demo's data and model, unless others are named.

Trainings are kept in the artifact store and, with ``--json``, scores as they come: the same
command goes on with them; ``--at-most N`` ends after N parts.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autotune import demo
from autotune.candidate import AdapterConfig, Algorithm, Precision, Recipe
from autotune.evaluators import (
    BlockSettings,
    BuiltModel,
    bootstrap_mean,
    compare_latency,
    make_workload,
    measure_latency,
    score,
)
from autotune.passes import (
    Artifact,
    ArtifactStore,
    BuildPass,
    CutRule,
    FinetunePass,
    HealPass,
    MergePass,
    Origin,
    Pass,
    PrunePass,
    default_root,
    produce,
    resolve_model,
)
from autotune.plain import digest
from autotune.targets import LocalExecutor
from autotune.task import Template, TokenizedTask, load_task, tokenize_task

WHOLE = "whole"
_PER_BLOCK = 16
_POINT = 0.01


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A way to cut, or none.

    Attributes:
        layers: kept; None for all.
        rule: which; None where all are kept.
        is_healed: before it is trained.
    """

    layers: int | None = None
    rule: CutRule | None = None
    is_healed: bool = True

    @property
    def name(self) -> str:
        """What it is called in the file."""
        if self.rule is None:
            return WHOLE
        return f"{self.rule}-{self.layers}{'' if self.is_healed else '-unhealed'}"


@dataclass(kw_only=True)
class Workshop:
    """What every part works with."""

    store: ArtifactStore
    executor: LocalExecutor
    model: Artifact
    data: Artifact
    tokens: TokenizedTask
    precision: Precision
    epochs: float

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the workers' libraries."""
        found: dict[str, str] = self.executor.capabilities()["versions"]
        return found

    def make(self, pass_: Pass, **inputs: Artifact) -> Artifact:
        """Return what ``pass_`` makes of ``inputs``, from the store where it is there."""
        return produce(
            pass_, inputs, store=self.store, executor=self.executor, versions=self.versions
        ).artifact

    def base(self, arm: Arm) -> Artifact:
        """Return the untrained model of ``arm``."""
        if arm.rule is None or arm.layers is None:
            return self.model
        return self.make(
            PrunePass(layers=arm.layers, rule=arm.rule), model=self.model, data=self.data
        )

    def healed(self, arm: Arm) -> tuple[Artifact, Mapping[str, Any]]:
        """Return what trainings of ``arm`` start from, and what is known of its healing."""
        base = self.base(arm)
        if arm.rule is None or not arm.is_healed:
            return base, {}
        healing = self.make(
            HealPass(kept=tuple(base.facts["kept"]), epochs=self.epochs),
            model=base,
            whole=self.model,
            data=self.data,
        )
        return self.make(MergePass(), model=base, adapter=healing), healing.facts

    def recipe(self, arm: Arm) -> Recipe:
        """Return how the models of ``arm`` are built."""
        is_quantised = self.precision in (Precision.INT8, Precision.INT4)
        return Recipe(
            provider="cpu",
            precision=self.precision,
            block_size=32 if is_quantised else None,
            algorithm=Algorithm.DEFAULT if self.precision is Precision.INT4 else None,
            accuracy_level=4 if is_quantised else None,
            layers=arm.layers,
        )

    def built(self, arm: Arm, model: Artifact) -> BuiltModel:
        """Return ``model`` built with the recipe of ``arm``."""
        graph = self.make(BuildPass(recipe=self.recipe(arm)), model=model)
        return BuiltModel(name=arm.name, path=graph.path, provider="cpu")

    def score(self, arm: Arm, seed: int) -> dict[str, Any]:
        """Train, merge, build and score one arm; return its facts in plain values."""
        adapter = AdapterConfig(
            rank=16, learning_rate=1e-3, epochs=self.epochs, layers=arm.layers, seed=seed
        )
        base, healing = self.healed(arm)
        trained = self.make(FinetunePass(adapter=adapter), model=base, data=self.data)
        merged = self.make(MergePass(), model=base, adapter=trained)
        found = score(self.built(arm, merged), self.tokens.test, executor=self.executor)
        return {
            "accuracy": found.measurements["accuracy"].value,
            "nll": found.measurements["nll"].value,
            "correct": found.correct,
            "validation_nll": trained.facts["probe_nll"],
            "training_s": trained.facts["seconds"]["train"],
            "kept": self.base(arm).facts.get("kept"),
            "healing_s": healing.get("seconds", {}).get("train", 0.0),
            "distance": healing.get("distance"),
        }

    def times(self, arms: Sequence[Arm], rounds: int) -> dict[str, Any]:
        """Return the request latencies of the untrained builds, seconds by arm and block."""
        found = measure_latency(
            [self.built(arm, self.base(arm)) for arm in arms],
            make_workload(self.tokens.validation, n=64, seed=0),
            rounds=rounds,
            requests_per_block=_PER_BLOCK,
            seed=0,
            executor=self.executor,
            settings=BlockSettings(warm_up_most=6),
        )
        return {arm.name: found[arm.name]["latency.p50"].blocks for arm in arms}


def load_tokens(asked: argparse.Namespace, model: Artifact, context_length: int) -> TokenizedTask:
    """Return the data in the model's tokens."""
    task = load_task(
        asked.data or str(demo.data_path()),
        template=Template.parse(asked.template or demo.TEMPLATE),
        validation_data=asked.validation,
        test_data=asked.test,
    )
    return tokenize_task(task, model.path, context_length)


def data_artifact(tokens: TokenizedTask, rows: int | None, store: ArtifactStore) -> Artifact:
    """Return ``rows`` of the training rows, drawn at random, and the first validation rows."""
    examples = list(tokens.examples)
    if rows is not None and rows < len(examples):
        examples = random.Random(0).sample(examples, rows)  # noqa: S311 - rows, no secret
    content = {
        "examples": [asdict(example) for example in examples],
        "probe": [
            {"ids": row.prompt_ids + row.answer_ids, "answer_start": len(row.prompt_ids)}
            for row in tokens.validation.rows[:200]
        ],
    }
    text = json.dumps(content)
    key = digest({"data": digest(json.loads(text))})
    with store.lock(key):
        kept = store.get_verified(key, "data")
        if kept is not None:
            return kept
        with store.workdir(key) as workdir:
            (workdir / "train.json").write_text(text, encoding="utf-8")
            origin = Origin(key=key, name="data", parameters={}, inputs={}, versions={})
            return store.commit(workdir, origin, facts={}, seconds=0.0)


def summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the parts that are there say; every arm against the whole model."""
    scores: dict[str, dict[int, dict[str, Any]]] = {}
    for name, value in found.items():
        kind, _, rest = name.partition("/")
        if kind == "score":
            arm, _, seed = rest.partition("/")
            scores.setdefault(arm, {})[int(seed)] = value
    result: dict[str, Any] = {}
    for arm, by_seed in scores.items():
        entry = {
            "accuracy": [round(one["accuracy"], 4) for _, one in sorted(by_seed.items())],
            "nll": [round(one["nll"], 4) for _, one in sorted(by_seed.items())],
            "training_s": [round(one["training_s"], 1) for _, one in sorted(by_seed.items())],
            "kept": next(iter(by_seed.values()))["kept"],
        }
        shared = sorted(by_seed.keys() & scores.get(WHOLE, {}).keys())
        if arm != WHOLE and shared:
            entry |= _against_whole([(by_seed[s], scores[WHOLE][s]) for s in shared])
        result[arm] = entry
    if blocks := found.get("times"):
        for arm, samples in blocks.items():
            result.setdefault(arm, {})["latency"] = _latency(samples, blocks[WHOLE])
    return result


def _against_whole(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Return the difference in accuracy: rows are drawn again, each with all its seeds."""
    gaps = [
        statistics.fmean(int(cut) - int(whole) for cut, whole in zip(*row, strict=True))
        for row in zip(
            zip(*(cut["correct"] for cut, _ in pairs), strict=True),
            zip(*(whole["correct"] for _, whole in pairs), strict=True),
            strict=True,
        )
    ]
    low, high = bootstrap_mean(gaps, seed=0)
    by_seed = [cut["accuracy"] - whole["accuracy"] for cut, whole in pairs]
    return {
        "accuracy_difference": round(statistics.fmean(gaps), 4),
        "accuracy_difference_ci95": [round(low, 4), round(high, 4)],
        "accuracy_difference_by_seed": [round(gap, 4) for gap in by_seed],
        "within_a_point_in_every_seed": all(gap >= -_POINT - 1e-9 for gap in by_seed),
    }


def _latency(samples: Any, whole: Any) -> dict[str, Any]:
    first, second = (tuple(tuple(block) for block in blocks) for blocks in (samples, whole))
    compared = compare_latency(first, second)
    return {
        "p50_ms": round(1e3 * statistics.median(x for block in first for x in block), 2),
        "ratio": round(compared.ratio, 4),
        "ci95": compared.ci95 and [round(end, 4) for end in compared.ci95],
        "verdict": compared.verdict,
        "rounds": compared.rounds,
    }


def main() -> None:
    """Train, score, time, compare, print."""
    asked = _arguments()
    arms = [
        Arm(),
        *(
            Arm(layers=n, rule=rule, is_healed=is_healed)
            for n in asked.depths
            for rule in asked.rules
            for is_healed in ((True, False) if asked.unhealed else (True,))
        ),
    ]
    kept: dict[str, Any] = {}
    if asked.json and asked.json.exists():
        kept = json.loads(asked.json.read_text(encoding="utf-8"))
    found: dict[str, Any] = kept.get("parts", {})
    wanted = [f"score/{arm.name}/{seed}" for seed in range(asked.seeds) for arm in arms]
    wanted += ["times"] if asked.rounds else []
    with LocalExecutor() as executor:
        workshop = _workshop(asked, executor)
        for part in [name for name in wanted if name not in found][: asked.at_most]:
            if part == "times":
                found[part] = workshop.times([arm for arm in arms if arm.is_healed], asked.rounds)
            else:
                _, name, seed = part.split("/")
                arm = next(arm for arm in arms if arm.name == name)
                found[part] = workshop.score(arm, int(seed))
                print(part, {k: v for k, v in found[part].items() if k != "correct"}, flush=True)
            kept = {"asked": _shown(asked), "parts": found, "summary": summary(found)}
            if asked.json:
                asked.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"asked": _shown(asked), "summary": summary(found)}, indent=2))


def _workshop(asked: argparse.Namespace, executor: LocalExecutor) -> Workshop:
    store = ArtifactStore(default_root())
    source = resolve_model(
        asked.model,
        store=store,
        executor=executor,
        versions=executor.capabilities()["versions"],
    )
    tokens = load_tokens(asked, source.artifact, source.architecture.context_length)
    return Workshop(
        store=store,
        executor=executor,
        model=source.artifact,
        data=data_artifact(tokens, asked.rows, store),
        tokens=tokens,
        precision=asked.precision,
        epochs=asked.epochs,
    )


def _shown(asked: argparse.Namespace) -> dict[str, Any]:
    return {
        name: Path(value).name if name in ("data", "validation", "test") and value else value
        for name, value in vars(asked).items()
        if name not in ("json", "at_most")
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=demo.MODEL)
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 18, 16], help="layers kept")
    parser.add_argument("--rules", nargs="+", default=["influence"], help="that choose them")
    parser.add_argument("--unhealed", action="store_true", help="cut models as they are, too")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=3.0, help="of every training")
    parser.add_argument("--precision", type=Precision, default=Precision.INT8)
    parser.add_argument("--rounds", type=int, default=12, help="of times; 0 for none")
    parser.add_argument("--data", default=None, help="training rows; the demo's if not given")
    parser.add_argument("--validation", default=None)
    parser.add_argument("--test", default=None)
    parser.add_argument("--template", default=None)
    parser.add_argument("--rows", type=int, default=None, help="training rows, drawn at random")
    parser.add_argument("--at-most", type=int, default=None, help="parts in this call")
    parser.add_argument("--json", type=Path, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
