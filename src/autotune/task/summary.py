"""What was found in the data, in numbers and in the sentences a run prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .rows import Kind
from .table import SplitName, listing

__all__ = ["TaskSummary"]


# A table of more labels says less than its ends.
_MOST_LABELS_SHOWN = 12
_RAREST_SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class TaskSummary:
    """Counts of the reading and splitting of a task.

    Attributes:
        sources: files or data set ids as named by the user, the main one first.
        kind: what is asked for.
        seed: of the split.
        rows_read: rows in the sources.
        empty_rows: left out because all fields of the template were blank.
        repeats_removed: left out because prompt and answer had been seen.
        conflicting_prompts: prompts with more than one answer.
        conflicting_rows: rows of those prompts, left out.
        split_sizes: rows used per split.
        own_splits: splits kept as the user's data names them; the others were drawn.
        label_counts: rows used by label, then by split; classification only.
        warnings: sentences without a full stop, for people.
    """

    sources: tuple[str, ...]
    kind: Kind
    seed: int
    rows_read: int
    empty_rows: int
    repeats_removed: int
    conflicting_prompts: int
    conflicting_rows: int
    split_sizes: dict[SplitName, int]
    own_splits: tuple[SplitName, ...] = ()
    label_counts: dict[str, dict[SplitName, int]]
    warnings: tuple[str, ...] = ()

    @property
    def rows_used(self) -> int:
        """Rows in all splits."""
        return sum(self.split_sizes.values())

    def lines(self) -> tuple[str, ...]:
        r"""Return the summary as lines of text, warnings last.

        >>> summary = TaskSummary(
        ...     sources=("a.csv",), kind="classification", seed=0, rows_read=50, empty_rows=1,
        ...     repeats_removed=9, conflicting_prompts=0, conflicting_rows=0,
        ...     split_sizes={"train": 24, "validation": 8, "test": 8},
        ...     label_counts={"no": {"train": 12, "validation": 4, "test": 4},
        ...                   "yes": {"train": 12, "validation": 4, "test": 4}})
        >>> print(*summary.lines(), sep="\n")
        a.csv: 50 rows; left out: 9 repeated, 1 empty; 40 used
        train 24, validation 8, test 8 (drawn with seed 0)
        classification, 2 labels; always answering 'no' is right in 50 % of the test rows
          label  train  validation  test
          no        12           4     4
          yes       12           4     4
        """
        removed = [
            f"{count} {what}"
            for count, what in (
                (self.repeats_removed, "repeated"),
                (self.empty_rows, "empty"),
                (self.conflicting_rows, "with conflicting answers"),
            )
            if count
        ]
        read = f"{listing(self.sources)}: {self.rows_read} rows"
        left_out = f"; left out: {', '.join(removed)}" if removed else ""
        sizes = ", ".join(f"{name} {size}" for name, size in self.split_sizes.items())
        return (
            f"{read}{left_out}; {self.rows_used} used",
            f"{sizes} ({self._origin()})",
            *self._kind_lines(),
            *(f"warning: {warning}" for warning in self.warnings),
        )

    def _kind_lines(self) -> tuple[str, ...]:
        """Return the kind and, with labels, their rows per split, the most frequent first."""
        if not self.label_counts:
            return (self.kind,)
        ranked = sorted(self.label_counts, key=lambda one: -sum(self.label_counts[one].values()))
        share = self.label_counts[ranked[0]]["test"] / self.split_sizes["test"]
        best = f"always answering {ranked[0]!r} is right in {share * 100:.0f} % of the test rows"
        return (
            f"{self.kind}, {len(ranked)} labels; {best}",
            *_label_table(ranked, self.label_counts),
        )

    def _origin(self) -> str:
        how = "cut in order" if self.kind == "perplexity" else f"drawn with seed {self.seed}"
        drawn = [name for name in self.split_sizes if name not in self.own_splits]
        if not self.own_splits:
            return how
        own = f"{', '.join(self.own_splits)} as the data names them"
        return f"{own}, {', '.join(drawn)} {how}" if drawn else own


def _label_table(
    ranked: Sequence[str], counts: Mapping[str, Mapping[SplitName, int]]
) -> tuple[str, ...]:
    """Return labels and their rows per split in columns, the middle of a long list left out."""
    names = list(counts[ranked[0]])
    width = max(len("label"), *map(len, ranked))
    gap: list[str] = []
    if len(ranked) > _MOST_LABELS_SHOWN:
        left_out = len(ranked) - _MOST_LABELS_SHOWN
        gap = [f"  ... and {left_out} labels between"]
        head, tail = ranked[: _MOST_LABELS_SHOWN - _RAREST_SHOWN], ranked[-_RAREST_SHOWN:]
    else:
        head, tail = ranked, []

    def line(label: str) -> str:
        numbers = (f"{counts[label][name]:>{len(name)}}" for name in names)
        return f"  {label:<{width}}  {'  '.join(numbers)}"

    header = f"  {'label':<{width}}  {'  '.join(names)}"
    return (header, *map(line, head), *gap, *map(line, tail))
