"""``autotune serve``: the application on a port of this machine, by uvicorn."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import json
import os
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from autotune.errors import UsageError
from autotune.reports import ModelDescription
from autotune.units import format_quantity

from .app import make_app
from .engine import Engine, LoadedModel
from .served_model import ServedModel, open_model

__all__ = ["serve"]

_LIBRARIES = ("starlette", "uvicorn")
_LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
_WAITING_CONNECTIONS = 128


def serve(folder: Path, *, target: str | None, host: str, port: int, name: str | None) -> None:
    """Serve the model in ``folder`` until Ctrl-C.

    Args:
        folder: of the model.
        target: where it runs; None is what it was built for.
        host: address to listen at.
        port: to listen at, 0 for any that is free.
        name: that clients ask for; None is the model's own.

    Raises:
        UsageError: no such address, a port in use, a library that is not installed, or a
            folder that cannot be served.
        AutotuneError: the model cannot be loaded.
    """
    missing = [one for one in _LIBRARIES if importlib.util.find_spec(one) is None]
    if missing:
        raise UsageError(
            f"`autotune serve` needs {' and '.join(missing)}, not installed here:"
            ' pip install "autotune-slm[serve]".'
        )
    # Before the model is read: a typo must not wait for gigabytes of digests.
    with _listening(host, port) as listener:
        model = open_model(folder, target=target)
        asyncio.run(_serve(model, listener, name=name or model.name, host=host))


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that clients can reach; what they ask before all is ready waits in it."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise UsageError(
            f"--host {host!r} is no address of this machine ({error.strerror}); leave it out for"
            " this machine alone, or name 0.0.0.0 for all its addresses."
        ) from None
    listener = socket.socket(family, kind, protocol)
    if os.name == "posix":  # elsewhere it would take the port from whoever serves there
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_WAITING_CONNECTIONS)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"Port {port} of {host} cannot be served on ({error.strerror}); name another --port,"
            " 0 for any that is free."
        ) from None
    return listener


async def _serve(model: ServedModel, listener: socket.socket, *, name: str, host: str) -> None:
    engine = Engine(model.place)
    try:
        loaded = await engine.start()
        await _answer(model, engine, loaded, listener, name=name, host=host)
    finally:
        await engine.close()


async def _answer(
    model: ServedModel,
    engine: Engine,
    loaded: LoadedModel,
    listener: socket.socket,
    *,
    name: str,
    host: str,
) -> None:
    """Answer requests until a signal comes."""
    import uvicorn  # noqa: PLC0415 - an extra

    is_local = _is_local(host)
    app = make_app(
        model,
        engine,
        name=name,
        hosts=dict.fromkeys((*_LOCAL_NAMES, host)) if is_local else (),
        tell=lambda line: typer.echo(line, err=True),
    )
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
    port = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    for line in _opening(model, name=name, url=f"http://{shown}:{port}/v1"):
        typer.echo(line, err=True)
    typer.echo(f"Loaded in {loaded.load_s:.1f} s on {loaded.device_type}; Ctrl-C ends.", err=True)
    if not is_local:
        typer.echo(
            f"warning: whoever reaches {host} can use the model; there is neither key nor TLS.",
            err=True,
        )
    await uvicorn.Server(config).serve(sockets=[listener])


def _is_local(host: str) -> bool:
    """Whether ``host`` is reached from this machine alone."""
    if host in _LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _opening(model: ServedModel, *, name: str, url: str) -> Iterator[str]:
    """Yield what is served where, and a request to copy."""
    yield f"{name}  at {url}"
    description = model.description
    if description is not None:
        yield _numbers(description)
    words = ["curl", f"{url}/completions", "-H", "Content-Type: application/json"]
    yield f"Try it: {shlex.join([*words, '-d', json.dumps(_example(model))])}"


def _example(model: ServedModel) -> dict[str, Any]:
    """Return a request to fill in."""
    task = model.task
    several = task is not None and len(task.fields) > 1
    body: dict[str, Any] = {"prompt": "TEXT"}
    if task is not None and several:
        body = {"fields": dict.fromkeys(task.fields, "TEXT")}
    if task is not None and task.kind == "choice":
        body["options"] = ["ONE", "ANOTHER"]
    return body


def _numbers(description: ModelDescription) -> str:
    """Return what the model does and what it was chosen for."""
    task = description.task
    shown = [
        f"{words} {format_quantity(number.value, number.unit)}"
        for metric, words in (("accuracy", "accuracy"), ("latency.p95", "p95 of a request"))
        if (number := description.metrics.get(metric)) is not None
    ]
    return f"{task.kind}, {task.template!r}; measured: {', '.join(shown) or 'nothing'}"
