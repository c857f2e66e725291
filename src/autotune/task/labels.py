"""Is it classification, and which labels? A rule on counts, stated once.

At most 50 distinct answers with at least 8 rows each are labels; ``--task`` overrides.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autotune.errors import DataError

from .rows import Kind
from .split import normalized
from .table import listing

__all__ = ["LEAST_ROWS_PER_LABEL", "MOST_LABELS", "KindDecision", "check_labels", "decide_kind"]

MOST_LABELS = 50
LEAST_ROWS_PER_LABEL = 8


@dataclass(frozen=True, kw_only=True)
class KindDecision:
    """The kind of a task and, where the counts were near the rule, why not the other."""

    kind: Kind
    warning: str = ""


def decide_kind(answers: Iterable[str], *, asked: Kind | None = None) -> KindDecision:
    """Return ``asked``, or the kind that the counts of ``answers`` say.

    Answers that differ in case or spaces only count as one here, so that a stray
    ``Joy`` among a hundred ``joy`` leads to the error about it, not to generation.
    """
    counts = Counter(normalized(answer) for answer in answers)
    if asked is not None:
        return KindDecision(kind=asked)
    if len(counts) > MOST_LABELS:
        return KindDecision(kind="generation")
    rare = {label: n for label, n in counts.items() if n < LEAST_ROWS_PER_LABEL}
    if not rare:
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
            f" {_counted(rare)}; add rows, remove these labels, or use --task generation."
        )


def _counted(counts: Mapping[str, int]) -> str:
    ranked = sorted(counts.items(), key=lambda item: (item[1], item[0]))
    return listing((f"{label!r} {n}" for label, n in ranked), most=5)
