"""Rows as text and as token ids: what is trained on, evaluated and timed.

Evaluators and passes share these types; ``Task`` and ``TokenizedTask`` hold them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["EvaluationRow", "Kind", "RowSet", "TextRow", "TrainingExample"]

Kind = Literal["classification", "generation"]


@dataclass(frozen=True, kw_only=True)
class TextRow:
    """One row of the task as text.

    Attributes:
        prompt: text up to the answer, without spaces at its end.
        answer: the answer's field and the template's text after it.
        place: where it stands (``data.csv, line 3``), for messages; no part of its identity.
    """

    prompt: str
    answer: str
    place: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True)
class EvaluationRow:
    """One prompt with its reference.

    Attributes:
        prompt: text up to the answer (trailing spaces moved to the answer).
        prompt_ids: its token ids; every tokenizer in play must agree on them.
        reference: index into the labels (classification), or the answer's text.
        answer_ids: token ids of the reference answer, end-of-sequence included.
    """

    prompt: str
    prompt_ids: tuple[int, ...]
    reference: int | str
    answer_ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class RowSet:
    """Rows of one split together with how they are decided.

    Attributes:
        kind: classification (labels by log-likelihood over the trie of their tokens)
            or generation (greedy, exact match).
        labels: answers as text, classification only.
        label_ids: token ids of each label, end-of-sequence included; all distinct and
            none a prefix of another.
        eos_ids: tokens that end a generation.
        max_new_tokens: limit of a free-running answer.
    """

    kind: Kind
    rows: tuple[EvaluationRow, ...]
    labels: tuple[str, ...] = ()
    label_ids: tuple[tuple[int, ...], ...] = ()
    eos_ids: tuple[int, ...] = ()
    max_new_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainingExample:
    """One row to train on: the loss is taken on ``ids[answer_start:]``.

    Attributes:
        ids: prompt ids followed by answer ids, end-of-sequence included.
        answer_start: position of the first answer token, at least 1.
    """

    ids: tuple[int, ...]
    answer_start: int
