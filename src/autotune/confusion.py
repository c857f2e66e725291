"""Which label was answered in place of which: counts, and the scores per class in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

__all__ = ["ClassScore", "Confusion"]


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """How well one class is told from the others.

    Attributes:
        support: rows whose reference it is.
        predicted: rows that it was answered for.
        precision: share of ``predicted`` that are right; None where it was never answered.
        recall: share of ``support`` that was found; None where no row has it.
        f1: harmonic mean of both, 0 where none is right; None where the class occurs in
            neither references nor answers. The mean over the others is the macro F1.
    """

    support: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """The confusion matrix of one scoring, its empty cells left out.

    Attributes:
        n_labels: labels of the task; cells name them by index.
        cells: (reference, answered, rows) with at least one row, each pair once, sorted.
    """

    n_labels: int
    cells: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        pairs = [cell[:2] for cell in self.cells]
        known = range(self.n_labels)
        if pairs != sorted(set(pairs)) or any(
            reference not in known or answered not in known or rows < 1
            for reference, answered, rows in self.cells
        ):
            raise ValueError(
                f"cells are (reference, answered, rows) of {self.n_labels} labels, sorted, each"
                f" pair once, got {self.cells!r}"
            )

    @classmethod
    def of(cls, references: Sequence[int], answers: Sequence[int], *, n_labels: int) -> Self:
        """Return the matrix of rows given as label indices."""
        counts = Counter(zip(references, answers, strict=True))
        cells = tuple((*pair, rows) for pair, rows in sorted(counts.items()))
        return cls(n_labels=n_labels, cells=cells)

    @property
    def matrix(self) -> list[list[int]]:
        """Rows by reference, columns by answer, in the order of the labels."""
        table = [[0] * self.n_labels for _ in range(self.n_labels)]
        for reference, answered, rows in self.cells:
            table[reference][answered] = rows
        return table

    @property
    def classes(self) -> tuple[ClassScore, ...]:
        """Scores of every class, in the order of the labels.

        >>> Confusion.of([0, 0, 1], [0, 1, 1], n_labels=2).classes[1]
        ClassScore(support=1, predicted=2, precision=0.5, recall=1.0, f1=0.6666666666666666)
        """
        table = self.matrix
        return tuple(
            _score(
                right=table[label][label],
                support=sum(table[label]),
                predicted=sum(row[label] for row in table),
            )
            for label in range(self.n_labels)
        )

    @property
    def mistakes(self) -> tuple[tuple[int, int, int], ...]:
        """Cells off the diagonal, the most frequent first, ties in the order of the labels."""
        wrong = [cell for cell in self.cells if cell[0] != cell[1]]
        return tuple(sorted(wrong, key=lambda cell: (-cell[2], cell)))


def _score(*, right: int, support: int, predicted: int) -> ClassScore:
    occurs = support + predicted
    return ClassScore(
        support=support,
        predicted=predicted,
        precision=right / predicted if predicted else None,
        recall=right / support if support else None,
        f1=2 * right / occurs if occurs else None,
    )
