"""Conversations in the words of a chat model: its own template, rendered without transformers.

The template is code from a model folder, so it runs in Jinja's sandbox. It gets no clock
(``strftime_now``), because a prompt that changes with the date would make no two runs
alike, and ``enable_thinking`` is false, because the reference is the answer alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from autotune.errors import DataError, ModelSourceError

from .data import library
from .rows import Message

if TYPE_CHECKING:
    from jinja2 import Template as JinjaTemplate

__all__ = ["ChatTemplate"]

_FILE = "chat_template.jinja"
_CONFIG = "tokenizer_config.json"
# A text that no template changes and no answer contains.
_MARK = "autotune-marks-this-place"


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """The template of one model; make it with ``ChatTemplate.load``.

    Attributes:
        template: compiled.
        tokens: special tokens as text by their names (``bos_token``, ``eos_token``, ...).
    """

    template: JinjaTemplate
    tokens: dict[str, str]

    @classmethod
    def load(cls, model_dir: Path) -> Self:
        """Return the template of the model in ``model_dir``.

        Raises:
            ModelSourceError: the model has none, or none that can be read.
            DataError: Jinja is not installed.
        """
        config = _config(model_dir / _CONFIG)
        text = _template_text(model_dir, config)
        jinja2 = library("jinja2", purpose="--chat")
        sandbox = library("jinja2.sandbox", purpose="--chat")
        environment = sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        try:
            template = environment.from_string(text)
        except jinja2.TemplateError as error:
            raise ModelSourceError(
                f"The chat template of {model_dir.name!r} cannot be read ({error}); correct it, or"
                " leave --chat out."
            ) from error
        return cls(template=template, tokens=_special_tokens(config))

    def prompt(self, messages: Sequence[Message]) -> str:
        """Return the conversation up to the place where the model answers.

        Raises:
            DataError: the template refuses these turns.
        """
        return self._rendered(messages, add_generation_prompt=True)

    def answer(self, messages: Sequence[Message], text: str) -> str:
        """Return what follows ``prompt(messages)`` where the model answers ``text``.

        That is the text and the end of its turn, and whatever the template puts between.

        Raises:
            DataError: the template refuses these turns, or renders an answer differently
                from what it asks the model for.
        """
        before = self.prompt(messages)
        answered = (*messages, Message(role="assistant", content=text))
        whole = self._rendered(answered, add_generation_prompt=False)
        if not whole.startswith(before) or text.strip() not in whole[len(before) :]:
            raise DataError(
                "A chat template renders an answer after the prompt that asks for it; the model's"
                f" renders {whole[-80:]!r} after {before[-80:]!r}. Use a model with another"
                " template, or leave --chat out."
            )
        return whole[len(before) :]

    def around(self, messages: Sequence[Message] = ()) -> tuple[str, str]:
        """Return the texts before and after what a user says after ``messages``.

        Raises:
            DataError: the template refuses these turns.
        """
        marked = self.prompt((*messages, Message(role="user", content=_MARK)))
        before, found, after = marked.partition(_MARK)
        if not found or _MARK in after:
            raise DataError(
                "A chat template renders what the user says once and as it is, the model's does"
                " not; use a model with another template, or leave --chat out."
            )
        return before, after

    def _rendered(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        jinja2 = library("jinja2", purpose="--chat")
        turns = [{"role": one.role, "content": one.content} for one in messages]
        try:
            return self.template.render(
                messages=turns,
                add_generation_prompt=add_generation_prompt,
                enable_thinking=False,
                **self.tokens,
            )
        except (jinja2.TemplateError, TypeError, KeyError) as error:
            roles = ", ".join(one.role for one in messages)
            raise DataError(
                f"The model's chat template refuses turns of {roles} ({error}); correct these rows."
            ) from error


def _refuse(message: str) -> None:
    """Do what a template asks for with ``raise_exception``."""
    raise library("jinja2", purpose="--chat").TemplateError(message)


def _to_json(value: Any, indent: int | None = None) -> str:
    # Jinja's own filter escapes for HTML, which models never saw.
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _config(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelSourceError(
            f"{path.name} of the model {path.parent.name!r} cannot be read ({error}); fetch the"
            " model again."
        ) from error
    return found if isinstance(found, dict) else {}


def _template_text(model_dir: Path, config: dict[str, Any]) -> str:
    """Return the template's text: a file of its own comes first, then the configuration."""
    path = model_dir / _FILE
    if path.is_file():
        return path.read_text(encoding="utf-8")
    found = config.get("chat_template")
    if isinstance(found, list):  # several by name; "default" is the one for plain chats
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default")
    if isinstance(found, str):
        return found
    raise ModelSourceError(
        f"--chat needs a model with a chat template, {model_dir.name!r} has neither {_FILE} nor"
        f" one in {_CONFIG}; use a model that was made for chats, or leave --chat out."
    )


def _special_tokens(config: dict[str, Any]) -> dict[str, str]:
    found = {}
    for name, value in config.items():
        text = value.get("content") if isinstance(value, dict) else value
        if name.endswith("_token") and isinstance(text, str):
            found[name] = text
    return found
