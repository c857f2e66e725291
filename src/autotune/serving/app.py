"""The HTTP side: OpenAI's completions, chat completions and models, for one model.

Answers are made one at a time. A client that goes away, while it waits or while it reads,
cancels its question. Every error has the shape that OpenAI's clients read. Prompts and
answers are written nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from autotune.errors import DataError, HardwareError, UsageError, WorkerError

from .answering import Begun, Ended, Piece, answers
from .api_request import ApiError, Asked, Reader, as_api_error, read_chat, read_completion
from .api_response import Reply, ReplyForm, event, usage
from .engine import BusyError, Engine, RefusedQuestionError
from .question import Question, QuestionError
from .served_model import ServedModel

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["make_app"]

_MOST_BYTES = 8 << 20
_CLIENT_GONE = 499  # what nginx logs of a client that went away; nobody reads it
_JSON = "application/json"

Parts = AsyncGenerator[Begun | Piece | Ended, None]
Handler = Callable[["Request"], Coroutine[Any, Any, "ASGIApp"]]


def make_app(
    model: ServedModel,
    engine: Engine,
    *,
    name: str,
    hosts: Collection[str] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> Starlette:
    """Return the application that answers with ``model``.

    Args:
        model: to ask.
        engine: that has loaded it.
        name: that clients ask for.
        hosts: names of this machine that are served, all if empty. A page in a browser may
            give this machine a name of its own, to read what it serves.
        tell: gets a line for each answer, without its words.
    """
    from starlette.applications import Starlette  # noqa: PLC0415 - an extra
    from starlette.exceptions import HTTPException  # noqa: PLC0415 - same
    from starlette.routing import Route  # noqa: PLC0415 - same

    served = _Served(model=model, engine=engine, name=name, tell=tell)

    def route(path: str, handler: Handler, method: str) -> Route:
        return Route(path, _guarded(handler, hosts), methods=[method])

    return Starlette(
        routes=[
            route("/v1/models", served.models, "GET"),
            route("/v1/models/{name:path}", served.one_model, "GET"),
            route("/v1/completions", served.completions, "POST"),
            route("/v1/chat/completions", served.chat, "POST"),
        ],
        exception_handlers={HTTPException: _not_found, Exception: _failed},
    )


def _guarded(handler: Handler, hosts: Collection[str]) -> Handler:
    """Return ``handler`` for requests to these hosts, its errors in OpenAI's shape."""

    async def guarded(request: Request) -> ASGIApp:
        try:
            _check_host(request, hosts)
            return await handler(request)
        except ApiError as error:
            return _json(error.body, status=error.status)

    return guarded


def _check_host(request: Request, hosts: Collection[str]) -> None:
    if hosts and request.url.hostname not in hosts:
        raise ApiError(
            f"This server is for {', '.join(hosts)}, the request names {request.url.hostname!r};"
            " `autotune serve --host` changes that.",
            status=403,
        )


def _json(body: dict[str, Any], *, status: int = 200) -> Response:
    from starlette.responses import JSONResponse  # noqa: PLC0415 - an extra

    return JSONResponse(body, status_code=status)


async def _not_found(request: Request, error: Exception) -> Response:
    """Answer an unknown path or method."""
    status = getattr(error, "status_code", 404)
    paths = "/v1/models, /v1/completions and /v1/chat/completions"
    why = f"{request.method} {request.url.path} is not served; {paths} are."
    return _json(ApiError(why, status=status).body, status=status)


async def _failed(request: Request, error: Exception) -> Response:
    """Answer where something of ours is wrong; the server prints the traceback."""
    del request
    why = f"The server failed ({type(error).__name__}); what it printed says more."
    return _json(ApiError(why, kind="server_error").body, status=500)


class _ClientGoneError(Exception):
    """The client closed its connection."""


@contextlib.asynccontextmanager
async def _while_there(request: Request) -> AsyncIterator[None]:
    """Cancel what is done inside as soon as the client has gone.

    Raises:
        _ClientGoneError: it has.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - this is a coroutine

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        task.cancel()

    watcher = asyncio.ensure_future(watch())
    try:
        yield
    except asyncio.CancelledError:
        if watcher.done() and task.uncancel() == 0:
            raise _ClientGoneError from None
        raise
    finally:
        watcher.cancel()


class _Served:
    """The handlers of one model."""

    def __init__(
        self, *, model: ServedModel, engine: Engine, name: str, tell: Callable[[str], None]
    ) -> None:
        self._model = model
        self._engine = engine
        self._name = name
        self._tell = tell
        self._created = int(time.time())

    def _described(self) -> dict[str, Any]:
        about = {"id": self._name, "object": "model", "created": self._created}
        return about | {"owned_by": "autotune"}

    async def models(self, request: Request) -> ASGIApp:
        """List the one model."""
        del request
        return _json({"object": "list", "data": [self._described()]})

    async def one_model(self, request: Request) -> ASGIApp:
        """Describe a model by its name."""
        asked = request.path_params["name"]
        if asked != self._name:
            raise ApiError(
                f"The model {asked!r} does not exist here; this server has {self._name!r}.",
                status=404,
                code="model_not_found",
                parameter="model",
            )
        return _json(self._described())

    async def completions(self, request: Request) -> ASGIApp:
        """Answer ``/v1/completions``."""
        return await self._answered(request, read_completion)

    async def chat(self, request: Request) -> ASGIApp:
        """Answer ``/v1/chat/completions``."""
        return await self._answered(request, read_chat)

    async def _answered(self, request: Request, read: Reader) -> ASGIApp:
        began = time.perf_counter()
        try:
            asked = read(await _body(request), self._model, self._name)
        except QuestionError as error:
            raise as_api_error(error) from error
        except DataError as error:  # turns that the chat template refuses
            raise ApiError(str(error), parameter="messages") from error
        form = ReplyForm(model=self._name, is_chat=asked.is_chat)
        path = request.url.path

        def tell(replies: list[Reply]) -> None:
            counts, seconds = usage(replies), time.perf_counter() - began
            asked_for, made = counts["prompt_tokens"], counts["completion_tokens"]
            self._tell(f"{path}: {asked_for} tokens in, {made} out, {seconds:.2f} s")

        try:
            if asked.streams:
                return await self._streamed(request, asked, form, tell)
            replies = [Reply(index=number) for number in range(len(asked.questions))]
            async with _while_there(request):
                for reply, question in zip(replies, asked.questions, strict=True):
                    async with aclosing(self._parts(question, asked)) as parts:
                        async for part in parts:
                            reply.take(part)
        except _ClientGoneError:
            self._tell(f"{path}: the client went away")
            return _json({}, status=_CLIENT_GONE)
        except _FAILURES as error:
            raise _as_api_error(error) from error
        tell(replies)
        return _json(form.whole(replies))

    def _parts(self, question: Question, asked: Asked) -> Parts:
        eos_ids = self._model.folder.eos_ids
        return answers(self._engine, question, asked.sampling, eos_ids=eos_ids)

    async def _streamed(
        self,
        request: Request,
        asked: Asked,
        form: ReplyForm,
        tell: Callable[[list[Reply]], None],
    ) -> ASGIApp:
        """Return the stream of an answer whose first question was taken."""
        from starlette.responses import StreamingResponse  # noqa: PLC0415 - an extra

        first = self._parts(asked.questions[0], asked)
        try:
            async with _while_there(request):
                begun = await anext(first)
        except BaseException:
            await first.aclose()
            raise
        replies, is_over = [Reply(index=0)], asyncio.Event()
        replies[0].take(begun)

        async def events() -> AsyncGenerator[bytes, None]:
            try:
                async for piece in _events(form, replies[0], first):
                    yield piece
                for number, question in enumerate(asked.questions[1:], start=1):
                    replies.append(Reply(index=number))
                    async with aclosing(self._parts(question, asked)) as parts:
                        async for piece in _events(form, replies[-1], parts):
                            yield piece
            except _FAILURES as error:
                is_over.set()
                self._tell(f"{request.url.path}: {error}")
                yield event(_as_api_error(error).body)
                return
            is_over.set()
            tell(replies)
            if asked.tells_usage:
                yield event(form.counts(replies))
            yield b"data: [DONE]\n\n"

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            async with aclosing(first), aclosing(events()) as stream:
                response = StreamingResponse(stream, media_type="text/event-stream")
                with contextlib.suppress(_ClientGoneError):
                    async with _while_there(request):
                        await response(scope, receive, send)
            if not is_over.is_set():
                self._tell(f"{request.url.path}: the client went away")

        return respond


async def _events(form: ReplyForm, reply: Reply, parts: Parts) -> AsyncGenerator[bytes, None]:
    """Yield the events of one answer."""
    if (opening := form.first(reply)) is not None:
        yield event(opening)
    async for part in parts:
        reply.take(part)
        if isinstance(part, Piece):
            yield event(form.piece(reply, part.text))
    yield event(form.last(reply))


_FAILURES = (BusyError, RefusedQuestionError, WorkerError, HardwareError, UsageError)


def _as_api_error(error: Exception) -> ApiError:
    """Return a failure of the engine in OpenAI's shape."""
    if isinstance(error, BusyError):
        return ApiError(str(error), status=429, code="rate_limit_exceeded", kind="requests")
    if isinstance(error, RefusedQuestionError) and error.kind == "context_overflow":
        return ApiError(f"{error}.", code="context_length_exceeded", parameter="prompt")
    if isinstance(error, RefusedQuestionError) and error.kind in ("empty_prompt", "no_text"):
        return ApiError(f"{error}.", parameter="prompt")
    return ApiError(str(error), status=500, kind="server_error")


async def _body(request: Request) -> Any:
    """Return the JSON of a request.

    Raises:
        ApiError: too large, another content type, or no JSON.
    """
    sent_as = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent_as != _JSON:  # also keeps out what any page in a browser may send unasked
        raise ApiError(
            f"A request is JSON and says so, got the content type {sent_as!r}; send the header"
            f" 'Content-Type: {_JSON}'.",
            status=415,
        )
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MOST_BYTES:
            raise ApiError(f"A request has at most {_MOST_BYTES >> 20} MiB.", status=413)
    try:
        return json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise ApiError(f"The request is no JSON: {error}.") from error
