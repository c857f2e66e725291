"""What an OpenAI client sends, as questions; what is not honoured is refused by name.

Fields are those of the completions and chat completions of OpenAI's API reference
(https://platform.openai.com/docs/api-reference). Three are ours, given as ``extra_body`` by
OpenAI's clients: ``fields`` and ``options`` of the task, and ``raw`` for text as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autotune.task import Message

from .answering import Sampling
from .question import Question, QuestionError, ask_fields, ask_raw, ask_text
from .served_model import ServedModel

__all__ = ["ApiError", "Asked", "Reader", "as_api_error", "read_chat", "read_completion"]

# Fields that change nothing here: who asks, where it is kept, how it is billed.
_WITHOUT_EFFECT = {
    *("user", "metadata", "store", "service_tier", "safety_identifier"),
    *("prompt_cache_key", "prompt_cache_retention", "parallel_tool_calls"),
}
# Fields of the API that are not honoured, with the values that ask for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "logprobs": (False,),
    "top_logprobs": (),
    "logit_bias": ({},),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": (),
    "verbosity": (),
    "web_search_options": (),
}
_COMMON = {
    *("model", "max_tokens", "temperature", "top_p", "seed", "stop", "stream"),
    *("stream_options", "fields", "options", "raw"),
}
_MOST_STOPS = 16
_MOST_PROMPTS = 256
_HOTTEST = 2.0


class ApiError(Exception):
    """An answer that is an error, in the shape that OpenAI's clients read.

    Args:
        message: for people.
        status: of HTTP.
        code: for programs, such as ``model_not_found``.
        parameter: the field that is wrong.
        kind: ``invalid_request_error`` and the like.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = None,
        parameter: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": parameter, "code": code}}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that can be answered.

    Attributes:
        questions: one per prompt.
        sampling: of all of them.
        streams: the answer is wanted in pieces.
        tells_usage: a stream ends with the counts of tokens.
        is_chat: it was asked as a conversation.
    """

    questions: tuple[Question, ...]
    sampling: Sampling
    streams: bool
    tells_usage: bool
    is_chat: bool


Reader = Callable[[Any, ServedModel, str], Asked]


def read_completion(body: Any, model: ServedModel, name: str) -> Asked:
    """Return what ``/v1/completions`` was asked of ``model``, which is served as ``name``.

    Raises:
        ApiError: with the field that is wrong.
        QuestionError: what is asked does not fit the model's task.
    """
    found = _checked(body, known=_COMMON | {"prompt"}, name=name)
    options = _texts(found, "options")
    prompts = _prompts(found)
    if "fields" in found:
        if prompts:
            raise _wrong("prompt", "is left out where 'fields' are given", found["prompt"])
        return _asked(found, [ask_fields(model.task, _fields(found), options=options)])
    if not prompts:
        raise _wrong("prompt", "is a text or a list of texts", found.get("prompt"))
    if _flag(found, "raw"):
        return _asked(found, [ask_raw(prompt) for prompt in prompts])
    return _asked(found, [ask_text(model.task, prompt, options=options) for prompt in prompts])


def read_chat(body: Any, model: ServedModel, name: str) -> Asked:
    """Return what ``/v1/chat/completions`` was asked of ``model``, which is served as ``name``.

    Raises:
        ApiError: with the field that is wrong.
        QuestionError: what is asked does not fit the model's task.
        DataError: the model's chat template refuses these turns.
    """
    found = _checked(body, known=_COMMON | {"messages", "max_completion_tokens"}, name=name)
    options = _texts(found, "options")
    messages = _messages(found)
    if "fields" in found:
        question = ask_fields(model.task, _fields(found), options=options)
    elif _flag(found, "raw"):
        raise _wrong("raw", "is for /v1/completions, whose prompt is text", found["raw"])
    else:
        question = model.turn(messages, options=options)
    return _asked(found, [question], is_chat=True)


def _checked(body: Any, *, known: set[str], name: str) -> dict[str, Any]:
    """Return the fields that ask for something, none of them one that is not honoured."""
    if not isinstance(body, dict):
        raise ApiError(f"A request is a JSON object, got {type(body).__name__}.")
    # A field that is null is one that was left out: clients send them so.
    given = {name: value for name, value in body.items() if value is not None}
    for field, value in given.items():
        if field in known or field in _WITHOUT_EFFECT:
            continue
        if field not in _NEUTRAL:
            raise ApiError(
                f"This server does not know the field {field!r}; leave it out.",
                parameter=field,
                code="unknown_parameter",
            )
        if not any(value == one and type(value) is type(one) for one in _NEUTRAL[field]):
            raise ApiError(
                f"This server does not honour {field!r}, got {str(value)[:80]!r}; leave it out.",
                parameter=field,
                code="unsupported_parameter",
            )
    asked = given.get("model", name)
    if asked != name:
        raise ApiError(
            f"The model {asked!r} does not exist here; this server has {name!r}.",
            status=404,
            code="model_not_found",
            parameter="model",
        )
    return given


def _asked(found: Mapping[str, Any], questions: list[Question], *, is_chat: bool = False) -> Asked:
    limits = [name for name in ("max_completion_tokens", "max_tokens") if name in found]
    ways = found.get("stream_options", {})
    if not isinstance(ways, dict) or not set(ways) <= {"include_usage", "include_obfuscation"}:
        raise _wrong("stream_options", "is {'include_usage': true} or left out", ways)
    return Asked(
        questions=tuple(questions),
        sampling=Sampling(
            max_new_tokens=_whole(found, limits[0], least=1) if limits else None,
            temperature=_number(found, "temperature", default=0.0, most=_HOTTEST),
            top_p=_number(found, "top_p", default=1.0, most=1.0),
            seed=_whole(found, "seed") if "seed" in found else None,
            stops=_stops(found),
        ),
        streams=_flag(found, "stream"),
        tells_usage=_flag(ways, "include_usage"),
        is_chat=is_chat,
    )


def _wrong(name: str, rule: str, value: Any) -> ApiError:
    return ApiError(f"{name!r} {rule}, got {str(value)[:80]!r}.", parameter=name)


def _flag(found: Mapping[str, Any], name: str) -> bool:
    value = found.get(name, False)
    if not isinstance(value, bool):
        raise _wrong(name, "is true or false", value)
    return value


def _whole(found: Mapping[str, Any], name: str, *, least: int | None = None) -> int:
    value = found[name]
    if type(value) is not int or (least is not None and value < least):
        rule = "is a whole number" if least is None else f"is a whole number, at least {least}"
        raise _wrong(name, rule, value)
    return value


def _number(found: Mapping[str, Any], name: str, *, default: float, most: float) -> float:
    value = found.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise _wrong(name, f"is a number from 0 to {most:g}", value)
    return float(value)


def _stops(found: Mapping[str, Any]) -> tuple[str, ...]:
    value = found.get("stop", [])
    stops = [value] if isinstance(value, str) else value
    is_right = isinstance(stops, list) and all(isinstance(one, str) and one for one in stops)
    if not is_right or len(stops) > _MOST_STOPS:
        raise _wrong("stop", f"is a text or a list of at most {_MOST_STOPS}, none empty", value)
    return tuple(stops)


def _texts(found: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = found.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _wrong(name, "is a list of texts", value)
    return tuple(value)


def _prompts(found: Mapping[str, Any]) -> tuple[str, ...]:
    value = found.get("prompt", [])
    prompts = [value] if isinstance(value, str) else value
    if not isinstance(prompts, list) or not all(isinstance(one, str) for one in prompts):
        raise _wrong("prompt", "is a text or a list of texts (token ids are not taken)", value)
    if len(prompts) > _MOST_PROMPTS:
        raise _wrong("prompt", f"has at most {_MOST_PROMPTS} texts", len(prompts))
    return tuple(prompts)


def _fields(found: Mapping[str, Any]) -> dict[str, str]:
    value = found["fields"]
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise _wrong("fields", "is an object with a text for each field", value)
    return value


def _messages(found: Mapping[str, Any]) -> tuple[Message, ...]:
    value = found.get("messages", [])
    if not isinstance(value, list) or (not value and "fields" not in found):
        raise _wrong("messages", "is a list of one message or more", value)
    return tuple(_message(one) for one in value)


def _message(value: Any) -> Message:
    role = value.get("role") if isinstance(value, dict) else None
    content = value.get("content") if isinstance(value, dict) else None
    if isinstance(content, list):  # parts, of which only texts can be read
        found = [part.get("text") if isinstance(part, dict) else None for part in content]
        texts = [one for one in found if isinstance(one, str)]
        content = "".join(texts) if len(texts) == len(content) else None
    if not isinstance(role, str) or not isinstance(content, str):
        raise _wrong("messages", "has a 'role' and a text as 'content' in each", value)
    return Message(role=role, content=content)


def as_api_error(error: QuestionError) -> ApiError:
    """Return the same refusal in OpenAI's shape."""
    return ApiError(str(error), parameter=error.parameter)
