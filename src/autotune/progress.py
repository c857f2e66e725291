"""What a person sees while a run goes on: a live view on a terminal, else one line per event.

Progress goes to stderr, so that stdout holds the result alone. The live view is
taken down during measurements: redrawing it would cost CPU beside the model
that is being timed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from autotune.reports import redact_text

if TYPE_CHECKING:
    from rich.status import Status
    from rich.text import Text

__all__ = ["Progress"]

# Below this many lines a terminal shows the live line alone.
_LEAST_HEIGHT = 16


class Progress:
    """Narrates a run.

    Args:
        stream: where to write; stderr by default.
        log_path: a file that gets every line with its time, or None.
        quiet: write to the log only.
    """

    def __init__(
        self, *, stream: TextIO | None = None, log_path: Path | None = None, quiet: bool = False
    ) -> None:
        from rich.console import Console  # noqa: PLC0415 - 60 ms that --help need not pay

        self._console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._log_path = log_path
        self._quiet = quiet
        self._status: Status | None = None
        self._began = time.monotonic()
        self.best = ""
        self.front: Sequence[str] = ()
        self._ends_at: float | None = None
        self._ends = "at most"

    def ends_in(self, seconds: float, *, is_limit: bool = True) -> None:
        """Say how long the run may still take, at most or by what was seen so far."""
        self._ends_at = time.monotonic() + seconds
        self._ends = "at most" if is_limit else "about"

    def log_to(self, path: Path) -> None:
        """Write every further line to ``path`` as well."""
        self._log_path = path

    def line(self, text: str) -> None:
        """Print one line that stays."""
        if self._log_path is not None:
            stamp = time.strftime("%H:%M:%S")
            with self._log_path.open("a", encoding="utf-8") as log:
                log.write(f"{stamp} {redact_text(text)}\n")  # the folder is shared
        if not self._quiet:
            self._console.print(text, markup=False)

    def working(self, what: str, *, silent: bool = False) -> None:
        """Say what is going on now; ``silent`` draws nothing until the next call."""
        self.rest()
        if self._quiet or not self._console.is_terminal:
            return
        view = _LiveView(lambda: self._live_text(what), () if silent else self._fitting())
        if silent:
            self._console.print(view, end="\r", soft_wrap=False)
            return
        self._status = self._console.status(view, refresh_per_second=1)
        self._status.start()

    def rest(self) -> None:
        """Take the live line down."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _fitting(self) -> Sequence[str]:
        """Return the models so far, where the terminal is high enough to spare the lines."""
        return self.front if self._console.height >= _LEAST_HEIGHT else ()

    def _live_text(self, what: str) -> str:
        """Return the line with what matters first: a narrow terminal cuts its end."""
        now = time.monotonic()
        parts = [f"{_clock(now - self._began)} elapsed"]
        if self._ends_at is not None:
            parts.append(f"{self._ends} {_clock(max(0.0, self._ends_at - now))} left")
        if self.best:
            parts.append(f"best {self.best}")
        return " · ".join([*parts, what])


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


class _LiveView:
    """A line whose text is asked for at every redraw, and lines below; cut to the terminal."""

    def __init__(self, text: Callable[[], str], below: Sequence[str]) -> None:
        self._text = text
        self._below = below

    def __rich__(self) -> Text:
        from rich.text import Text  # noqa: PLC0415 - startup time

        return Text("\n".join([self._text(), *self._below]), no_wrap=True, overflow="ellipsis")
