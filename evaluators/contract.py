"""What is measured on what: the contract of this folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autotune.task import EvaluationRow, RowSet

__all__ = ["BuiltModel", "EvaluationRow", "RowSet", "Workload"]


@dataclass(frozen=True, kw_only=True)
class BuiltModel:
    """An onnxruntime-genai folder and the provider it must run on."""

    name: str
    path: Path
    provider: str
    interpreter: str = ""


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
