"""Train, validation and test rows that share no prompt.

Two prompts are the same when they differ in case or white space only. Which split a
row falls into depends on the seed and on its own prompt, not on the order of the file,
so a shuffled or extended file keeps most rows where they were.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune.errors import DataError

from .rows import TextRow
from .table import SPLIT_NAMES, SplitName

__all__ = [
    "DEFAULT_SHARES",
    "UniqueRows",
    "check_leaks",
    "mixed",
    "normalized",
    "split_rows",
    "unique_rows",
]

DEFAULT_SHARES: Mapping[SplitName, float] = {"train": 0.6, "validation": 0.2, "test": 0.2}


@dataclass(frozen=True, kw_only=True)
class UniqueRows:
    """Rows with one answer per prompt.

    Attributes:
        rows: first of each prompt, in file order.
        repeats: rows removed because prompt and answer had been seen.
        conflicts: rows of each prompt with more than one answer, all left out: no answer
            of theirs can be called right.
    """

    rows: tuple[TextRow, ...]
    repeats: int
    conflicts: tuple[tuple[TextRow, ...], ...]

    @property
    def conflicting_prompts(self) -> int:
        """Prompts with more than one answer."""
        return len(self.conflicts)

    @property
    def conflicting_rows(self) -> int:
        """Rows of those prompts."""
        return sum(map(len, self.conflicts))


def normalized(text: str) -> str:
    """Return ``text`` with case folded and every run of white space made one space."""
    return " ".join(text.casefold().split())


def unique_rows(rows: Sequence[TextRow]) -> UniqueRows:
    """Return one row per prompt, leaving out repeats and prompts with several answers."""
    by_prompt: dict[str, list[TextRow]] = defaultdict(list)
    for row in rows:
        by_prompt[normalized(row.question)].append(row)
    groups = list(by_prompt.values())
    kept = [group for group in groups if len({row.answer for row in group}) == 1]
    conflicts = [group for group in groups if len({row.answer for row in group}) > 1]
    return UniqueRows(
        rows=tuple(group[0] for group in kept),
        repeats=sum(len(group) - 1 for group in kept),
        conflicts=tuple(map(tuple, conflicts)),
    )


def check_leaks(splits: Mapping[SplitName, Sequence[TextRow]]) -> None:
    """Refuse splits of the user's own that share a prompt.

    Raises:
        DataError: with the count of shared prompts and the first of them.
    """
    prompts = {
        name: {normalized(row.question): row for row in rows} for name, rows in splits.items()
    }
    names = [name for name in SPLIT_NAMES if name in prompts]
    for position, first in enumerate(names):
        for second in names[position + 1 :]:
            shared = [key for key in prompts[second] if key in prompts[first]]
            if shared:
                one, other = prompts[first][shared[0]], prompts[second][shared[0]]
                places = " and ".join(row.place for row in (one, other) if row.place)
                raise DataError(
                    f"Splits share no prompt; {first} and {second} share {len(shared)}, the first"
                    f" is {other.prompt!r}{f' ({places})' if places else ''}."
                    " Remove them from one of the two."
                )


def split_rows(
    rows: Sequence[TextRow],
    *,
    seed: int,
    shares: Mapping[SplitName, float] = DEFAULT_SHARES,
    stratify: bool,
) -> dict[SplitName, tuple[TextRow, ...]]:
    """Return ``rows`` dealt out to the splits in ``shares``.

    Args:
        rows: with distinct prompts.
        seed: another seed deals out other rows.
        shares: relative sizes, ``train`` among them; train takes what rounding leaves.
        stratify: keep the shares within each answer.
    """
    strata: dict[str, list[TextRow]] = defaultdict(list)
    for row in rows:
        strata[row.answer if stratify else ""].append(row)
    dealt: dict[SplitName, list[TextRow]] = {name: [] for name in shares}
    for stratum in strata.values():
        ranked = sorted(stratum, key=lambda row: _rank(row, f"{seed}"))
        start = 0
        for name in shares:
            if name == "train":
                continue
            size = round(len(ranked) * shares[name] / sum(shares.values()))
            dealt[name].extend(ranked[start : start + size])
            start += size
        dealt["train"].extend(ranked[start:])
    return {name: mixed(found) for name, found in dealt.items()}


def mixed(rows: Sequence[TextRow]) -> tuple[TextRow, ...]:
    """Return ``rows`` in an order that depends on their prompts only.

    The order mixes answers, so the beginning of a split is a fair sample of it.
    """
    return tuple(sorted(rows, key=lambda row: _rank(row, "order")))


def _rank(row: TextRow, salt: str) -> bytes:
    return hashlib.sha256(f"{salt}\n{normalized(row.question)}".encode()).digest()
