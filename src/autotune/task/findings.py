"""What a careful person would want to know about the data: sentences, worst first.

Nothing here refuses anything: rows that cannot be right are errors where they are read,
all else is counted, shown with its place, and left to the user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from .labels import look_alikes
from .near import NEAR, NearPair, near_pairs
from .rows import TextRow
from .split import UniqueRows
from .table import SplitName, listing

__all__ = ["about_conflicts", "about_labels", "about_near_rows"]

_Splits = Mapping[SplitName, Sequence[TextRow]]
_MOST_LISTED = 3
_MOST_SHOWN = 60  # characters of a prompt
_MOST_COMPARED = 100_000  # rows of a split; a few seconds
# From here on a model that always answers the frequent label looks better than it is.
_IMBALANCE = 10


def about_conflicts(unique: Iterable[UniqueRows]) -> list[str]:
    """Return what there is to say of prompts with more than one answer."""
    groups = [group for part in unique for group in part.conflicts]
    if not groups:
        return []
    rows = sum(map(len, groups))
    told = listing((_conflict(group) for group in groups), most=_MOST_LISTED)
    prompts = "1 prompt has" if len(groups) == 1 else f"{len(groups)} prompts have"
    return [f"{prompts} more than one answer, {rows} rows are left out for it: {told}"]


def _conflict(group: Sequence[TextRow]) -> str:
    first_of = {row.answer: row for row in reversed(group)}
    answers = dict.fromkeys(row.answer for row in group)
    told = " and ".join(f"{answer!r}{_at(first_of[answer])}" for answer in answers)
    return f"{_short(group[0].prompt)} is {told}"


def about_near_rows(splits: _Splits, *, most: int = _MOST_COMPARED) -> list[str]:
    """Return what there is to say of rows that nearly repeat one of another split.

    Of a split only its first ``most`` rows are compared, which is said.
    """
    first = {name: rows[:most] for name, rows in splits.items()}
    cut = [f"{name} {most} of {len(rows)}" for name, rows in splits.items() if len(rows) > most]
    found = [f"near-duplicates were looked for in the first rows only: {', '.join(cut)}"]
    return [
        *(found if cut else []),
        *(_near(pair, len(first[pair.split])) for pair in near_pairs(first)),
    ]


def _near(pair: NearPair, n_compared: int) -> str:
    return (
        f"{pair.rows} of {n_compared} {pair.split} rows are near-duplicates of"
        f" {pair.other} rows ({NEAR:.0%} of their pairs of neighbouring words or more are the"
        f" same), the first is {_short(pair.text.prompt)}{_at(pair.text)} of"
        f" {_short(pair.other_text.prompt)}{_at(pair.other_text)}; remove them from one of the"
        " two, or expect too good an accuracy"
    )


def about_labels(splits: _Splits, labels: Sequence[str]) -> list[str]:
    """Return what there is to say of labels that look alike or are very unequal."""
    counts = Counter(row.answer for rows in splits.values() for row in rows)
    found = [
        f"the label {label!r} ({counts[label]} rows) looks like {other!r} ({counts[other]} rows);"
        " correct it if it is a slip"
        for label, other in look_alikes(counts).items()
    ]
    missing = [
        f"no row of {name} has the label {label!r}"
        for label in labels
        for name, rows in splits.items()
        if all(row.answer != label for row in rows)
    ]
    ranked = counts.most_common()
    (most, n_most), (least, n_least) = ranked[0], ranked[-1]
    if n_most >= _IMBALANCE * n_least:
        found.append(
            f"the label {most!r} has {n_most / n_least:.0f} times the rows of {least!r};"
            " macro F1 counts every label alike, accuracy does not"
        )
    return [*found, *missing]


def _short(text: str) -> str:
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}...")


def _at(row: TextRow) -> str:
    return f" ({row.place})" if row.place else ""
