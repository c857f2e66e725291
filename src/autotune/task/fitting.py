"""Rows that are longer than the model can attend to: counted and refused, or cut when asked."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from autotune.errors import DataError

from .asking import Asking
from .rows import TextRow

__all__ = ["fitting_skips"]

_MOST_SHOWN = 60


def fitting_skips(
    rows: Sequence[tuple[TextRow, int]], asking: Asking, context_length: int, *, truncates: bool
) -> list[int]:
    """Return how many characters of each row's question are left out, from its beginning.

    The end stays: there stands what is asked for. Nothing is cut unless asked.

    Args:
        rows: each with the tokens of the longest answer that may follow.
        asking: how rows are put to the model.
        context_length: tokens that the model can attend to, prompt and answer together.
        truncates: cut what is too long.

    Raises:
        DataError: rows that do not fit, or that no cut makes fit.
    """
    lengths = [len(asking.encoder.encode(asking.prompt(row))) + most for row, most in rows]
    too_long = [index for index, length in enumerate(lengths) if length > context_length]
    skips = [0] * len(rows)
    if not too_long:
        return skips
    first, length = rows[too_long[0]][0], lengths[too_long[0]]
    if not truncates:
        place = f" ({first.place})" if first.place else ""
        raise DataError(
            f"Prompt and answer fit into the model's context of {context_length} tokens;"
            f" {len(too_long)} of {len(rows)} rows do not, the first has {length} and begins"
            f" {first.prompt[:_MOST_SHOWN]!r}{place}. Shorten or remove these rows, or use"
            " --truncate to leave out the beginning of their prompts."
        )
    for index in too_long:
        skips[index] = _skip(*rows[index], asking, context_length)
    return skips


def _skip(row: TextRow, most: int, asking: Asking, context_length: int) -> int:
    """Return the fewest characters that must go, and on to the end of the word that is cut."""
    question = asking.question(row)

    def fits(skip: int) -> bool:
        return len(asking.encoder.encode(asking.prompt(row, skip=skip))) + most <= context_length

    skip = bisect_left(range(len(question)), True, key=fits)
    space = question.find(" ", skip)
    for found in (space + 1 if space >= 0 else skip, skip):
        if found < len(question) and fits(found):
            return found
    raise DataError(
        f"Prompt and answer fit into the model's context of {context_length} tokens; without its"
        f" whole question, {row.prompt[:_MOST_SHOWN]!r} ({row.place}) still does not. Remove that"
        " row, or use a model with a longer context."
    )
