"""Conversations: our rendering against that of transformers, and what is learned of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import DataError, ModelSourceError
from autotune.task import Message, Template, load_task, tokenize_task
from autotune.task.chat import ChatTemplate

from .conftest import BEGIN, END, save_model

Write = Callable[..., str]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' +"
    " message['content'] + '<end>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Trims, writes the begin token, asks for a clock, has a loop with control, and JSON.
TRIMMING = """{{ bos_token }}
{%- if strftime_now is defined %}{% set day = strftime_now('%d') %}
{%- else %}{% set day = '26' %}{% endif %}
{% for message in messages %}
    {%- if loop.index > 9 %}{% break %}{% endif %}
    {%- if message.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}
{{ message.role | tojson }} on {{ day }}: {{ message.content | trim }}{{ eos_token }}
{% endfor %}
{% if add_generation_prompt %}
"assistant" on {{ day }}: {% endif %}"""
TURNS = [
    {"role": "system", "content": 'Be <short> & "kind".'},
    {"role": "user", "content": " What is it?\nSay. "},
    {"role": "assistant", "content": "A day."},
    {"role": "user", "content": "And now?"},
]


def _model(folder: Path, template: str, *, in_config: Any = False, begin: bool = False) -> Path:
    save_model(folder, begin=begin)
    tokens = {"bos_token": BEGIN, "eos_token": {"content": END, "lstrip": False}}
    if in_config:
        tokens["chat_template"] = template if in_config is True else in_config
    else:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens), encoding="utf-8")
    return folder


def _messages(turns: list[dict[str, str]]) -> list[Message]:
    return [Message(role=turn["role"], content=turn["content"]) for turn in turns]


@pytest.mark.parametrize("template", [CHATML, TRIMMING.replace("strftime_now", "no_clock")])
@pytest.mark.parametrize("asks", [True, False])
def test_conversations_read_as_transformers_renders_them(
    template: str, asks: bool, tmp_path: Path
) -> None:
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415 - the slow reference only

    model = _model(tmp_path, template)
    kind: Any = PreTrainedTokenizerFast  # it has no types
    theirs = kind(tokenizer_file=str(model / "tokenizer.json"), bos_token=BEGIN, eos_token=END)
    slow = theirs.apply_chat_template(
        TURNS, chat_template=template, tokenize=False, add_generation_prompt=asks
    )
    ours = ChatTemplate.load(model)
    assert ours._rendered(_messages(TURNS), add_generation_prompt=asks) == slow


def test_no_prompt_depends_on_the_day(tmp_path: Path) -> None:
    chat = ChatTemplate.load(_model(tmp_path, TRIMMING))
    assert "on 26: " in chat.prompt(_messages(TURNS))


def test_an_answer_follows_its_prompt_and_ends_its_turn(tmp_path: Path) -> None:
    chat = ChatTemplate.load(_model(tmp_path, CHATML))
    assert chat.answer(_messages(TURNS), "It is.") == "It is.<end>\n"
    before, after = chat.around()
    assert (before, after) == ("<|im_start|>user\n", "<end>\n<|im_start|>assistant\n")


SEVERAL = [{"name": "tool", "template": "x"}, {"name": "default", "template": CHATML}]


@pytest.mark.parametrize("in_config", [True, SEVERAL])
def test_a_template_may_stand_in_the_configuration(in_config: Any, tmp_path: Path) -> None:
    chat = ChatTemplate.load(_model(tmp_path, CHATML, in_config=in_config))
    assert chat.prompt(_messages(TURNS[:2])).count("<|im_start|>") == 3


@pytest.mark.parametrize(
    ("template", "turns", "error", "message"),
    [
        ("{% for %}", TURNS, ModelSourceError, "cannot be read"),
        (TRIMMING, [*TURNS, {"role": "tool", "content": "x"}], DataError, "no tools here"),
        ("{{ messages.__class__.__mro__ }}", TURNS, DataError, "refuses turns of system"),
        ("{{ messages[7].content }}", TURNS, DataError, "refuses turns of system, user"),
    ],
)
def test_what_a_template_cannot_do_is_told(
    template: str, turns: list[Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    model = _model(tmp_path, template)
    with pytest.raises(error, match=message):
        ChatTemplate.load(model).prompt(_messages(turns))


def test_a_model_without_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="needs a model with a chat template"):
        ChatTemplate.load(save_model(tmp_path / "plain"))


def test_a_template_that_renders_answers_elsewhere_is_refused(tmp_path: Path) -> None:
    backwards = "{% for m in messages | reverse %}{{ m.content }}\n{% endfor %}"
    with pytest.raises(DataError, match="after the prompt that asks for it"):
        ChatTemplate.load(_model(tmp_path, backwards)).answer(_messages(TURNS), "It is.")


def _conversations(n: int = 40) -> list[dict[str, Any]]:
    turns = [
        [
            {"role": "system", "content": "Name the tone."},
            {"role": "user", "content": f"day {i}"},
            {"role": "assistant", "content": "joy" if i % 2 else "fear"},
        ]
        for i in range(n)
    ]
    return [{"messages": one} for one in turns]


@pytest.mark.parametrize("begin", [False, True])
def test_the_last_turn_is_learned_and_ends_where_the_template_ends_it(
    begin: bool, write: Write, tmp_path: Path
) -> None:
    template = "{{ bos_token }}" + CHATML if begin else CHATML
    model = _model(tmp_path / "model", template, begin=begin)
    task = load_task(write(_conversations()), template=None, is_chat=True)
    tokens = tokenize_task(task, model, 512)
    example, row = tokens.examples[0], tokens.train.rows[0]
    from tokenizers import Tokenizer  # noqa: PLC0415 - as the fixtures do

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    whole = tokenizer.decode(list(example.ids), skip_special_tokens=False)
    assert whole.startswith(BEGIN + "<|im_start|>system" if begin else "<|im_start|>system")
    assert whole.count(BEGIN) == begin, "the tokenizer adds what the template writes"
    answer = tokenizer.decode(list(example.ids[example.answer_start :]), skip_special_tokens=False)
    assert answer in ("joy<end>", "fear<end>")
    assert row.prompt.endswith("<|im_start|>assistant\n")
    assert tokens.around == (
        "<|im_start|>system\nName the tone.<end>\n<|im_start|>user\n",
        "<end>\n<|im_start|>assistant\n",
    )


def test_a_template_of_the_users_is_one_message(write: Write, tmp_path: Path) -> None:
    model = _model(tmp_path / "model", CHATML)
    rows = [{"text": f"day {n}", "tone": ("joy", "fear")[n % 2]} for n in range(40)]
    task = load_task(write(rows), template=Template.parse(r"{text}\nTone:\n{tone}"), is_chat=True)
    row = tokenize_task(task, model, 512).train.rows[0]
    assert row.prompt.startswith("<|im_start|>user\nday ")
    assert row.prompt.endswith("\nTone:<end>\n<|im_start|>assistant\n")
    plain = load_task(write(rows), template=Template.parse(r"{text}\nTone:\n{tone}"))
    assert plain.digest != task.digest


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ("hello", "line 1, is no list of such turns"),
        ([{"from": "human", "value": "x"}], "is no list of such turns"),
        ([{"role": "assistant", "content": "x"}], "has one turn only"),
        ([{"role": "me", "content": "x"}, {"role": "assistant", "content": "y"}], "role 'me'"),
        ([{"role": "user", "content": "x"}] * 2, "ends with 'user' saying 'x'"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": " "}], "saying ' '"),
    ],
)
def test_what_is_no_conversation_is_refused(turns: Any, message: str, write: Write) -> None:
    with pytest.raises(DataError, match=message):
        load_task(write([{"messages": turns}, *_conversations()]), template=None, is_chat=True)


def test_a_table_without_messages_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match="Did you mean 'message'"):
        load_task(write([{"message": "x"}]), template=None, is_chat=True)
