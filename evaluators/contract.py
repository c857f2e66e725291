"""What is measured on what: the contract of this folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["BuiltModel", "EvaluationRow", "RowSet", "Workload"]


@dataclass(frozen=True, kw_only=True)
class BuiltModel:
    """An onnxruntime-genai folder and the provider it must run on."""

    name: str
    path: Path
    provider: str
    interpreter: str = ""


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

    kind: Literal["classification", "generation"]
    rows: tuple[EvaluationRow, ...]
    labels: tuple[str, ...] = ()
    label_ids: tuple[tuple[int, ...], ...] = ()
    eos_ids: tuple[int, ...] = ()
    max_new_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The fixed requests that are timed, made from the user's prompts.

    Attributes:
        rows: what is asked, batch 1; generation makes exactly ``len(answer_ids)``
            tokens with end-of-sequence ignored, classification prefills and walks
            the whole trie.
        digest: identifies it; equal digests mean comparable numbers.
    """

    rows: RowSet
    digest: str
