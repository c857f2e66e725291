"""Take secrets out of text that is written to files people share."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["HIDDEN", "redact_command", "redact_text"]

HIDDEN = "***"
_NAME = r"(?:token|password|passwd|secret|api[-_]?key|accountkey|sharedaccess\w*)"
# Each pattern keeps its groups "before" and "after", and loses what stands between.
_PATTERNS = (
    # Hub tokens have 34 characters after the prefix; ten tell them from hf_folder names.
    re.compile(r"(?P<before>)\bhf_[A-Za-z0-9]{10,}(?P<after>)"),
    re.compile(r"(?P<before>\bBearer\s+)[^\s'\",;]+(?P<after>)", re.IGNORECASE),
    # Credentials before the host of a URL; the greedy match ends at the last @ of the authority.
    re.compile(r"(?P<before>\b[a-z][a-z0-9+.-]*://)[^/\s]+(?P<after>@)", re.IGNORECASE),
    re.compile(
        rf"(?P<before>(?:\bsig|\b\w*[-_]?{_NAME})\s*[=:]\s*['\"]?)(?!Bearer\b)[^&;#\s'\"]+(?P<after>)",
        re.IGNORECASE,
    ),
)
_SECRET_OPTION = re.compile(rf"--?(?:[\w-]*-)?{_NAME}|Bearer", re.IGNORECASE)


def redact_text(text: str) -> str:
    """Return ``text`` with what looks like a credential replaced by ``***``.

    >>> redact_text("https://me:hunter2@host/f?sig=a%2Fb&x=1")
    'https://***@host/f?sig=***&x=1'
    """
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<before>{HIDDEN}\g<after>", text)
    return text


def redact_command(words: Sequence[str]) -> list[str]:
    """Return a command line without secrets, those in a word of their own included.

    >>> redact_command(["autotune", "--hub-token", "abc", "--seed", "1"])
    ['autotune', '--hub-token', '***', '--seed', '1']
    """
    redacted: list[str] = []
    is_secret = False
    for word in words:
        redacted.append(HIDDEN if is_secret else redact_text(word))
        is_secret = _SECRET_OPTION.fullmatch(word) is not None
    return redacted
