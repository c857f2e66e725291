"""The command of this process, as records keep it for those who repeat what was done."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextvars import ContextVar

__all__ = ["command_line", "settings_written_out", "shared_command_line"]

_from_settings: ContextVar[tuple[str, ...]] = ContextVar("_from_settings", default=())


def settings_written_out(flags: Sequence[str]) -> None:
    """Take ``flags``, which say what settings outside of the command line said, into commands."""
    _from_settings.set(tuple(flags))


def command_line() -> tuple[str, ...]:
    """Return what was typed and the flags that settings stood for, secrets included."""
    return ("autotune", *sys.argv[1:], *_from_settings.get())


def shared_command_line() -> tuple[str, ...]:
    """Return ``command_line`` for files that people share: without secrets."""
    from autotune.reports import redact_command  # noqa: PLC0415 - startup time

    return tuple(redact_command(command_line()))
