"""The process with the model: what it answers, what it refuses, and what its end means."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import HardwareError, ModelSourceError, WorkerError
from autotune.serving import (
    BusyError,
    Ended,
    Engine,
    ModelPlace,
    Piece,
    Question,
    Sampling,
    answers,
    ask_fields,
    ask_raw,
    ask_text,
    open_model,
)
from autotune.serving.engine import _CHILD, _path_of

from .conftest import Deploy

PHRASES = ("dark house", "x", "The saddest day of the year.", "fear and fear and fear")


def with_engine(place: ModelPlace, use: Callable[[Engine], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        engine = Engine(place, most_waiting=2)
        try:
            await engine.start()
            await use(engine)
        finally:
            await engine.close()

    return asyncio.run(run())


async def text_of(engine: Engine, question: Question, **ways: Any) -> str:
    parts = answers(engine, question, Sampling(**ways), eos_ids=(0,))
    return "".join([part.text async for part in parts if isinstance(part, Piece)])


def test_options_and_answers_are_those_of_run_py(
    deploy: Deploy, run_py: Callable[[Path, list[list[list[str]]]], list[str]]
) -> None:
    options = ["joy", "joyful", "a very long and dark sadness", "fear and fear"]
    asked, free = deploy("choice", "{phrase}\nTone:  {tone}."), deploy("generation")
    chosen = run_py(asked, [[[f"phrase={phrase}"], options] for phrase in PHRASES])
    written = run_py(free, [[[phrase]] for phrase in PHRASES])
    choice, text = open_model(asked), open_model(free)

    async def use(engine: Engine) -> None:
        for phrase, option, answer in zip(PHRASES, chosen, written, strict=True):
            named = ask_fields(choice.task, {"phrase": phrase}, options=options)
            whole = ask_text(choice.task, f"{phrase}\nTone: ", options=options)
            assert named == whole
            assert await text_of(engine, named) == option
            said = await text_of(engine, ask_text(text.task, phrase))
            # A random model writes bytes that are no text; run.py decodes them all at once.
            assert said == answer or "\N{REPLACEMENT CHARACTER}" in answer

    with_engine(choice.place, use)


def test_a_question_that_nobody_waits_for_ends_before_its_next_token(tiny_built_dir: Path) -> None:
    place = open_model(tiny_built_dir).place
    with subprocess.Popen(
        [sys.executable, "-P", str(_CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ},
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None

        def send(**message: Any) -> None:
            assert child.stdin is not None
            child.stdin.write(json.dumps(message) + "\n")
            child.stdin.flush()

        runtime = _path_of("autotune.evaluators.runtime_child")
        start = {"runtime": runtime, "model_dir": str(place.folder), "provider": "cpu"}
        send(**start, libraries="", context_length=512)
        assert "ready" in json.loads(child.stdout.readline())
        asked = {"operation": "generate", "prompt": "x", "max_new": 500, "is_firm": True}
        asked |= {"eos_ids": [], "sampling": {}}
        send(id=1, **asked)
        send(id=2, **asked)
        send(cancel=1)
        send(cancel=2)
        told = map(json.loads, child.stdout)
        first, second = (next(m["done"] for m in told if "done" in m) for _ in range(2))
        child.stdin.close()
    assert first["finish"] == "cancelled"
    assert first.get("tokens", 0) < 500
    assert second == {"finish": "cancelled"}, "it never began"


def test_leaving_an_answer_frees_the_turn_and_too_many_are_refused(tiny_built_dir: Path) -> None:
    async def use(engine: Engine) -> None:
        endless = answers(engine, ask_raw("x"), Sampling(max_new_tokens=480), eos_ids=())
        async with aclosing(endless) as parts:
            await anext(parts)
            waiting = [asyncio.ensure_future(text_of(engine, ask_raw("x"))) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(BusyError, match="At most 2 questions wait"):
                await text_of(engine, ask_raw("x"))
        first, second = await asyncio.gather(*waiting)
        assert first == second != ""

    with_engine(open_model(tiny_built_dir).place, use)


@pytest.mark.slow
def test_a_process_that_dies_fails_one_question_and_is_started_again(tiny_built_dir: Path) -> None:
    async def use(engine: Engine) -> None:
        process = engine._process
        assert process is not None
        process.kill()
        with pytest.raises(WorkerError, match=r"signal 9"):
            await text_of(engine, ask_raw("x"))
        parts = answers(engine, ask_raw("x"), Sampling(max_new_tokens=3), eos_ids=())
        assert [part.tokens async for part in parts if isinstance(part, Ended)] == [3]

    with_engine(open_model(tiny_built_dir).place, use)


def test_what_cannot_be_loaded_says_what_to_do(tiny_built_dir: Path, tmp_path: Path) -> None:
    async def nothing(engine: Engine) -> None:
        del engine

    place = open_model(tiny_built_dir).place
    with pytest.raises(HardwareError, match=r"No such file.*--target NAME@PYTHON"):
        with_engine(ModelPlace(folder=place.folder, provider="cpu", interpreter="/no/py"), nothing)
    config = json.loads((tiny_built_dir / "genai_config.json").read_text("utf-8"))
    config["model"]["decoder"]["session_options"]["custom_ops_library"] = "evil.so"
    (tmp_path / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelSourceError, match="native code of a model is never loaded"):
        with_engine(ModelPlace(folder=tmp_path, provider="cpu"), nothing)
