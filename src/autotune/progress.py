"""What a person sees while a run goes on: one live line on a terminal, else one line per event.

Progress goes to stderr, so that stdout holds the result alone. The live line is
taken down during measurements: redrawing it would cost CPU beside the model
that is being timed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from autotune.units import format_duration

if TYPE_CHECKING:
    from rich.status import Status

__all__ = ["Progress"]


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
        self.eta_s: float | None = None

    def log_to(self, path: Path) -> None:
        """Write every further line to ``path`` as well."""
        self._log_path = path

    def line(self, text: str) -> None:
        """Print one line that stays."""
        if self._log_path is not None:
            stamp = time.strftime("%H:%M:%S")
            with self._log_path.open("a", encoding="utf-8") as log:
                log.write(f"{stamp} {text}\n")
        if not self._quiet:
            self._console.print(text, markup=False)

    def working(self, what: str, *, silent: bool = False) -> None:
        """Say what is going on now; ``silent`` draws nothing until the next call."""
        self.rest()
        if self._quiet or not self._console.is_terminal:
            return
        text = self._live_text(what)
        if silent:
            self._console.print(f"  {text}", markup=False, end="\r")
            return
        self._status = self._console.status(text, refresh_per_second=2)
        self._status.start()

    def rest(self) -> None:
        """Take the live line down."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _live_text(self, what: str) -> str:
        parts = [what, f"elapsed {format_duration(time.monotonic() - self._began)}"]
        if self.eta_s is not None:
            parts.append(f"at most {format_duration(max(self.eta_s, 0.0))} left")
        if self.best:
            parts.append(f"best {self.best}")
        return " · ".join(parts)
