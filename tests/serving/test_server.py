"""OpenAI's own client against the server in a process of its own, on the real tiny model."""

from __future__ import annotations

import json
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest

from autotune.errors import UsageError
from autotune.serving import serve

from .conftest import LABELS, Server, running

if TYPE_CHECKING:
    from openai import OpenAI

pytestmark = pytest.mark.enable_socket
PHRASES = ["I am so happy about the news", "dark house", "What a surprise = to see them here!", "x"]
PHRASES += ["The saddest day of the year. " * 3, "fear and fear and fear", "1234567890"]


@pytest.fixture(scope="module")
def labels_server(classifier: Path) -> Iterator[Server]:
    with running(classifier, "--name", "tones") as one:
        yield one


@pytest.fixture(scope="module")
def text_server(tiny_built_dir: Path) -> Iterator[Server]:
    """Serves a folder that autotune did not write."""
    with running(tiny_built_dir, "--name", "tiny") as one:
        yield one


def client(server: Server) -> OpenAI:
    from openai import OpenAI  # noqa: PLC0415 - takes a second

    return OpenAI(base_url=server.url, api_key="none is needed", max_retries=0, timeout=60)


def post(server: Server, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    sent = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(f"{server.url}{path}", data=body, headers=sent)  # noqa: S310 - ours
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 - same
            return reply.status, json.load(reply)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_labels_are_decided_as_run_py_decides_them(
    labels_server: Server,
    classifier: Path,
    run_py: Callable[[Path, list[list[list[str]]]], list[str]],
) -> None:
    expected = run_py(classifier, [[[phrase]] for phrase in PHRASES])
    assert len(set(expected)) > 1, "a constant answer shows nothing"
    with client(labels_server) as openai:
        found = openai.completions.create(model="tones", prompt=PHRASES, temperature=1.5)
        assert [choice.text for choice in found.choices] == expected
        assert [choice.finish_reason for choice in found.choices] == ["stop"] * len(PHRASES)
        for choice in found.choices:
            scores: dict[str, float] = (choice.model_extra or {})["log_likelihoods"]
            assert tuple(scores) == LABELS
            assert max(scores, key=scores.__getitem__) == choice.text
        assert found.usage is not None
        assert found.usage.prompt_tokens > found.usage.completion_tokens >= len(PHRASES)
        # The template filled already, the field by name, a chat, a chat with a past, a stream.
        whole = openai.completions.create(
            model="tones", prompt=f"### Text: {PHRASES[0]}\n### Tone: "
        )
        named = openai.completions.create(
            model="tones", prompt=[], extra_body={"fields": {"phrase": PHRASES[0]}}
        )
        said: Any = {"role": "user", "content": PHRASES[0]}
        before: Any = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "joy"}]
        chats = [
            openai.chat.completions.create(model="tones", messages=messages)
            for messages in ([said], [*before, said])
        ]
        stream = openai.completions.create(model="tones", prompt=PHRASES[:2], stream=True)
        told = [(c.index, c.text) for chunk in stream for c in chunk.choices if c.text]
    assert [whole.choices[0].text, named.choices[0].text] == [expected[0]] * 2
    assert [chat.choices[0].message.content for chat in chats] == [expected[0]] * 2
    assert told == list(enumerate(expected[:2]))
    assert "classification, '### Text: {phrase}" in labels_server.opening[1]


def test_generated_text_comes_whole_or_in_pieces_stopped_or_cut(text_server: Server) -> None:
    asked: dict[str, Any] = {"model": "tiny", "prompt": "What a surprise", "max_tokens": 40}
    with client(text_server) as openai:
        whole = openai.completions.create(**asked)
        text = whole.choices[0].text
        assert whole.choices[0].finish_reason == "length"
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 40
        chunks = list(
            openai.completions.create(**asked, stream=True, stream_options={"include_usage": True})
        )
        pieces = [chunk.choices[0].text for chunk in chunks[:-1]]
        assert "".join(pieces) == text
        assert len([piece for piece in pieces if piece]) > 5
        assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
        assert chunks[-2].choices[0].finish_reason == "length"
        # A stop string that lies across pieces.
        stop = text[7:10]
        stopped = openai.completions.create(**asked, stop=["no such text", stop])
        assert stopped.choices[0].text == text.partition(stop)[0]
        assert stopped.choices[0].finish_reason == "stop"
        assert stopped.usage is not None
        assert stopped.usage.completion_tokens < 40
        hot = [
            openai.completions.create(**asked, temperature=2, top_p=0.9, seed=seed).choices[0].text
            for seed in (7, 7, 8)
        ]
        assert hot[0] == hot[1] != hot[2]
        chat = openai.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": "What a surprise"}],
            max_completion_tokens=40,
            stream=True,
        )
        deltas = [chunk.choices[0].delta for chunk in chat]
        assert deltas[0].role == "assistant"
        assert "".join(delta.content or "" for delta in deltas) == text


def test_what_cannot_be_answered_is_an_error_that_the_client_understands(
    text_server: Server,
) -> None:
    import openai as library  # noqa: PLC0415 - takes a second

    with client(text_server) as openai:
        (only,) = openai.models.list().data
        assert openai.models.retrieve("tiny") == only
        with pytest.raises(library.NotFoundError, match="this server has 'tiny'") as unknown:
            openai.completions.create(model="gpt-4", prompt="x")
        assert unknown.value.code == "model_not_found"
        with pytest.raises(library.NotFoundError, match="does not exist here"):
            openai.models.retrieve("a/b")
        for streams in (False, True):
            with pytest.raises(library.BadRequestError, match=r"context of the model 512") as over:
                openai.completions.create(
                    model="tiny", prompt="x" * 500, max_tokens=100, stream=streams
                )
            assert over.value.code == "context_length_exceeded"
        with pytest.raises(library.BadRequestError, match="no tokens"):
            openai.completions.create(model="tiny", prompt="")
        with pytest.raises(library.BadRequestError, match="does not honour 'logprobs'"):
            openai.completions.create(model="tiny", prompt="x", logprobs=3)
        # It goes on after all that.
        assert openai.completions.create(model="tiny", prompt="x", max_tokens=1).choices


def test_what_is_no_request_is_refused_in_the_same_shape(text_server: Server) -> None:
    for body, status, words in (
        (b'{"prompt": ', 400, "is no JSON"),
        (b"[" * 100_000, 400, "is no JSON"),
        (b"[]", 400, "is a JSON object"),
        (b'{"prompt": "\\ud800"}', 400, "no text"),
    ):
        found, reply = post(text_server, "/completions", body)
        assert (found, words in reply["error"]["message"]) == (status, True), reply
    found, reply = post(text_server, "/completions", b"{}", **{"Content-Type": "text/plain"})
    assert (found, reply["error"]["type"]) == (415, "invalid_request_error")
    found, reply = post(text_server, "/embeddings", b"{}")
    assert (found, "POST /v1/embeddings is not served" in reply["error"]["message"]) == (404, True)
    found, reply = post(text_server, "/completions", b"{}", Host="evil.example")
    assert (found, "names 'evil.example'" in reply["error"]["message"]) == (403, True)


@pytest.mark.slow
def test_questions_are_answered_in_turn_and_one_that_nobody_waits_for_is_dropped(
    text_server: Server,
) -> None:
    asked: dict[str, Any] = {"model": "tiny", "prompt": "x", "max_tokens": 5}
    told = ""  # lines of other tests come first; a fast machine may be done before it is told
    while "went away" not in told:
        with client(text_server) as openai:
            stream = openai.completions.create(**asked | {"max_tokens": 480}, stream=True)
            next(iter(stream))
            stream.close()
        told = text_server.line()
    with client(text_server) as openai:
        answers: list[str] = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(openai.completions.create(**asked).choices[0].text)
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 4
    assert len(set(answers)) == 1


def test_a_port_in_use_and_a_missing_library_are_said_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for library in ("starlette", "uvicorn"):
        pytest.importorskip(library, reason=f"{library} is not installed (extra 'serve')")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=rf"Port {port} .* name another --port"):
            serve(tmp_path, target=None, host="127.0.0.1", port=port, name=None)
    with pytest.raises(UsageError, match="no address of this machine"):
        serve(tmp_path, target=None, host="256.0.0.1", port=0, name=None)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(UsageError, match=r"needs uvicorn.*autotune-slm\[serve\]"):
        serve(tmp_path, target=None, host="127.0.0.1", port=0, name=None)
