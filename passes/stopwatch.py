"""Seconds per part of a pass, for its facts."""

from __future__ import annotations

import time

__all__ = ["StopWatch"]


class StopWatch:
    """Wall seconds of consecutive parts, from when it was made.

    Attributes:
        seconds: by part, rounded to milliseconds; a part named twice is summed.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, part: str) -> None:
        """Book the time since the last lap on ``part``."""
        now = time.perf_counter()
        self.seconds[part] = round(self.seconds.get(part, 0.0) + now - self._since, 3)
        self._since = now
