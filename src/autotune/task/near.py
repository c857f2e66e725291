"""Texts of two splits that are nearly the same: they flatter whoever learned the other.

Texts are compared as sets of neighbouring words, case and punctuation left out. Pairs
are proposed by MinHash (Broder 1997) in bands (Leskovec, Rajaraman and Ullman, Mining of
Massive Datasets, 3.4) and then compared exactly, so what is reported is near for sure;
of pairs right at the threshold about one in a thousand is not proposed. Word hashes and
permutations are fixed: the same rows give the same pairs on every machine.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .rows import TextRow
from .table import SPLIT_NAMES, SplitName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]

__all__ = ["NEAR", "NearPair", "near_pairs"]

# Shared share of all pairs of neighbouring words in two texts (Jaccard similarity).
NEAR = 0.8
# 1 - (1 - 0.8 ** 3) ** 10 = 99.9 % of pairs at the threshold meet in some band.
_BANDS, _ROWS_PER_BAND = 10, 3
# Compared per row and band; rows that share a band with more are all alike anyway.
_MOST_COMPARED = 8
_CHUNK = 4_000_000
_WORD = re.compile(r"\w+")
_EDGE = 1  # stands before the first and after the last word


@dataclass(frozen=True, kw_only=True)
class NearPair:
    """Rows of one split that have a near-duplicate in another.

    Attributes:
        split, other: names; ``other`` comes first in train, validation, test.
        rows: rows of ``split`` with a near-duplicate in ``other``, at least 1.
        text, other_text: the first of them and its near-duplicate.
    """

    split: SplitName
    other: SplitName
    rows: int
    text: TextRow
    other_text: TextRow


def near_pairs(splits: Mapping[SplitName, Sequence[TextRow]]) -> tuple[NearPair, ...]:
    """Return how many rows of each split are near-duplicates of rows in an earlier one."""
    names = [name for name in SPLIT_NAMES if splits.get(name)]
    rows = [row for name in names for row in splits[name]]
    if not rows:
        return ()
    of_split = [position for position, name in enumerate(names) for _ in splits[name]]
    sets = _shingles(_varying([row.question for row in rows]))
    # (split, other) to row to its first near-duplicate there.
    found: dict[tuple[int, int], dict[int, int]] = {}
    seen: set[tuple[int, int]] = set()
    for first, second in _proposed(sets, of_split):
        if (first, second) in seen:
            continue
        seen.add((first, second))
        twins = found.setdefault((of_split[second], of_split[first]), {})
        if second not in twins and _similarity(sets[first], sets[second]) >= NEAR:
            twins[second] = first
    return tuple(
        NearPair(
            split=names[later],
            other=names[earlier],
            rows=len(twins),
            text=rows[min(twins)],
            other_text=rows[twins[min(twins)]],
        )
        for (later, earlier), twins in sorted(found.items())
        if twins
    )


def _varying(prompts: Sequence[str]) -> list[str]:
    """Return the prompts without the words that all of them begin and end with.

    The template's own text would make short texts look alike.
    """
    before = _shared_beginning(prompts)
    turned = [prompt[before:][::-1] for prompt in prompts]
    after = _shared_beginning(turned)
    return [text[after:][::-1] for text in turned]


def _shared_beginning(texts: Sequence[str]) -> int:
    """Return how many first characters all ``texts`` share."""
    # The extremes of the sort order share no longer beginning than any two others.
    pairs = zip(min(texts), max(texts), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _shingles(texts: Sequence[str]) -> list[Hashes]:
    """Return for each text the hashes of its pairs of neighbouring words, distinct and sorted."""
    import numpy as np  # noqa: PLC0415 - startup time

    known: dict[str, int] = {}
    found = []
    for text in texts:
        words = [_EDGE]
        for word in _WORD.findall(text.casefold()):
            number = known.get(word)
            if number is None:
                number = known[word] = zlib.crc32(word.encode()) + 2
            words.append(number)
        ids = np.array([*words, _EDGE], dtype=np.uint64)
        found.append(np.unique(ids[:-1] * np.uint64(0x9E3779B97F4A7C15) ^ ids[1:]))
    return found


def _similarity(first: Hashes, second: Hashes) -> float:
    import numpy as np  # noqa: PLC0415 - startup time

    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)


def _proposed(sets: Sequence[Hashes], of_split: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (row, later row) of different splits that share a band."""
    import numpy as np  # noqa: PLC0415 - startup time

    splits = np.array(of_split)
    for band in _bands(sets):
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order], prepend=band[order[:1]] ^ np.uint64(1)))
        ends = np.append(starts[1:], len(order))
        groups = zip(starts[ends - starts > 1], ends[ends - starts > 1], strict=True)
        for start, end in groups:
            members = order[start:end]
            if splits[members[0]] == splits[members[-1]]:
                continue  # rows stand in the order of their splits
            yield from _across(members.tolist(), of_split)


def _across(members: Sequence[int], of_split: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield pairs of different splits; each row with a few rows of each earlier split."""
    earlier: dict[int, list[int]] = {}
    for row in members:
        for split, firsts in earlier.items():
            if split != of_split[row]:
                yield from ((first, row) for first in firsts)
        firsts = earlier.setdefault(of_split[row], [])
        if len(firsts) < _MOST_COMPARED:
            firsts.append(row)


def _bands(sets: Sequence[Hashes]) -> Iterator[Hashes]:
    """Yield for each band one number per row, equal where all its minima are."""
    import numpy as np  # noqa: PLC0415 - startup time

    draw = np.random.default_rng(0).integers(1, 2**63, size=(_BANDS * _ROWS_PER_BAND, 2))
    multipliers, offsets = (draw[:, column].astype(np.uint64) for column in (0, 1))
    minima = np.empty((len(multipliers), len(sets)), dtype=np.uint64)
    for start, end in _chunks([len(one) for one in sets]):
        flat = np.concatenate(sets[start:end])
        # Mixed first: multiplying alone keeps the order of neighbouring numbers.
        flat ^= flat >> np.uint64(29)
        lengths = [len(one) for one in sets[start:end]]
        firsts = np.cumsum([0, *lengths[:-1]])
        for row, (a, b) in enumerate(zip(multipliers, offsets, strict=True)):
            hashed = (flat * (a | np.uint64(1)) + b) >> np.uint64(16)
            minima[row, start:end] = np.minimum.reduceat(hashed, firsts)
    for band in minima.reshape(_BANDS, _ROWS_PER_BAND, -1):
        key = band[0].copy()
        for row in band[1:]:
            key = key * np.uint64(0x9E3779B97F4A7C15) ^ row
        yield key


def _chunks(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of runs of texts with a few million shingles at most."""
    start = total = 0
    for index, length in enumerate(lengths):
        if total and total + length > _CHUNK:
            yield start, index
            start, total = index, 0
        total += length
    yield start, len(lengths)
