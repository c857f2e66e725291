"""From a question to its answer in pieces: decided, or generated, stopped and tidied."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

from .answer_text import AnswerText, StopText
from .engine import Engine
from .question import Question

__all__ = ["Begun", "Ended", "Piece", "Sampling", "answers"]

Finish = Literal["stop", "length"]
# The runtime takes a C int; any integer is as good a seed as its remainder.
_SEEDS = 2**31


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are chosen, and when to end.

    Attributes:
        max_new_tokens: limit; None takes the task's and, where the context has less room,
            what is left of it.
        temperature: 0 takes the likeliest token, as the model was measured.
        top_p: probability that the sampled tokens have together, in (0, 1].
        seed: of the sampling; None draws another one each time.
        stops: strings that end the answer and are no part of it.
    """

    max_new_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stops: tuple[str, ...] = ()

    def options(self) -> dict[str, Any]:
        """Return the search options of onnxruntime-genai; none of them is greedy."""
        if self.temperature <= 0 or self.top_p <= 0:
            return {}
        return {
            "do_sample": True,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": 0,
            # Never the runtime's own drawing of one, see ``runtime_child``.
            "random_seed": self._seed(),
        }

    def _seed(self) -> int:
        return secrets.randbelow(_SEEDS) if self.seed is None else self.seed % _SEEDS


@dataclass(frozen=True, kw_only=True)
class Begun:
    """The question was taken; nothing is refused any more.

    Attributes:
        prompt_tokens: of the prompt.
    """

    prompt_tokens: int


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some of the answer's text, never empty."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The answer is whole.

    Attributes:
        finish: ``length`` where the limit of tokens cut it off.
        tokens: that were made, the end of the text among them; of a decision those of the
            answer.
        log_likelihoods: of a decision, by answer.
    """

    finish: Finish
    tokens: int
    log_likelihoods: dict[str, float] = field(default_factory=dict)


async def answers(
    engine: Engine, question: Question, sampling: Sampling, *, eos_ids: tuple[int, ...]
) -> AsyncGenerator[Begun | Piece | Ended, None]:
    """Yield ``Begun``, the pieces of the answer, and ``Ended``.

    Leaving early cancels the question. A decision takes no notice of ``sampling``.

    Args:
        engine: with the model.
        question: to ask.
        sampling: how to generate.
        eos_ids: tokens that end an answer.

    Raises:
        BusyError, RefusedQuestionError, WorkerError: as ``Engine.ask``.
    """
    if question.is_decision:
        async with aclosing(engine.ask(question.decision())) as messages:
            async for message in messages:
                done = message["done"]
                decided = question.decided(done["scores"], done["lengths"])
                yield Begun(prompt_tokens=done["prompt_tokens"])
                yield Piece(text=decided.answer)
                yield Ended(
                    finish="stop", tokens=decided.tokens, log_likelihoods=decided.log_likelihoods
                )
        return
    wanted = sampling.max_new_tokens
    asked = {
        "operation": "generate",
        "prompt": question.prompt,
        "max_new": question.default_new_tokens if wanted is None else wanted,
        "is_firm": wanted is not None,
        "eos_ids": eos_ids,
        "sampling": sampling.options(),
    }
    messages = engine.ask(asked)
    async with aclosing(messages), aclosing(_generated(messages, question, sampling)) as parts:
        async for part in parts:
            yield part


async def _generated(
    messages: AsyncGenerator[dict[str, Any], None], question: Question, sampling: Sampling
) -> AsyncGenerator[Begun | Piece | Ended, None]:
    stop, tidy = StopText(sampling.stops), AnswerText(question.suffix or "")
    keeps_spaces = question.suffix is None
    async for message in messages:
        if "started" in message:
            yield Begun(prompt_tokens=message["started"]["prompt_tokens"])
            continue
        said = message.get("done", message)
        is_over = "done" in message
        text = stop.feed(said.get("text", ""))
        is_over = is_over or stop.is_stopped
        if is_over:
            text += stop.finish()
        if not keeps_spaces:
            text = tidy.feed(text) + (tidy.finish() if is_over else "")
        if text:
            yield Piece(text=text)
        if is_over:
            is_cut = not stop.is_stopped and said["finish"] == "length"
            yield Ended(finish="length" if is_cut else "stop", tokens=said["tokens"])
            return
