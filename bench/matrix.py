"""Every recipe on a tiny model: refused before building, or built, loaded and in agreement.

    python -m bench.matrix [--pairs] [--provider cpu] [--what-is-refused] [--csv OUT]

The whole product of precision, block size, algorithm, mixed precision, symmetry, head,
embedding and accuracy level, on models with tied and with own head and of one and two layers.
``--pairs`` takes a subset in which every pair of values that is ever built together is; for
providers other than the processor graphs are built and their attributes read, not run.
``--what-is-refused`` builds what the rules for weights refuse, to see what becomes of it.

The model's logits have a standard deviation of 0.15 (``_EMBEDDING_STD``): honest rounding to
four bits moves one by 0.25 at most and exchanging its two layers by 0.7, so the bound of 0.3
lets the first pass and not the second.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import itertools
import os
import runpy
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotune.candidate import Algorithm, Embedding, Head, Precision, Recipe
from autotune.errors import AutotuneError, UsageError
from autotune.targets import Architecture, check_recipe

__all__ = ["TOLERANCE", "Fixture", "Row", "examine", "main", "make_fixtures", "pairs", "product"]

# The largest difference of a logit from the model's own that is believed.
TOLERANCE = {Precision.FP32: 1e-4, Precision.INT8: 0.05, Precision.INT4: 0.3}
_VOCABULARY = 300
_LAYER_STD, _EMBEDDING_STD = 0.05, 0.0131
_PROMPT_LENGTHS = (5, 9, 13, 16)
_BLOCKS = (16, 32, 64, 128, 256)
_OF_EACH_REASON = 4

Logits = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Fixture:
    """A tiny model, what it is, and what it answers.

    Attributes:
        folder: Hugging Face folder.
        architecture: as recipes see it.
        prompts: token ids.
        logits: of the last position, (prompts, vocabulary).
    """

    folder: Path
    architecture: Architecture
    prompts: list[list[int]]
    logits: Logits

    @property
    def name(self) -> str:
        """``tied-l2`` and the like."""
        head = "tied" if self.architecture.tied_embeddings else "untied"
        return f"{head}-l{self.architecture.layers}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of one combination.

    Attributes:
        fixture: model.
        recipe: its name.
        outcome: ``refused``, ``agrees``, ``built`` (and not run: its provider is not here)
            or ``third``, which should not be.
        difference: the largest of a logit from the model's own; NaN where nothing ran.
        bytes: of all files; 0 where nothing was built.
        reason: of a refusal or a third outcome.
    """

    fixture: str
    recipe: str
    outcome: str
    difference: float = float("nan")
    bytes: int = 0
    reason: str = ""


def make_fixtures(root: Path, *, depths: Sequence[int] = (1, 2)) -> list[Fixture]:
    """Return models with tied and with own head, of each depth, made from a seed."""
    return [
        _make_fixture(root / f"{tied}-{layers}", tied=tied, layers=layers)
        for tied, layers in itertools.product((True, False), depths)
    ]


def _make_fixture(folder: Path, *, tied: bool, layers: int) -> Fixture:
    import torch  # noqa: PLC0415 - only processes that build pay
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM  # noqa: PLC0415 - same

    folder.mkdir(parents=True)
    _write_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=_VOCABULARY,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        initializer_range=_LAYER_STD,
        dtype="float32",
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).eval()
        for table in (model.model.embed_tokens, model.lm_head):
            torch.nn.init.normal_(table.weight, std=_EMBEDDING_STD)
    model.generation_config = GenerationConfig.from_model_config(config)
    model.save_pretrained(folder)
    draw = np.random.default_rng(0)
    prompts = [draw.integers(1, _VOCABULARY, size=size).tolist() for size in _PROMPT_LENGTHS]
    with torch.inference_mode():
        logits = [model(input_ids=torch.tensor([ids])).logits[0, -1].numpy() for ids in prompts]
    read = import_module("autotune.passes.architectures").read_architecture
    return Fixture(
        folder=folder, architecture=read(folder), prompts=prompts, logits=np.stack(logits)
    )


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models  # noqa: PLC0415 - only processes that build pay

    words = {f"w{number}": number for number in range(_VOCABULARY)}
    unknown = "w0"
    Tokenizer(models.WordLevel(words, unk_token=unknown)).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "w0", "bos_token": "w0"}',
        encoding="utf-8",
    )


def product(provider: str) -> Iterator[Recipe]:
    """Yield every recipe that can be written down for ``provider``."""
    algorithms = {
        Precision.INT4: tuple(Algorithm),
        Precision.INT8: (None, Algorithm.RTN, Algorithm.K_QUANT),
    }
    for precision in Precision:
        quantised = precision in algorithms
        for block, algorithm, level, mixed, symmetric, head, embedding in itertools.product(
            _BLOCKS if quantised else (None,),
            algorithms.get(precision, (None,)),
            range(5) if quantised else (None,),
            (False, True),
            (True, False),
            (None, *Head),
            (None, *Embedding),
        ):
            yield Recipe(
                provider=provider,
                precision=precision,
                block_size=block,
                algorithm=algorithm,
                accuracy_level=level,
                mixed=mixed,
                symmetric=symmetric,
                head=head,
                embedding=embedding,
            )


def pairs(recipes: Sequence[Recipe]) -> list[Recipe]:
    """Return some of ``recipes`` that together have every pair of values that all have.

    Greedy: always the first of those that bring the most pairs not seen yet.
    """
    brings = [frozenset(itertools.combinations(_values(recipe), 2)) for recipe in recipes]
    missing = set().union(*brings)
    chosen = []
    while missing:
        best = max(range(len(recipes)), key=lambda number: len(brings[number] & missing))
        chosen.append(recipes[best])
        missing -= brings[best]
    return chosen


def _values(recipe: Recipe) -> list[tuple[str, Any]]:
    return [(field.name, getattr(recipe, field.name)) for field in fields(recipe) if field.compare]


def examine(recipe: Recipe, fixture: Fixture, folder: Path, *, anyway: bool = False) -> Row:
    """Return what becomes of ``recipe``; ``folder`` is made anew.

    Args:
        recipe: how to build.
        fixture: what to build.
        folder: where to.
        anyway: build what is refused, too.
    """
    found = {"fixture": fixture.name, "recipe": recipe.name}
    refusal = check_recipe(recipe, fixture.architecture)
    if refusal is not None and not anyway:
        return Row(**found, outcome="refused", reason=refusal.reason)
    building, graph = (import_module(f"autotune.passes.{name}") for name in ("build", "graph"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            building.create_graph(recipe, fixture.folder, folder)
        attributes = graph.read_attributes(folder)
        graph.check_attributes(attributes, recipe, tied=fixture.architecture.tied_embeddings)
    except AutotuneError as error:
        return Row(**found, outcome="third", reason=str(error))
    size = sum(file.stat().st_size for file in folder.iterdir())
    if recipe.provider != "cpu":
        return Row(**found, outcome="built", bytes=size)
    try:
        logits = _logits(folder, fixture.prompts)
    except Exception as error:  # noqa: BLE001 - whatever a runtime says is a third outcome
        return Row(**found, outcome="third", bytes=size, reason=f"does not run: {error}")
    difference = float(np.abs(logits - fixture.logits).max())
    agrees = difference <= TOLERANCE[recipe.precision]
    return Row(
        **found,
        outcome="agrees" if agrees else "third",
        difference=difference,
        bytes=size,
        reason="" if agrees else "disagrees",
    )


def _logits(folder: Path, prompts: list[list[int]]) -> Logits:
    """Return what the graph answers, as the proof of a build asks it."""
    proof = import_module("autotune.passes.proof")
    child = runpy.run_path(str(Path(str(proof.__file__)).with_name("prove_child.py")))
    logits: Logits = child["last_logits"](str(folder), "cpu", prompts)[0]
    return logits


def run(provider: str, *, pairwise: bool, root: Path) -> Iterator[Row]:
    """Yield a row for each combination; of each model refusals first."""
    for fixture in make_fixtures(root):
        kept, refused = _sorted_out(provider, fixture)
        for recipe in (*refused, *(pairs(kept) if pairwise else kept)):
            yield examine(recipe, fixture, root / "built")


def _sorted_out(provider: str, fixture: Fixture) -> tuple[list[Recipe], list[Recipe]]:
    kept, refused = [], []
    for recipe in product(provider):
        is_kept = check_recipe(recipe, fixture.architecture) is None
        (kept if is_kept else refused).append(recipe)
    return kept, refused


def run_refused(provider: str, *, root: Path) -> Iterator[Row]:
    """Yield a row for the first few of each refusal of weights, built all the same."""
    for fixture in make_fixtures(root, depths=(2,)):
        seen: Counter[str] = Counter()
        for recipe in _sorted_out(provider, fixture)[1]:
            refusal = check_recipe(recipe, fixture.architecture)
            if refusal is None or recipe.precision not in TOLERANCE or recipe.accuracy_level == 0:
                continue
            seen[refusal.reason] += 1
            if seen[refusal.reason] <= _OF_EACH_REASON:
                row = examine(recipe, fixture, root / "built", anyway=True)
                yield replace(row, reason=f"[{refusal.reason}] {row.reason}")


def summary(rows: Iterable[Row]) -> str:
    """Return counts of outcomes, the largest difference per precision, and every reason."""
    rows = list(rows)
    lines = [", ".join(f"{n} {what}" for what, n in Counter(r.outcome for r in rows).items())]
    worst: dict[str, Row] = {}
    for row in rows:
        precision = row.recipe.split("-")[1]
        if row.difference > (worst[precision].difference if precision in worst else -1.0):
            worst[precision] = row
    lines += [
        f"{precision}: at most {row.difference:.2g} ({row.recipe}, {row.fixture})"
        for precision, row in sorted(worst.items())
    ]
    reasons = Counter((row.outcome, row.reason) for row in rows if row.reason)
    lines += [f"{count:6} {what}: {reason}" for (what, reason), count in reasons.most_common()]
    return "\n".join(lines)


def main() -> None:
    """Examine, print the summary, write the rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.matrix")
    parser.add_argument("--pairs", action="store_true", help="every pair of values, not all")
    parser.add_argument("--provider", default="cpu", help="in the builder's spelling")
    parser.add_argument("--what-is-refused", action="store_true", help="build that")
    parser.add_argument("--csv", type=Path, help="where the rows go")
    asked = parser.parse_args()
    if asked.csv and asked.csv.exists():
        raise UsageError(f"--csv names a new file, {str(asked.csv)!r} exists.")
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="autotune-matrix-") as root:
        if asked.what_is_refused:
            rows = list(run_refused(asked.provider, root=Path(root)))
        else:
            rows = list(run(asked.provider, pairwise=asked.pairs, root=Path(root)))
    if asked.csv:
        with asked.csv.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, [field.name for field in fields(Row)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
    sys.stdout.write(f"{summary(rows)}\n{time.perf_counter() - start:.0f} s\n")


if __name__ == "__main__":
    main()
