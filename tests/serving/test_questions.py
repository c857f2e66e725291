"""What is asked of a model: its template, its fields, its conversation; what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import UsageError
from autotune.serving import (
    QuestionError,
    ServedModel,
    ask_fields,
    ask_text,
    find_model,
    open_model,
)
from autotune.serving.api_request import ApiError, read_chat, read_completion
from autotune.task import Message

from .conftest import Deploy


@pytest.fixture(scope="module")
def model(classifier: Path) -> ServedModel:
    return open_model(classifier)


def test_a_text_is_the_only_field_or_the_template_filled_already(model: ServedModel) -> None:
    asked = ask_text(model.task, "dark house")
    assert asked.prompt == "### Text: dark house\n### Tone:"
    assert ask_text(model.task, "### Text: dark house\n### Tone: ") == asked
    # What only looks like it is a text.
    assert ask_text(model.task, "### Text: dark").prompt == "### Text: ### Text: dark\n### Tone:"
    with pytest.raises(QuestionError, match=r"filled by 'phrase', got 'tone'"):
        ask_fields(model.task, {"tone": "joy"})
    with pytest.raises(QuestionError, match="Options are for a multiple choice"):
        ask_text(model.task, "x", options=["a", "b"])
    with pytest.raises(QuestionError, match="brings none"):
        ask_fields(None, {"phrase": "x"})


def test_several_fields_are_given_by_name(deploy: Deploy) -> None:
    task = open_model(deploy("classification", "{who}: {phrase}\n{tone}")).task
    assert ask_fields(task, {"who": "I", "phrase": "a"}).prompt == "I: a\n"
    assert ask_text(task, "I: a\n").prompt == "I: a\n"
    with pytest.raises(QuestionError, match="has the fields 'who', 'phrase' and text alone"):
        ask_text(task, "a")


@pytest.mark.parametrize("options", [[], ["a"], ["a", "a"], ["a", ""]])
def test_a_choice_needs_different_options(deploy: Deploy, options: list[str]) -> None:
    task = open_model(deploy("choice")).task
    with pytest.raises(QuestionError, match="two or more, all different"):
        ask_text(task, "x", options=options)


def test_a_conversation_is_asked_in_the_words_of_the_chat(deploy: Deploy, tmp_path: Path) -> None:
    folder = tmp_path / "chat"
    kind = "<system>Be kind.<end>"
    shutil.copytree(deploy("generation", around=(f"{kind}<user>", "<end><assistant>")), folder)
    (folder / "SHA256SUMS").unlink()
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}<assistant>"
    )
    chat = open_model(folder)
    user, past = Message(role="user", content="dark"), Message(role="assistant", content="fear")
    filled = "<user>### Text: dark\n### Tone:<end><assistant>"
    assert chat.turn([user]).prompt == kind + filled
    assert chat.turn([user, past, user]).prompt == f"{kind}{filled}fear<end>{filled}"
    told = chat.turn([Message(role="system", content="Be brief."), user, past, user])
    assert told.prompt == f"<system>Be brief.<end>{filled}fear<end>{filled}"
    with pytest.raises(QuestionError, match="ends with what the user says, got 'assistant'"):
        chat.turn([user, past])


def test_of_a_task_without_chat_the_last_message_is_asked(model: ServedModel) -> None:
    user, past = Message(role="user", content="dark"), Message(role="assistant", content="fear")
    assert model.turn([user, past, user]) == ask_text(model.task, "dark")
    with pytest.raises(QuestionError, match="role 'system' would be ignored"):
        model.turn([Message(role="system", content="Be brief."), user])


_SAID = [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("body", "parameter", "words"),
    [
        ({"prompt": "x", "n": 2}, "n", "does not honour 'n'"),
        ({"prompt": "x", "n": True}, "n", "does not honour 'n'"),
        ({"prompt": "x", "echo": True}, "echo", "does not honour"),
        ({"prompt": "x", "logit_bias": {"5": 1}}, "logit_bias", "does not honour"),
        ({"prompt": "x", "presence_penalty": 0.5}, "presence_penalty", "does not honour"),
        ({"prompt": "x", "temprature": 1}, "temprature", "does not know"),
        ({"prompt": "x", "temperature": 3}, "temperature", "from 0 to 2"),
        ({"prompt": "x", "temperature": "1"}, "temperature", "from 0 to 2"),
        ({"prompt": "x", "top_p": -1}, "top_p", "from 0 to 1"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens", "at least 1"),
        ({"prompt": "x", "seed": 1.5}, "seed", "whole number"),
        ({"prompt": "x", "stop": [""]}, "stop", "none empty"),
        ({"prompt": "x", "stop": ["a"] * 17}, "stop", "at most 16"),
        ({"prompt": "x", "stream": "yes"}, "stream", "true or false"),
        ({"prompt": "x", "stream_options": {"x": 1}}, "stream_options", "include_usage"),
        ({"prompt": [1, 2]}, "prompt", "token ids are not taken"),
        ({"prompt": ["x"] * 257}, "prompt", "at most 256"),
        ({}, "prompt", "a text or a list"),
        ({"prompt": "x", "fields": {"phrase": "x"}}, "prompt", "left out where 'fields'"),
        ({"fields": {"phrase": 1}}, "fields", "a text for each field"),
        ({"prompt": "x", "options": "ab"}, "options", "list of texts"),
        ({"messages": []}, "messages", "one message or more"),
        ({"messages": [{"role": "user"}]}, "messages", "a text as 'content'"),
        ({"messages": _SAID, "tools": [{}]}, "tools", "does not honour"),
        ({"messages": _SAID, "response_format": {"type": "json_object"}}, "response_format", "not"),
        ({"messages": _SAID, "raw": True}, "raw", "for /v1/completions"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(
    model: ServedModel, body: dict[str, Any], parameter: str, words: str
) -> None:
    read = read_chat if "messages" in body else read_completion
    with pytest.raises(ApiError, match=words) as refused:
        read(body, model, "tones")
    assert refused.value.body["error"]["param"] == parameter


def test_what_asks_for_nothing_is_taken(model: ServedModel) -> None:
    neutral: dict[str, Any] = {
        "n": 1,
        "logprobs": None,
        "logit_bias": {},
        "presence_penalty": 0,
        "user": "me",
    }
    asked = read_completion({"prompt": "x", **neutral, "stop": "a"}, model, "tones")
    assert asked == read_completion(
        {"prompt": ["x"], "model": "tones", "stop": ["a"]}, model, "tones"
    )
    parts = [{"type": "text", "text": "x"}]
    said = read_chat({"messages": [{"role": "user", "content": parts}]}, model, "tones")
    assert said.questions == asked.questions
    raw = read_completion({"prompt": "x", "raw": True}, model, "tones").questions[0]
    assert (raw.prompt, raw.is_decision) == ("x", False)


def test_a_model_is_found_in_its_folder_or_its_run(classifier: Path, tmp_path: Path) -> None:
    assert find_model(str(classifier)) == classifier
    assert find_model(str(classifier.parent)) == classifier
    with pytest.raises(UsageError, match="is no folder; name RUN"):
        find_model(str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"has no genai_config\.json, and no model/"):
        find_model(str(tmp_path))
    run = {"target": "cpu", "model": "m", "seed": 0, "sampler": "tpe"}
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(UsageError, match=r"has no model/: it is unfinished.*autotune export"):
        find_model(str(tmp_path))
    with pytest.raises(UsageError, match="is built for the provider 'cpu', --target 'cuda'"):
        open_model(classifier, target="cuda")


@pytest.mark.slow
def test_a_pipe_gets_a_line_for_each_of_its_lines(
    classifier: Path, run_py: Callable[[Path, list[list[list[str]]]], list[str]]
) -> None:
    phrases = ["dark house", "", "fear and fear and fear"]
    done = subprocess.run(
        [sys.executable, "-m", "autotune", "chat", str(classifier)],
        input="\n".join(phrases),
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = run_py(classifier, [[[phrase]] for phrase in phrases if phrase])
    assert done.stdout.splitlines() == [first, "", second]
    assert done.stderr == ""
