"""Is it classification, and which labels? A rule on counts, stated once.

At most 50 distinct answers with at least 8 rows each are labels; ``--task`` overrides.
"""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autotune.errors import DataError

from .rows import Kind
from .split import normalized
from .table import listing

__all__ = [
    "LEAST_ROWS_PER_LABEL",
    "MOST_LABELS",
    "KindDecision",
    "check_labels",
    "decide_kind",
    "look_alikes",
]

MOST_LABELS = 50
LEAST_ROWS_PER_LABEL = 8
# A label is taken for a slip of another that is this many times as frequent and shares
# more than this share of its letters in order (difflib's ratio; "joyy" and "joy": 0.86).
_MORE_FREQUENT = 10
_ALIKE = 0.8


@dataclass(frozen=True, kw_only=True)
class KindDecision:
    """The kind of a task and, where the counts were near the rule, why not the other."""

    kind: Kind
    warning: str = ""


def decide_kind(answers: Iterable[str], *, asked: Kind | None = None) -> KindDecision:
    """Return ``asked``, or the kind that the counts of ``answers`` say.

    Answers that differ in case or spaces only count as one here, so that a stray
    ``Joy`` among a hundred ``joy`` leads to the error about it, not to generation; so
    does a stray ``joyy``.
    """
    counts = Counter(normalized(answer) for answer in answers)
    if asked is not None:
        return KindDecision(kind=asked)
    if len(counts) > MOST_LABELS:
        return KindDecision(kind="generation")
    rare = {label: n for label, n in counts.items() if n < LEAST_ROWS_PER_LABEL}
    if not set(rare) - set(look_alikes(counts)):
        return KindDecision(kind="classification")
    warning = (
        f"read as generation, because of {len(counts)} distinct answers {len(rare)} have fewer than"
        f" {LEAST_ROWS_PER_LABEL} rows ({_counted(rare)}); add rows or remove these answers"
        " to make it classification"
    )
    return KindDecision(kind="generation", warning=warning)


def check_labels(answers: Iterable[str], counts: Mapping[str, int]) -> None:
    """Refuse answers that are no usable set of labels.

    Args:
        answers: every answer that was read.
        counts: rows per label after repeats are gone.

    Raises:
        DataError: labels that differ in case or spaces only, fewer than two labels, or
            fewer than 8 rows for one.
    """
    spellings: dict[str, set[str]] = defaultdict(set)
    for answer in answers:
        spellings[normalized(answer)].add(answer)
    for variants in spellings.values():
        if len(variants) > 1:
            first, second = sorted(variants)[:2]
            raise DataError(
                f"Labels differ in more than case or spaces, the data has {first!r} and {second!r};"
                " write them alike."
            )
    if len(counts) == 1:
        raise DataError(
            f"Classification has two or more labels, all rows have {next(iter(counts))!r};"
            " add rows with another answer."
        )
    rare = {label: n for label, n in counts.items() if n < LEAST_ROWS_PER_LABEL}
    if rare:
        raise DataError(
            f"Every label has at least {LEAST_ROWS_PER_LABEL} rows with distinct prompts, got"
            f" {_counted(rare, look_alikes(counts))}; correct these labels, add rows, remove"
            " them, or use --task generation."
        )


def look_alikes(counts: Mapping[str, int]) -> dict[str, str]:
    """Return rare labels that look like a slip of a frequent one, with that one.

    Labels that differ in digits are meant to (``class 1``, ``class 2``).
    """
    found = {}
    for label, n in counts.items():
        frequent = [
            other
            for other, m in counts.items()
            if m >= _MORE_FREQUENT * n and _letters(other) != _letters(label)
        ]
        ranked = difflib.get_close_matches(label, frequent, n=1, cutoff=_ALIKE)
        if ranked and difflib.SequenceMatcher(None, label, ranked[0]).ratio() > _ALIKE:
            found[label] = ranked[0]
    return found


def _letters(label: str) -> str:
    return "".join(character for character in label if not character.isdigit())


def _counted(counts: Mapping[str, int], meant: Mapping[str, str] | None = None) -> str:
    ranked = sorted(counts.items(), key=lambda item: (item[1], item[0]))
    meant = meant or {}
    told = (
        f"{label!r} {n}" + (f" (did you mean {meant[label]!r}?)" if label in meant else "")
        for label, n in ranked
    )
    return listing(told, most=5)
