"""Rows as a corpus: nothing lost, nothing added, no sequence too long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.chain import Corpus, Strategy
from autotune.errors import UsageError
from autotune.task import TrainingExample, corpus_examples

ROWS = st.lists(st.lists(st.integers(1, 99), min_size=2, max_size=9), min_size=1, max_size=20)


def _examples(rows: list[list[int]]) -> list[TrainingExample]:
    return [TrainingExample(ids=tuple(row), answer_start=1) for row in rows]


@given(rows=ROWS, most=st.integers(2, 30))
def test_joined_rows_are_cut_into_sequences_that_hold_every_token(
    rows: list[list[int]], most: int
) -> None:
    corpus = Corpus(strategy=Strategy.JOIN, max_tokens=most)
    found = corpus_examples(_examples(rows), corpus, 30)
    tokens = [token for row in rows for token in row]
    made = [token for example in found for token in example.ids]
    assert made == tokens[: len(made)]
    assert len(tokens) - len(made) <= 1  # a last token alone predicts nothing
    assert all(len(example.ids) == most for example in found[:-1])
    assert {example.answer_start for example in found} == {1}


def test_line_by_line_keeps_rows_apart_and_cuts_them() -> None:
    corpus = Corpus(strategy=Strategy.LINE_BY_LINE, max_tokens=3)
    found = corpus_examples(_examples([[1, 2], [3, 4, 5, 6]]), corpus, 8)
    assert [example.ids for example in found] == [(1, 2), (3, 4, 5)]


def test_sequences_fit_into_the_context() -> None:
    corpus = Corpus(strategy=Strategy.JOIN, max_tokens=9)
    with pytest.raises(UsageError, match="context of 8 tokens, 9 are asked for"):
        corpus_examples(_examples([[1, 2]]), corpus, 8)
    with pytest.raises(UsageError, match="at least 2 tokens, got 1"):
        Corpus(strategy=Strategy.JOIN, max_tokens=1)
