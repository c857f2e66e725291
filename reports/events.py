"""events.jsonl: the journal of a run, one ``autotune.steps.Event`` per line.

The journal *is* the run: the planner's decisions are a function of it, so it is
what resuming and replaying read. It keeps every raw sample.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from autotune.errors import ReplayError
from autotune.plain import first_problem, from_plain, to_plain
from autotune.steps import Event

from .durable import append_json_line, read_json_lines

__all__ = ["EventLog"]

_HEADER = {"schema": "autotune.event", "schema_version": "1.0"}


class EventLog:
    """The journal in the file ``path``; the file need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: Event) -> None:
        """Write ``event`` at the end, whole or not at all, and sync it to disk.

        Raises:
            OutputError: the file cannot be written or the disk is full.
        """
        append_json_line(self.path, {**_HEADER, **to_plain(event)})

    def read(self) -> list[Event]:
        """Return the events in order; a torn last line never happened.

        Raises:
            ReplayError: a damaged line, another schema version, or a missing event.
        """
        return [self._event(number, line) for number, line in enumerate(read_json_lines(self.path))]

    def _event(self, number: int, line: object) -> Event:
        place = f"Line {number + 1} of {str(self.path)!r}"
        header = {key: line.get(key) for key in _HEADER} if isinstance(line, dict) else line
        if header != _HEADER:
            raise ReplayError(
                f"{place} is no event of version {_HEADER['schema_version']}, got {header!r};"
                " continue with the version of autotune that wrote it."
            )
        try:
            event = from_plain(Event, line)
        except ValidationError as error:
            raise ReplayError(
                f"{place} is damaged at {first_problem(error)};"
                " restore the file or start a run in a new --output folder."
            ) from error
        if event.number != number:
            raise ReplayError(
                f"{place} holds event {event.number}, expected {number};"
                " restore the file or start a run in a new --output folder."
            )
        return event
