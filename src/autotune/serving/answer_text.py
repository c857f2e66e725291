"""Text that comes in pieces, cut and tidied as if it had come at once.

What may still turn out to be the beginning of a stop string, or of what is taken off the
end of an answer, is held back until that is known; nothing that was given out is revoked.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["AnswerText", "StopText", "tidied"]


class StopText:
    """Ends a text before the first of its stop strings to be complete.

    Args:
        stops: none of them empty.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.is_stopped = False

    def feed(self, piece: str) -> str:
        """Take the next piece; return what is certain to come before any stop string."""
        if self.is_stopped:
            return ""
        self._held += piece
        # The first to be complete, whatever the pieces; of two that end together the longer.
        places = ((self._held.find(stop), stop) for stop in self._stops)
        ends = [(place + len(stop), place) for place, stop in places if place >= 0]
        if ends:
            self.is_stopped = True
            self._held = self._held[: min(ends)[1]]
            return self.finish()
        kept = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        return self._give(len(self._held) - kept)

    def finish(self) -> str:
        """Return what was held back; nothing more comes."""
        return self._give(len(self._held))

    def _give(self, count: int) -> str:
        given, self._held = self._held[:count], self._held[count:]
        return given


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of ``text`` begin ``stop`` without completing it."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def tidied(text: str, suffix: str) -> str:
    """Return a generated answer as ``run.py`` prints it: without outer white space and suffix.

    >>> tidied("  calm. ", ".")
    'calm'
    """
    return text.strip().removesuffix(suffix.strip()).strip()


class AnswerText:
    """``tidied`` for a text in pieces.

    Args:
        suffix: text after the answer in the template.
    """

    def __init__(self, suffix: str = "") -> None:
        self._suffix = suffix.strip()
        self._held = ""
        self._has_begun = False

    def feed(self, piece: str) -> str:
        """Take the next piece; return what will stand in the tidied text whatever follows."""
        self._held += piece
        if not self._has_begun:
            self._held = self._held.lstrip()
        cut = next(
            (i for i in range(len(self._held)) if self._may_vanish(self._held[i:])), len(self._held)
        )
        given, self._held = self._held[:cut], self._held[cut:]
        self._has_begun = self._has_begun or bool(given)
        return given

    def finish(self) -> str:
        """Return the rest; nothing more comes."""
        rest, self._held = self._held, ""
        kept = rest.rstrip().removesuffix(self._suffix).rstrip()
        return kept if self._has_begun else kept.lstrip()

    def _may_vanish(self, tail: str) -> bool:
        """Whether ``tail`` may be all white space and suffix once the text has ended."""
        text = tail.lstrip()
        rest = text.removeprefix(self._suffix)
        is_ended = text.startswith(self._suffix) and not rest.strip()
        return is_ended or self._suffix.startswith(text)
