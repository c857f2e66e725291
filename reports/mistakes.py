"""mistakes.jsonl: the test rows that the chosen model got wrong, with what it answered.

A file of its own, because it holds texts of the user's data: who shares a report may
leave it out, and the page is then written without them (``autotune show RUN --page``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from autotune.errors import ReplayError
from autotune.plain import canonical_json, first_problem, from_plain, to_plain

from .durable import read_json_lines, write_text_atomic

__all__ = ["MISTAKES_FILE", "Mistake", "read_mistakes", "write_mistakes"]

MISTAKES_FILE = "mistakes.jsonl"


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A row that was answered wrongly.

    Attributes:
        row: its place in the test split, from 0.
        prompt: text up to the answer.
        reference: the right answer.
        answered: what the model said.
    """

    row: int
    prompt: str
    reference: str
    answered: str


def write_mistakes(path: Path, mistakes: Sequence[Mistake]) -> None:
    """Write one line per mistake.

    Raises:
        OutputError: the folder cannot be written or the disk is full.
    """
    write_text_atomic(path, "".join(f"{canonical_json(to_plain(one))}\n" for one in mistakes))


def read_mistakes(path: Path) -> tuple[Mistake, ...] | None:
    """Return what the file says, None where there is none.

    Raises:
        ReplayError: a damaged line.
    """
    if not path.exists():
        return None
    try:
        return tuple(from_plain(Mistake, line) for line in read_json_lines(path))
    except ValidationError as error:
        raise ReplayError(
            f"{str(path)!r} is damaged at {first_problem(error)}; delete it, the page is written"
            " without it then."
        ) from error
