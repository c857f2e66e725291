"""``autotune chat``: questions at the terminal, or one per line from a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from autotune.errors import DataError, WorkerError
from autotune.reports import ShippedTask
from autotune.task import Message

from .answering import Begun, Ended, Piece, Sampling, answers
from .engine import Engine, RefusedQuestionError
from .question import Question, QuestionError, ask_fields
from .served_model import ServedModel, open_model

__all__ = ["chat"]

_FRESH = "/new"
_INTERRUPTED = 130
Read = Callable[[str], str]


def chat(folder: Path, *, target: str | None, sampling: Sampling) -> None:
    """Answer what is typed until the end of input; of a pipe, every line.

    At a terminal Ctrl-C ends an answer, and between answers the program.

    Args:
        folder: of the model.
        target: where it runs; None is what it was built for.
        sampling: how answers are generated.

    Raises:
        AutotuneError: the model cannot be loaded, or a line of a pipe cannot be answered.
    """
    model = open_model(folder, target=target)
    is_terminal = sys.stdin.isatty()
    with asyncio.Runner() as runner:
        engine = Engine(model.place)
        try:
            loaded = runner.run(engine.start())
            talk = _Talk(model=model, engine=engine, sampling=sampling, runner=runner)
            if is_terminal:
                _say(f"{model.name}: loaded in {loaded.load_s:.1f} s on {loaded.device_type}.")
                _say(_how(model))
            with contextlib.suppress(EOFError):
                talk.go_on(_prompted if is_terminal else _piped, is_terminal=is_terminal)
        except KeyboardInterrupt:
            if not is_terminal:
                raise typer.Exit(_INTERRUPTED) from None
            _say("")
        finally:
            runner.run(engine.close())


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _how(model: ServedModel) -> str:
    """Return what to type."""
    task, ends = model.task, "Ctrl-D ends."
    if task is None or task.is_chat:
        what = f"A conversation; {_FRESH} begins another one." if model.conversation else "Text."
        return f"{what} {ends}"
    if task.kind == "choice":
        return f"A question, then its options one per line and an empty line. {ends}"
    if task.labels:
        shown = ", ".join(task.labels)
        return f"Every text gets one of: {shown}. {ends}"
    return f"Each question stands alone. {ends}"


def _prompted(name: str) -> str:
    # readline, where it is there, gives a history; the prompt belongs to stderr with the rest.
    return input(f"{name}> ")


def _piped(name: str) -> str:
    del name
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


@dataclass(kw_only=True)
class _Talk:
    """A session with one model."""

    model: ServedModel
    engine: Engine
    sampling: Sampling
    runner: asyncio.Runner
    turns: tuple[Message, ...] = ()

    def go_on(self, read: Read, *, is_terminal: bool) -> None:
        """Ask until ``read`` raises EOFError."""
        while True:
            try:
                question, turns = self._next(read)
                if question is None:
                    if not is_terminal:  # lines of answers stay beside those of questions
                        sys.stdout.write("\n")
                    continue
                text = self._answered(question, is_terminal=is_terminal)
                is_remembered = is_terminal and self.model.conversation is not None
                if text is not None and is_remembered:
                    self.turns = (*turns, Message(role="assistant", content=text))
            except (QuestionError, RefusedQuestionError, DataError, WorkerError) as error:
                if not is_terminal:
                    raise
                _say(str(error))

    def _answered(self, question: Question, *, is_terminal: bool) -> str | None:
        """Answer and return the text; None where Ctrl-C ended it at a terminal."""
        try:
            return self.runner.run(self._answer(question, tells=is_terminal))
        except KeyboardInterrupt:  # the runner has cancelled the answer
            if not is_terminal:
                raise
            _say("\n  [ended]")
            return None

    def _next(self, read: Read) -> tuple[Question | None, tuple[Message, ...]]:
        task = self.model.task
        if task is not None and (len(task.fields) > 1 or task.kind == "choice"):
            fields = {name: read(name) for name in task.fields}
            options = tuple(_options(read)) if task.kind == "choice" else ()
            return ask_fields(task, fields, options=options), ()
        said = read(_name_of(task))
        if said.strip() == _FRESH and self.model.conversation is not None:
            self.turns = ()
            return None, ()
        if not said.strip():
            return None, ()
        turns = (*self.turns, Message(role="user", content=said))
        return self.model.turn(turns), turns

    async def _answer(self, question: Question, *, tells: bool) -> str:
        """Print an answer as it comes and return it."""
        began, text = time.perf_counter(), ""
        eos_ids = self.model.folder.eos_ids
        parts = answers(self.engine, question, self.sampling, eos_ids=eos_ids)
        async with contextlib.aclosing(parts):
            async for part in parts:
                match part:
                    case Piece():
                        text += part.text
                        sys.stdout.write(part.text)
                        sys.stdout.flush()
                    case Ended():
                        sys.stdout.write("\n")
                        sys.stdout.flush()
                        if tells:
                            _say(_about(part, time.perf_counter() - began))
                    case Begun():
                        pass
        return text


def _name_of(task: ShippedTask | None) -> str:
    return task.fields[0] if task is not None else "you"


def _options(read: Read) -> Iterator[str]:
    while option := read("option"):
        yield option


def _about(ended: Ended, seconds: float) -> str:
    """Return what an answer cost, and of a decision how sure it was."""
    cost = f"{seconds:.2f} s"
    if ended.log_likelihoods:
        best = sorted(ended.log_likelihoods.items(), key=lambda item: -item[1])[:3]
        return f"  [{cost}; log-likelihood {', '.join(f'{k} {v:.2f}' for k, v in best)}]"
    cut = ", cut at the limit of tokens" if ended.finish == "length" else ""
    return f"  [{ended.tokens} tokens, {cost}, {ended.tokens / seconds:.0f} tokens/s{cut}]"
