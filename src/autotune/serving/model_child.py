"""Answer questions with one loaded model, in a process that loads nothing but its runtime.

A script, never imported by autotune: run by its path, possibly by the Python of another
environment. JSON lines come on stdin, JSON lines leave on the stdout it was given; the first
one says how to load. Questions are answered one after the other; ``{"cancel": id}`` ends one
before its next token. ``engine.py`` is the other side of this protocol.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, TextIO

Say = Callable[..., None]


def _loaded(file: Path) -> ModuleType:
    """Return the module in ``file``, whose folder is not on the path."""
    spec = importlib.util.spec_from_file_location(f"autotune_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ImportError(file.stem)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Inbox:
    """Questions in order, and which of them are not wanted any more."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._questions: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._source:
            message = json.loads(line)
            if "cancel" in message:
                self._cancelled.add(message["cancel"])
            else:
                self._questions.put(message)
        # Who asked is gone. Tearing native libraries down is slow and crashes now and then.
        os._exit(0)

    def next(self) -> dict[str, Any]:
        """Wait for a question."""
        return self._questions.get()

    def is_cancelled(self, number: int) -> bool:
        """Whether nobody waits for this question any more."""
        return number in self._cancelled

    def forget(self, number: int) -> None:
        """Say that a question has been dealt with."""
        self._cancelled.discard(number)


class Model:
    """A loaded model that answers questions.

    Args:
        script: the evaluators' ``runtime_child``, for its ``Runtime`` and ``RefusedError``.
        start: how to load: ``model_dir``, ``provider``, ``libraries`` and ``context_length``
            (0 is unknown).
    """

    def __init__(self, script: ModuleType, start: dict[str, Any]) -> None:
        folder = Path(str(script.__file__)).parent
        if start["libraries"]:
            _loaded(Path(start["libraries"])).load_nvidia_libraries()
        self._refused = script.RefusedError
        self._scoring = _loaded(folder / "scoring.py")
        self._context = start["context_length"] or sys.maxsize
        self.runtime = script.Runtime(
            folder=Path(start["model_dir"]),
            provider=start["provider"],
            threads=_loaded(folder / "usage.py").usable_cores(),
        )

    def prompt_ids(self, prompt: str, *, room: int) -> list[int]:
        """Return the tokens of a prompt after which ``room`` more fit into the context."""
        ids = self._encoded(prompt)
        if not ids:
            raise self._refused("empty_prompt", "the prompt has no tokens")
        if len(ids) + room > self._context:
            raise self._refused(
                "context_overflow",
                f"the prompt has {len(ids)} tokens, with {room} for the answer that is"
                f" {len(ids) + room}, the context of the model {self._context}",
            )
        return ids

    def _encoded(self, text: str) -> list[int]:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self._refused("no_text", f"half of a character is no text: {error}") from error
        ids: list[int] = self.runtime.tokenizer.encode(text).tolist()
        return ids

    def generate(self, asked: dict[str, Any], is_cancelled: Callable[[], bool], say: Say) -> None:
        """Make tokens until one ends the text, the limit is reached or nobody waits."""
        ids = self.prompt_ids(asked["prompt"], room=asked["max_new"] if asked["is_firm"] else 1)
        limit = min(asked["max_new"], self._context - len(ids))
        say(started={"prompt_tokens": len(ids)})
        # The stream gives characters of several tokens when they are whole, and drops bytes that
        # are no text; decoding all tokens at once would give nothing but a mark for those.
        text, finish, made = self.runtime.tokenizer.create_stream(), "length", 0
        for token in self._tokens(ids, limit, asked["sampling"]):
            made += 1
            if token in asked["eos_ids"]:
                finish = "stop"
                break
            say(text=text.decode(token), tokens=made)
            if is_cancelled():
                finish = "cancelled"
                break
        else:
            # The runtime knows more ends than the task: those of the model's configuration.
            finish = "stop" if made < limit else "length"
        say(done={"tokens": made, "finish": finish})

    def _tokens(self, ids: list[int], limit: int, sampling: dict[str, Any]) -> Iterator[int]:
        generator = self.runtime.generator(length=len(ids) + limit, **sampling)
        self._scoring.append(generator, ids)
        for _ in range(limit):
            if generator.is_done():
                return
            generator.generate_next_token()
            yield int(generator.get_next_tokens()[0])

    def decide(self, asked: dict[str, Any], say: Say) -> None:
        """Tell the log-likelihood of each label or option after the prompt."""
        prompt = asked["prompt"]
        if asked["plan"]:
            sequences = asked["label_ids"]
            decision = self._scoring.Decision(asked["plan"], sequences)
        else:
            sequences = [self._option_ids(prompt, text) for text in asked["options"]]
            decision = self._scoring.Decision.of_options(sequences)
        ids = self.prompt_ids(prompt, room=max(1, decision.longest))
        generator = self.runtime.generator(length=len(ids) + max(1, decision.longest))
        self._scoring.append(generator, ids)
        scores = decision.scores(generator, len(ids))
        lengths = [len(one) for one in sequences]
        say(done={"scores": scores, "lengths": lengths, "prompt_tokens": len(ids)})

    def _option_ids(self, prompt: str, text: str) -> list[int]:
        """Return the tokens that ``text`` adds to the prompt, its own where the two would join."""
        before, joint = self._encoded(prompt), self._encoded(prompt + text)
        if joint[: len(before)] == before and len(joint) > len(before):
            return joint[len(before) :]
        return self._encoded(text)[len(self._encoded("")) :]


def answer(model: Model, asked: dict[str, Any], is_cancelled: Callable[[], bool], say: Say) -> None:
    """Answer one question, or say with which name it failed."""
    try:
        if is_cancelled():
            say(done={"finish": "cancelled"})
        elif asked["operation"] == "decide":
            model.decide(asked, say)
        else:
            model.generate(asked, is_cancelled, say)
    except (RuntimeError, MemoryError, FloatingPointError) as error:
        say(error={"kind": "run_failed", "message": str(error)})


def _speaker(out: TextIO, **always: Any) -> Say:
    def say(**message: Any) -> None:
        out.write(json.dumps({**always, **message}, allow_nan=False) + "\n")
        out.flush()

    return say


def main() -> None:
    """Load, then answer until stdin closes."""
    # Libraries print to file descriptor 1 from C++; only our lines may leave there.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    # A descriptor of its own: libraries must not read commands either.
    source = os.fdopen(os.dup(0), "rb")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    inbox, say = Inbox(source), _speaker(out)
    start = inbox.next()
    script = _loaded(Path(start["runtime"]))
    try:
        runtime = (model := Model(script, start)).runtime
    except ImportError as error:
        say(error={"kind": "no_runtime", "message": str(error)})
        return
    except script.RefusedError as error:
        say(error={"kind": error.kind, "message": str(error)})
        return
    say(ready={"load_s": runtime.load_s, "device_type": runtime.device_type})
    while True:
        asked = inbox.next()
        number, tell = asked["id"], _speaker(out, id=asked["id"])
        try:
            answer(model, asked, functools.partial(inbox.is_cancelled, number), tell)
        except script.RefusedError as error:
            tell(error={"kind": error.kind, "message": str(error)})
        inbox.forget(number)


if __name__ == "__main__":
    main()
