"""The parent's side of ``model_child.py``: one process with one model, questions in turn.

A process of its own, because native code that crashes or is killed for its memory must not
take the server with it, and because a provider may need another interpreter. Questions wait
for each other in the order of their arrival. Who stops waiting cancels its question.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import json
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from autotune.errors import (
    AutotuneError,
    BuildError,
    HardwareError,
    ModelSourceError,
    RunError,
    WorkerError,
)

__all__ = ["BusyError", "Engine", "LoadedModel", "ModelPlace", "RefusedQuestionError"]

_CHILD = Path(__file__).with_name("model_child.py")
_LONGEST_LINE = 1 << 24
_END_S = 2.0
_INSTALL = 'pip install "autotune-slm[cpu]", or onnxruntime-genai alone'
# Error class and advice per kind of refusal while loading.
_REFUSALS: dict[str, tuple[type[AutotuneError], str]] = {
    "no_runtime": (HardwareError, f"install it ({_INSTALL}), or name its --target NAME@PYTHON"),
    "no_provider": (HardwareError, "name the interpreter that has it: --target NAME@PYTHON"),
    "fell_back": (HardwareError, "check the provider's driver"),
    "custom_ops": (ModelSourceError, "remove the entry, native code of a model is never loaded"),
    "out_of_memory": (BuildError, "close what needs memory, or choose a smaller model"),
    "load_failed": (BuildError, "check it with `autotune validate`"),
}


class BusyError(RunError):
    """More questions wait than are taken."""


class RefusedQuestionError(RunError):
    """A question that the model cannot take.

    Attributes:
        kind: ``context_overflow``, ``empty_prompt``, or a name of the runtime's failure.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, kw_only=True)
class ModelPlace:
    """What is loaded where.

    Attributes:
        folder: of the model.
        provider: execution provider in the spelling of onnxruntime-genai.
        interpreter: Python that has it, this one by default.
        libraries: script that loads the provider's libraries; empty where it needs none.
        context_length: tokens of prompt and answer together; 0 where unknown.
    """

    folder: Path
    provider: str
    interpreter: str = ""
    libraries: str = ""
    context_length: int = 0


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """What the process says once the model is loaded.

    Attributes:
        load_s: seconds that the runtime took.
        device_type: where it runs, in the runtime's words.
    """

    load_s: float
    device_type: str


class Engine:
    """Asks one model one question at a time; close it with ``close``.

    Args:
        place: what to load.
        most_waiting: questions that may wait for their turn.
    """

    def __init__(self, place: ModelPlace, *, most_waiting: int = 64) -> None:
        self._place = place
        self._most_waiting = most_waiting
        self._waiting = 0
        self._turn = asyncio.Lock()  # serves in the order of arrival
        self._numbers = itertools.count(1)
        self._process: asyncio.subprocess.Process | None = None
        self._log: IO[bytes] | None = None

    async def start(self) -> LoadedModel:
        """Load the model.

        Raises:
            HardwareError: the runtime or the provider is not there.
            ModelSourceError: the model names native code.
            BuildError: it cannot be loaded.
            WorkerError: the process died.
        """
        path = Path(str(self._place.interpreter or sys.executable))
        self._log = self._log or tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        try:
            # -P keeps the folder of the script off sys.path; a session of its own keeps
            # Ctrl-C for the parent, whose end closes the pipe and so ends the child.
            self._process = await asyncio.create_subprocess_exec(
                *(str(path), "-P", str(_CHILD)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=self._log,
                env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
                start_new_session=True,
                limit=_LONGEST_LINE,
            )
        except OSError as error:
            raise HardwareError(
                f"The interpreter {str(path)!r} cannot be run ({error.strerror}); name one that"
                " has onnxruntime-genai: --target NAME@PYTHON."
            ) from error
        self._send(
            {
                "runtime": _path_of("autotune.evaluators.runtime_child"),
                "model_dir": str(self._place.folder.resolve()),
                "provider": self._place.provider,
                "libraries": self._place.libraries,
                "context_length": self._place.context_length,
            }
        )
        reply = await self._read()
        if "error" in reply:
            await self.close()
            raise self._refusal(**reply["error"])
        return LoadedModel(**reply["ready"])

    def _refusal(self, kind: str, message: str) -> AutotuneError:
        error, advice = _REFUSALS.get(kind, (BuildError, "check it with `autotune validate`"))
        return error(
            f"The model {str(self._place.folder)!r} must run on {self._place.provider!r}:"
            f" {message.strip().rstrip('.')}; {advice}."
        )

    async def ask(self, question: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Yield what the model says to ``question``: ``started``, ``text`` and ``done`` messages.

        Leaving before ``done`` cancels the question. A process that died is started again.

        Args:
            question: as ``model_child`` reads it, without an id.

        Raises:
            BusyError: too many wait already.
            RefusedQuestionError: the model cannot take it.
            WorkerError: the process died over it.
        """
        if self._waiting >= self._most_waiting:
            raise BusyError(
                f"At most {self._most_waiting} questions wait for their turn, and as many do; ask"
                " again later."
            )
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        try:
            if self._process is None:
                await self.start()
            answers = self._answers(next(self._numbers), question)
            async with contextlib.aclosing(answers):
                async for message in answers:
                    yield message
        finally:
            self._turn.release()

    async def _answers(
        self, number: int, question: Mapping[str, Any]
    ) -> AsyncGenerator[dict[str, Any]]:
        self._send({"id": number, **question})
        is_over = False
        try:
            while not is_over:
                message = await self._read()
                if message.get("id") != number:  # the rest of one that was cancelled
                    continue
                is_over = "done" in message or "error" in message
                if "error" in message:
                    raise RefusedQuestionError(**message["error"])
                yield message
        finally:
            if not is_over:
                self._send({"cancel": number})

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._process is not None and self._process.stdin is not None:
            # A process that is gone is noticed by whoever reads its answer.
            with contextlib.suppress(ConnectionError, RuntimeError):
                self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _read(self) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdout is None:
            raise WorkerError("The process of the model was ended.")
        line = await process.stdout.readline()
        if not line:
            code = await process.wait()
            self._process = None
            raise WorkerError(
                f"The process of the model ended ({_how(code)}){self._last_words()}; where memory"
                " was short, close what needs it."
            )
        message: dict[str, Any] = json.loads(line)
        return message

    def _last_words(self) -> str:
        """Return the last line that the process printed, if any."""
        if self._log is None:
            return ""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f": {last[-200:]}" if last else ""

    async def close(self) -> None:
        """End the process within seconds."""
        process, self._process = self._process, None
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), _END_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _path_of(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None  # noqa: S101 - a module of ours
    return str(spec.origin)
