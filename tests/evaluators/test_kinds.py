"""Every kind of task from its file to its accuracy: real tokenizer, real graph, slow reference."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from autotune.evaluators import (
    BuiltModel,
    RowSet,
    Scored,
    child_result,
    read_scored,
    score_job,
    workload_digest,
)
from autotune.targets import LocalExecutor
from autotune.task import AnswerRule, Template, load_task, tokenize_task

from .test_scores import _log_likelihoods

CONTEXT = 512
OPTIONS = ("joy", "joyful news", "sadness", "joy of the day")
CHAT = (
    "{% for m in messages %}{{ '### ' + m.role + ':\n' + m.content + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '### assistant:\n' }}{% endif %}"
)


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """The tiny model: its folder, its graph, a process to run it and a slow reading of it."""

    folder: Path
    built: BuiltModel
    executor: LocalExecutor
    slow: Any

    def scored(self, rows: RowSet, built: BuiltModel | None = None) -> tuple[list[Any], Scored]:
        """Return what the child says of every row, and what is read from it."""
        model = built or self.built
        value = child_result(self.executor.run(score_job(model, rows, threads=1)), model)
        return value["score"]["rows"], read_scored(value, rows)


@pytest.fixture(scope="module")
def tiny(tiny_model_dir: Path, built: BuiltModel, executor: LocalExecutor) -> Tiny:
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - only tests that need a model pay

    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype="float32")
    return Tiny(folder=tiny_model_dir, built=built, executor=executor, slow=model.eval())


@pytest.fixture(scope="module")
def whole_head(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> BuiltModel:
    """The tiny model built so that it tells the logits of every position."""
    out, cache = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("cache")
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-c", str(cache)]
    command += ["-i", str(tiny_model_dir), "-o", str(out), "-p", "fp32", "-e", "cpu"]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    return BuiltModel(name="whole", path=out, provider="cpu")


Write = Callable[[Sequence[Any], str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def lines(rows: Sequence[Any], name: str = "rows.jsonl") -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return lines


@pytest.mark.parametrize("metric", ["sum", "per-token", "per-character"])
def test_options_are_scored_whole_as_from_scratch(metric: str, tiny: Tiny, write: Write) -> None:
    table = [
        {"question": f"The tone of day {n} is", "options": list(OPTIONS), "right": n % 4}
        for n in range(12)
    ]
    template = Template.parse("{question} {right}")
    task = load_task(write(table, "q.jsonl"), template=template, options=["options"])
    rule = AnswerRule(metric=metric)
    rows = tokenize_task(task, tiny.folder, CONTEXT, rule=rule).validation
    results, scored = tiny.scored(rows)
    right = []
    for row, result in zip(rows.rows, results, strict=True):
        slow = [sum(_log_likelihoods(tiny.slow, row.prompt_ids, ids)) for ids in row.option_ids]
        assert result["scores"] == pytest.approx(slow, abs=1e-4)
        lengths = {
            "sum": [1] * 4,
            "per-token": [len(ids) for ids in row.option_ids],
            "per-character": [len(option) for option in OPTIONS],
        }
        compared = [total / n for total, n in zip(slow, lengths[metric], strict=True)]
        assert result["predicted"] == compared.index(max(compared))
        assert OPTIONS[int(row.reference)] == row.options[int(row.reference)]
        right.append(result["predicted"] == row.reference)
    assert scored.correct == "".join("01"[hit] for hit in right)
    assert scored.measurements["accuracy"].value == sum(right) / len(right)
    assert set(scored.measurements) == {"accuracy", "nll"}
    how = scored.measurements["accuracy"].method
    assert how.startswith("option of highest log-likelihood")
    assert ("per " in how) == (metric != "sum")


def test_what_prompts_share_changes_no_score(tiny: Tiny, write: Write) -> None:
    examples = "".join(f"The day {n} was {word}.\n" for n, word in enumerate(OPTIONS))
    table = [
        {"q": f"{examples * (n % 3)}Day {'very ' * (n % 5)}{n} is", "o": list(OPTIONS), "right": 0}
        for n in range(30)
    ]
    task = load_task(write(table, "q.jsonl"), template=Template.parse("{q} {right}"), options=["o"])
    rows = tokenize_task(task, tiny.folder, CONTEXT, rule=AnswerRule(metric="sum")).train
    together, _ = tiny.scored(rows)
    lengths = {len(row.prompt_ids) for row in rows.rows}
    assert len(lengths) > 5, "prompts of one run differ in length"
    for row, result in zip(rows.rows[:6], together, strict=False):
        (alone,), _ = tiny.scored(replace(rows, rows=(row,)))
        assert result["scores"] == pytest.approx(alone["scores"], abs=1e-5)
        slow = [sum(_log_likelihoods(tiny.slow, row.prompt_ids, ids)) for ids in row.option_ids]
        assert result["scores"] == pytest.approx(slow, abs=1e-4)


def test_the_cost_of_a_choice_depends_on_its_options(tiny_model_dir: Path, write: Write) -> None:
    def digest(last: str) -> str:
        table = [{"q": f"day {n}", "o": ["joy", "fear", last], "right": 0} for n in range(12)]
        path = write(table, "q.jsonl")
        task = load_task(path, template=Template.parse("{q} {right}"), options=["o"])
        return workload_digest(tokenize_task(task, tiny_model_dir, CONTEXT).validation)

    assert digest("sad") == digest("sad") != digest("sadness and more")


def test_generated_answers_are_judged_by_the_tasks_metric(tiny: Tiny, write: Write) -> None:
    table = [{"q": f"say {n}", "a": f"word {n}"} for n in range(12)]
    task = load_task(write(table, "q.jsonl"), template=Template.parse("{q}\n{a}"))
    assert task.kind == "generation"
    rows = tokenize_task(task, tiny.folder, CONTEXT, rule=AnswerRule(metric="exact")).test
    results, scored = tiny.scored(rows)
    assert scored.measurements["accuracy"].value == 0
    # What the model says, as the reference: the same rows are right by every metric.
    texts = [result["text"] for result in results]
    assert any(text.strip() for text in texts)
    told = tuple(
        replace(row, reference=f"{text} ") for row, text in zip(rows.rows, texts, strict=True)
    )
    for metric in ("exact", "contains", "f1"):
        judged = replace(rows, rows=told, rule=AnswerRule(metric=metric))
        assert read_scored({"score": {"rows": results}}, judged).correct == "1" * len(told)


def test_windows_of_text_have_the_likelihood_of_a_slow_reading(
    tiny: Tiny, whole_head: BuiltModel, tmp_path: Path
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"It is day {n} of the year, a sad day.\n" for n in range(40)))
    task = load_task(str(path), template=None, kind="perplexity")
    tokens = tokenize_task(task, tiny.folder, 64)
    rows = replace(tokens.validation, rows=tokens.validation.rows[:4])
    results, scored = tiny.scored(rows)
    losses = []
    for row, result in zip(rows.rows, results, strict=True):
        slow = [-value for value in _log_likelihoods(tiny.slow, row.prompt_ids, row.answer_ids)]
        assert result["losses"] == pytest.approx(slow, abs=1e-4)
        losses += slow
    mean = sum(losses) / len(losses)
    assert scored.measurements["nll"].value == pytest.approx(mean, abs=1e-4)
    assert scored.measurements["perplexity"].value == pytest.approx(math.exp(mean), rel=1e-4)
    assert scored.measurements["perplexity"].n == len(losses) == len(scored.correct)
    low, high = scored.measurements["perplexity"].ci95 or (0, 0)
    assert low < scored.measurements["perplexity"].value < high
    assert scored.measurements["accuracy"].value == scored.correct.count("1") / len(losses)
    # A graph that tells every position is read in two passes; the numbers are the same.
    at_once, _ = tiny.scored(rows, whole_head)
    for one, other in zip(results, at_once, strict=True):
        assert one["losses"] == pytest.approx(other["losses"], abs=1e-4)
        assert one["hits"] == other["hits"]


def test_a_chat_is_asked_in_the_words_of_its_template(
    tiny: Tiny, tmp_path: Path, write: Write
) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        (tmp_path / name).write_bytes((tiny.folder / name).read_bytes())
    (tmp_path / "chat_template.jinja").write_text(CHAT)
    turns = [
        [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": f"What is the tone of {n}?"},
            {"role": "assistant", "content": ("joy", "fear")[n % 2]},
        ]
        for n in range(40)
    ]
    task = load_task(
        write([{"messages": one} for one in turns], "q.jsonl"), template=None, is_chat=True
    )
    assert (task.kind, task.labels) == ("classification", ("fear", "joy"))
    tokens = tokenize_task(task, tmp_path, CONTEXT)
    row = tokens.train.rows[0]
    assert row.prompt.startswith("### system:\nBe short.<|endoftext|>\n### user:\nWhat is")
    assert row.prompt.endswith("<|endoftext|>\n### assistant:\n")
    results, scored = tiny.scored(tokens.validation)
    assert len(results) == len(scored.correct) == 8
    assert scored.confusion is not None
