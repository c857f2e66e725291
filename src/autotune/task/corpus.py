"""Rows of a split as a text corpus: sequences with the loss on every token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from autotune.chain import Corpus, Strategy
from autotune.errors import UsageError

from .rows import TrainingExample

__all__ = ["corpus_examples"]

_LEAST = 2  # a token to predict, and one before it


def corpus_examples(
    examples: Iterable[TrainingExample], corpus: Corpus, context_length: int
) -> tuple[TrainingExample, ...]:
    """Return what to train on.

    Every row ends in the end-of-sequence token that its example has, so joined rows need
    nothing between them. What is left at the end of a join is a shorter sequence.

    Args:
        examples: the rows.
        corpus: how to make sequences of them.
        context_length: tokens that the model can attend to.

    Raises:
        UsageError: sequences longer than the context.
    """
    if corpus.max_tokens > context_length:
        raise UsageError(
            f"A training sequence fits into the model's context of {context_length} tokens,"
            f" {corpus.max_tokens} are asked for; give a smaller max_seq_len."
        )
    rows = [example.ids for example in examples]
    if corpus.strategy is Strategy.JOIN:
        sequences = _cut(tuple(chain.from_iterable(rows)), corpus.max_tokens)
    else:
        sequences = [ids[: corpus.max_tokens] for ids in rows]
    return tuple(
        TrainingExample(ids=ids, answer_start=1) for ids in sequences if len(ids) >= _LEAST
    )


def _cut(ids: Sequence[int], size: int) -> list[tuple[int, ...]]:
    return [tuple(ids[start : start + size]) for start in range(0, len(ids), size)]
