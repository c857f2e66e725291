"""run.py as users start it, against a slow and obvious reading of the same tiny model in torch."""

from __future__ import annotations

import ast
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune.reports import DecisionRule, load_model
from autotune.task import Template, decision_plan

EOS_ID = 0
PHRASES = (
    "I am so happy about the news",
    "dark house",
    "What a surprise = to see them here!",
    "x",
    "The saddest day of the year. " * 3,
    "Ünïcödé, \"quotes\" and 'more'",
    "fear and fear and fear",
    "1234567890",
)
_ANSWER_ALL = (
    "import json, sys, run; print(json.dumps([run.answer([t]) for t in json.loads(sys.argv[1])]));"
    "print(json.dumps(sorted(sys.modules)))"
)


def _python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, check=False, text=True
    )


def _answer(folder: Path, *words: str) -> str:
    """Start run.py from another folder and return the last line it prints."""
    done = _python(folder.parent, str(folder / "run.py"), *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


class SlowModel:
    """The tiny model in transformers; every question is a forward pass over the whole text."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer  # noqa: PLC0415 - with the tiny model only
        from transformers import AutoModelForCausalLM  # noqa: PLC0415 - heavy

        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.model = AutoModelForCausalLM.from_pretrained(folder)  # in evaluation mode

    def log_probabilities(self, ids: Sequence[int]) -> Any:
        import torch  # noqa: PLC0415 - heavy

        with torch.no_grad():
            return self.model(torch.tensor([list(ids)])).logits[0].double().log_softmax(-1)

    def label_scores(self, prompt: str, label_ids: Sequence[Sequence[int]]) -> list[float]:
        """Sum each label's tokens up to the first one that makes it unique."""
        before = self.tokenizer.encode(prompt).ids
        scores = []
        for ids in label_ids:
            unique = next(
                n
                for n in range(1, len(ids) + 1)
                if sum(other[:n] == ids[:n] for other in label_ids) == 1
            )
            table = self.log_probabilities([*before, *ids])
            scores.append(sum(float(table[len(before) - 1 + n, ids[n]]) for n in range(unique)))
        return scores

    def is_plain(self, ids: Sequence[int]) -> bool:
        """Whether the tokens are ASCII text without control characters or outer spaces."""
        text = self.tokenizer.decode(list(ids))
        return bool(text.isascii() and text.isprintable() and text == text.strip())

    def greedy(self, prompt: str, n_new: int) -> list[int]:
        ids = self.tokenizer.encode(prompt).ids
        start = len(ids)
        for _ in range(n_new):
            ids.append(int(self.log_probabilities(ids)[-1].argmax()))
        return ids[start:]


@pytest.fixture(scope="module")
def slow_model(tiny_model_dir: Path) -> SlowModel:
    return SlowModel(tiny_model_dir)


def _with_template(rule: DecisionRule, text: str) -> DecisionRule:
    template = Template.parse(text)
    return replace(rule, template=template.text, literals=template.literals, fields=template.fields)


def _generation(rule: DecisionRule, *, n_new: int, eos_ids: tuple[int, ...]) -> DecisionRule:
    return replace(
        rule,
        kind="generation",
        labels=(),
        label_ids=(),
        nodes=(),
        eos_ids=eos_ids,
        max_new_tokens=n_new,
    )


def test_the_script_is_short_and_needs_onnxruntime_genai_only(
    deploy: Callable[[DecisionRule], Path], classification_rule: DecisionRule
) -> None:
    text = (deploy(classification_rule) / "run.py").read_text()
    assert len(text.splitlines()) <= 32
    imported = {
        alias.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    # onnxruntime-genai depends on numpy and onnxruntime; the latter is for models on CUDA.
    own = {"json", "os", "pathlib", "sys"}
    assert imported == own | {"numpy", "onnxruntime", "onnxruntime_genai"}


def test_classification_equals_the_slow_scoring(
    deploy: Callable[[DecisionRule], Path], classification_rule: DecisionRule, slow_model: SlowModel
) -> None:
    # All labels are decided by three tokens, so that none wins by being short.
    tails = itertools.product((40, 90), (50, 60), (70, 80, 85))
    ids = tuple((*tail, EOS_ID) for tail in tails)
    labels = tuple(f"label {place}" for place in range(len(ids)))
    nodes = decision_plan(ids).nodes
    assert len(nodes) == 1 + 2 + 4
    rule = replace(classification_rule, labels=labels, label_ids=ids, nodes=nodes)
    folder = deploy(rule)
    done = _python(folder, "-c", _ANSWER_ALL, json.dumps(PHRASES))
    answers, modules = map(json.loads, done.stdout.splitlines()[-2:])
    prompts = [f"### Text: {phrase}\n### Tone:" for phrase in PHRASES]
    scores = [slow_model.label_scores(prompt, rule.label_ids) for prompt in prompts]
    assert answers == [rule.labels[row.index(max(row))] for row in scores]
    # A constant answer would pass by luck; these prompts have several.
    assert len(set(answers)) > 3
    assert {"torch", "transformers", "tokenizers", "autotune"}.isdisjoint(modules)


def test_text_and_field_forms_give_the_same_last_line(
    deploy: Callable[[DecisionRule], Path], classification_rule: DecisionRule
) -> None:
    folder = deploy(classification_rule)
    forms = [["dark house"], ["dark", "house"], ["phrase=dark house"], ["phrase=dark", "house"]]
    answers = {_answer(folder, *words) for words in forms}
    assert len(answers) == 1
    assert answers <= set(classification_rule.labels)


def test_several_fields_are_filled_by_name_in_any_order(
    deploy: Callable[[DecisionRule], Path], classification_rule: DecisionRule, slow_model: SlowModel
) -> None:
    rule = _with_template(classification_rule, "{{{who}}} {phrase}; {who} feels   {tone}.")
    folder = deploy(rule)
    scores = slow_model.label_scores("{I} a=b; I feels", rule.label_ids)
    expected = rule.labels[scores.index(max(scores))]
    assert _answer(folder, "who=I", "phrase=a=b") == expected
    assert _answer(folder, "phrase=a=b", "who=I") == expected


@pytest.mark.parametrize("words", [[], ["who=I"], ["just text"], ["who=I", "phrase=b", "x=1"]])
def test_missing_or_unknown_fields_are_told_how_it_goes(
    deploy: Callable[[DecisionRule], Path], classification_rule: DecisionRule, words: list[str]
) -> None:
    folder = deploy(_with_template(classification_rule, "{who} {phrase} {tone}"))
    done = _python(folder, "run.py", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == ["usage: run.py who=... phrase=... "]


def test_generation_is_greedy_and_stops_at_the_limit_or_at_end_of_sequence(
    deploy: Callable[[DecisionRule], Path],
    classification_rule: DecisionRule,
    slow_model: SlowModel,
    tmp_path: Path,
) -> None:
    # A random model mostly writes broken UTF-8, which tokenizers render each in its own way.
    phrase, ids = next(
        (phrase, ids)
        for phrase in map("phrase number {}".format, range(2000))
        if (ids := slow_model.greedy(f"### Text: {phrase}\n### Tone:", 3))[2] not in ids[:2]
        and slow_model.is_plain(ids[:2])
        and slow_model.is_plain(ids)
    )
    for n_shown, eos_ids in ((3, (EOS_ID,)), (2, (EOS_ID, ids[2]))):
        folder = deploy(_generation(classification_rule, n_new=3, eos_ids=eos_ids))
        assert _answer(folder, phrase) == slow_model.tokenizer.decode(ids[:n_shown])
        folder.rename(tmp_path / f"{n_shown} tokens")


def _choice(rule: DecisionRule, *, metric: str) -> DecisionRule:
    asked = _with_template(rule, "### Text: {phrase}\n### Tone:  {tone}.")
    return replace(
        asked, kind="choice", labels=(), label_ids=(), nodes=(), options=("o",), metric=metric
    )


def test_options_are_chosen_as_the_slow_scoring_chooses_them(
    deploy: Callable[[DecisionRule], Path],
    classification_rule: DecisionRule,
    slow_model: SlowModel,
    tmp_path: Path,
) -> None:
    options = ["joy", "joyful", "a very long and dark sadness", "fear and fear"]
    phrases = [phrase for phrase in PHRASES if "=" not in phrase]
    chosen = {}
    for metric in ("sum", "per-token", "per-character"):
        folder = deploy(_choice(classification_rule, metric=metric))
        program = "import json, sys, run; print(json.dumps([run.answer(['phrase=' + t],"
        program += " json.loads(sys.argv[2])) for t in json.loads(sys.argv[1])]))"
        done = _python(folder, "-c", program, json.dumps(phrases), json.dumps(options))
        assert done.returncode == 0, done.stderr
        chosen[metric] = json.loads(done.stdout.splitlines()[-1])
        slow = []
        for phrase in phrases:
            before = slow_model.tokenizer.encode(f"### Text: {phrase}\n### Tone:").ids
            totals = []
            for option in options:
                ids = slow_model.tokenizer.encode(f"  {option}.").ids
                table = slow_model.log_probabilities([*before, *ids])
                total = sum(float(table[len(before) - 1 + n, one]) for n, one in enumerate(ids))
                length = {"sum": 1, "per-token": len(ids), "per-character": len(f"{option}.")}
                totals.append(total / length[metric])
            slow.append(options[totals.index(max(totals))])
        assert chosen[metric] == slow
        last = _answer(folder, f"phrase={phrases[0]}", "--", *options)
        assert last == slow[0]
        folder.rename(tmp_path / metric)
    assert chosen["sum"] != chosen["per-token"], "a rule that makes no difference shows nothing"


@pytest.mark.parametrize("words", [[], ["phrase=x"], ["phrase=x", "--", "a"], ["--", "a", "b"]])
def test_a_question_without_options_is_told_how_it_goes(
    deploy: Callable[[DecisionRule], Path], classification_rule: DecisionRule, words: list[str]
) -> None:
    folder = deploy(_choice(classification_rule, metric="sum"))
    done = _python(folder, "run.py", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == ["usage: run.py phrase=... -- OPTION OPTION ..."]


def test_a_chat_is_asked_in_the_texts_around_it(
    deploy: Callable[[DecisionRule], Path], classification_rule: DecisionRule
) -> None:
    asked = _with_template(classification_rule, " {who}: {phrase}\n{tone}")
    chat = replace(
        _generation(asked, n_new=2, eos_ids=(EOS_ID,)),
        around=("<user>\n", "<end>\n<assistant>\n"),
    )
    task = load_model(deploy(chat)).task
    assert task.prompt == ("<user>\n", "who", ": ", "phrase", "<end>\n<assistant>\n")
    assert task.is_chat


def test_plain_text_is_gone_on_with(
    deploy: Callable[[DecisionRule], Path], classification_rule: DecisionRule
) -> None:
    template = Template.parse("{text}", is_plain_text=True)
    rule = _generation(classification_rule, n_new=3, eos_ids=(EOS_ID,))
    rule = replace(
        rule, kind="perplexity", template="{text}", literals=template.literals, fields=("text",)
    )
    folder = deploy(rule)
    assert load_model(folder).task.prompt == ("", "text", "")
    assert _python(folder, "run.py", "A dark", "house").returncode == 0
