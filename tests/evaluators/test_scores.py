"""The fast path (prefill once, walk the trie by rewinding) against full rescoring by torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from autotune.evaluators import BuiltModel, RowSet, child_result, read_scored, score, score_job
from autotune.targets import LocalExecutor
from autotune.task import decision_plan


@pytest.fixture(scope="module")
def reference(tiny_model_dir: Path) -> Any:
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - only tests that need a model pay

    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype="float32")
    return model.eval()


def _log_likelihoods(model: Any, prompt: Sequence[int], ids: Sequence[int]) -> list[float]:
    """Score ``ids`` after ``prompt`` in one forward pass of the whole text."""
    import torch  # noqa: PLC0415 - only tests that need a model pay

    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *ids]])).logits[0].double()
    table = logits.log_softmax(-1)
    return [float(table[len(prompt) - 1 + k, token]) for k, token in enumerate(ids)]


def _greedy(model: Any, prompt: Sequence[int], *, limit: int, eos: int) -> list[int]:
    """Decode token by token, the whole text again for each."""
    import torch  # noqa: PLC0415 - only tests that need a model pay

    ids: list[int] = []
    while len(ids) < limit and (not ids or ids[-1] != eos):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *ids]])).logits[0, -1]
        ids.append(int(logits.argmax()))
    return ids


def _score(executor: LocalExecutor, built: BuiltModel, rows: RowSet) -> Any:
    return child_result(executor.run(score_job(built, rows, threads=1)), built)


def test_label_scores_equal_rescoring_every_label_from_scratch(
    executor: LocalExecutor, built: BuiltModel, choices: RowSet, reference: Any
) -> None:
    plan = decision_plan(choices.label_ids)
    assert sum(len(node) == 2 for node in plan.nodes) == 2, "rewinding across branches"
    results = _score(executor, built, choices)["score"]["rows"]
    for row, result in zip(choices.rows, results, strict=True):
        slow = [
            sum(_log_likelihoods(reference, row.prompt_ids, ids)[:depth])
            for ids, depth in zip(choices.label_ids, plan.depths, strict=True)
        ]
        assert result["scores"] == pytest.approx(slow, abs=1e-4)
        assert result["predicted"] == slow.index(max(slow))
        assert result["nll"] == -result["scores"][row.reference]


def test_free_answers_and_their_likelihood_equal_the_slow_ones(
    executor: LocalExecutor, built: BuiltModel, answers: RowSet, reference: Any
) -> None:
    results = _score(executor, built, answers)["score"]["rows"]
    for row, result in zip(answers.rows, results, strict=True):
        slow = -sum(_log_likelihoods(reference, row.prompt_ids, row.answer_ids))
        assert result["nll"] == pytest.approx(slow, abs=1e-4)
        assert result["ids"] == _greedy(reference, row.prompt_ids, limit=6, eos=0)


def test_scoring_twice_gives_the_same_bits(
    executor: LocalExecutor, built: BuiltModel, choices: RowSet
) -> None:
    first, second = (_score(executor, built, choices)["score"]["rows"] for _ in range(2))
    assert first == second


def test_classification_is_measured_with_its_intervals(
    executor: LocalExecutor, built: BuiltModel, choices: RowSet
) -> None:
    scored = score(built, choices, executor=executor, threads=1)
    hits = [p == row.reference for p, row in zip(scored.predictions, choices.rows, strict=True)]
    assert scored.correct == "".join("01"[hit] for hit in hits)
    assert set(scored.measurements) == {"accuracy", "nll", "macro_f1"}
    accuracy = scored.measurements["accuracy"]
    assert accuracy.value == sum(hits) / 12
    assert accuracy.ci95 is not None
    assert accuracy.ci95[0] < accuracy.value < accuracy.ci95[1]
    assert len(scored.measurements["nll"].blocks[0]) == 12
    assert scored.confusion is not None
    assert scored.confusion.n_labels == 7
    matrix = scored.confusion.matrix
    assert sum(matrix[i][i] for i in range(7)) == sum(hits)
    references = [row.reference for row in choices.rows]
    assert [sum(row) for row in matrix] == [references.count(label) for label in range(7)]


def test_an_answer_is_right_up_to_outer_spaces(answers: RowSet) -> None:
    texts = ["joy", " joyful\n", "joyles", "s ad", *[""] * 8]
    value = {"score": {"rows": [{"text": t, "ids": [1, 0], "nll": 1.0} for t in texts]}}
    scored = read_scored(value, answers)
    assert scored.correct == "11" + "0" * 10
    assert scored.measurements["answer_tokens"].value == 2
    assert set(scored.measurements) == {"accuracy", "nll", "answer_tokens"}


def test_scoring_nothing_is_refused(
    executor: LocalExecutor, built: BuiltModel, choices: RowSet
) -> None:
    empty = RowSet(kind="classification", rows=(), labels=(), label_ids=choices.label_ids)
    with pytest.raises(ValueError, match="at least one row"):
        score(built, empty, executor=executor)
