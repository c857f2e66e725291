"""Answers in the objects that OpenAI's clients read, whole or as events of a stream."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from .answering import Begun, Ended, Piece

__all__ = ["Reply", "ReplyForm", "event", "usage"]


def event(value: dict[str, Any]) -> bytes:
    """Return one server-sent event."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


@dataclass(kw_only=True)
class Reply:
    """One answer as it comes.

    Attributes:
        index: of the prompt that it answers.
        prompt_tokens: of that prompt.
        text: so far.
        ended: once it is whole.
    """

    index: int
    prompt_tokens: int = 0
    text: str = ""
    ended: Ended | None = None

    def take(self, part: Begun | Piece | Ended) -> None:
        """Keep what came."""
        match part:
            case Begun():
                self.prompt_tokens = part.prompt_tokens
            case Piece():
                self.text += part.text
            case Ended():
                self.ended = part


@dataclass(frozen=True, kw_only=True)
class ReplyForm:
    """The form of everything that answers one request.

    Attributes:
        model: its name.
        is_chat: conversations have messages, completions have text.
        number: names the request.
        created: seconds since 1970.
    """

    model: str
    is_chat: bool
    number: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, replies: list[Reply]) -> dict[str, Any]:
        """Return the answer that is not streamed."""
        name = "chat.completion" if self.is_chat else "text_completion"
        choices = [
            self._choice(
                reply,
                {"message": {"role": "assistant", "content": reply.text}}
                if self.is_chat
                else {"text": reply.text},
            )
            for reply in replies
        ]
        return self._object(name) | {"choices": choices, "usage": usage(replies)}

    def first(self, reply: Reply) -> dict[str, Any] | None:
        """Return what a stream says before the text; of a completion nothing."""
        if not self.is_chat:
            return None
        return self._chunk(reply, {"delta": {"role": "assistant", "content": ""}})

    def piece(self, reply: Reply, text: str) -> dict[str, Any]:
        """Return an event with some of the text."""
        return self._chunk(reply, {"delta": {"content": text}} if self.is_chat else {"text": text})

    def last(self, reply: Reply) -> dict[str, Any]:
        """Return the event that ends an answer."""
        return self._chunk(reply, {"delta": {}} if self.is_chat else {"text": ""})

    def counts(self, replies: list[Reply]) -> dict[str, Any]:
        """Return the event with the counts of tokens, which has no choices."""
        return self._object(self._chunk_name) | {"choices": [], "usage": usage(replies)}

    @property
    def _chunk_name(self) -> str:
        return "chat.completion.chunk" if self.is_chat else "text_completion"

    def _object(self, name: str) -> dict[str, Any]:
        prefix = "chatcmpl" if self.is_chat else "cmpl"
        return {
            "id": f"{prefix}-{self.number}",
            "object": name,
            "created": self.created,
            "model": self.model,
        }

    def _chunk(self, reply: Reply, content: dict[str, Any]) -> dict[str, Any]:
        return self._object(self._chunk_name) | {"choices": [self._choice(reply, content)]}

    def _choice(self, reply: Reply, content: dict[str, Any]) -> dict[str, Any]:
        ended = reply.ended
        choice = {
            "index": reply.index,
            **content,
            "logprobs": None,
            "finish_reason": ended.finish if ended else None,
        }
        if ended is not None and ended.log_likelihoods:
            choice["log_likelihoods"] = ended.log_likelihoods
        return choice


def usage(replies: list[Reply]) -> dict[str, int]:
    """Return how many tokens all prompts and all answers have."""
    asked = sum(reply.prompt_tokens for reply in replies)
    made = sum(reply.ended.tokens for reply in replies if reply.ended is not None)
    return {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}
