"""The application without a server: what a client sees where something of ours fails."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from autotune.serving import Engine, open_model

pytest.importorskip("starlette", reason="starlette is not installed (extra 'serve')")


async def _post(app: Any, body: bytes) -> list[dict[str, Any]]:
    """Call an ASGI application as a server does; return what it sends, also before it raises."""
    sent: list[dict[str, Any]] = []
    arriving = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not arriving:
            await asyncio.Event().wait()  # the client stays
        return arriving.pop()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "query_string": b""}
    scope |= {"headers": [(b"content-type", b"application/json")], "root_path": ""}
    with pytest.raises(ZeroDivisionError):
        await app(scope | {"server": ("localhost", 80), "scheme": "http"}, receive, send)
    return sent


def test_a_failure_of_ours_has_the_same_shape_and_reaches_the_server(classifier: Path) -> None:
    from autotune.serving.app import make_app  # noqa: PLC0415 - needs the extra

    class Broken(Engine):
        def ask(self, question: Any) -> Any:
            raise ZeroDivisionError(question)

    async def run() -> list[dict[str, Any]]:
        model = open_model(classifier)
        app = make_app(model, Broken(model.place), name="tones")
        return await _post(app, b'{"prompt": "x"}')

    start, body = asyncio.run(run())
    assert start["status"] == 500
    error = json.loads(body["body"])["error"]
    assert (error["type"], "ZeroDivisionError" in error["message"]) == ("server_error", True)
