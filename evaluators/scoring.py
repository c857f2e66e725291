"""Scoring one row with a loaded model: labels, options, answers and windows of text.

A part of ``runtime_child.py``, which loads it by its path: numpy and the standard library
only. A ``generator`` is one of onnxruntime-genai; a prompt is prefilled once, and whatever
follows it is read after rewinding to its end.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

# Fewer tokens than these are prefilled faster than anybody notices.
_LEAST_SHARED = 8


def log_normaliser(logits: Any) -> float:
    """Return log(sum(exp(logits))) over the vocabulary, in float64.

    Raises:
        FloatingPointError: the logits are not finite numbers.
    """
    top = float(logits.max())
    if not np.isfinite(top):
        raise FloatingPointError("the model's logits are not finite numbers")
    return top + float(np.log(np.exp(logits - logits.dtype.type(top)).sum(dtype=np.float64)))


def append(generator: Any, tokens: Sequence[int]) -> None:
    """Append ``tokens``, at least one, and run the model on them."""
    generator.append_tokens(np.asarray(tokens, dtype=np.int32))


class Decision:
    """A decision between token sequences: walk the trie of their tokens once.

    ``nodes`` are prefixes to read at (the first is the prompt itself), ``depths`` says how
    many leading tokens of each sequence are scored. For labels both come from
    ``autotune.task.trie``, which stops where no other label goes on; options of a multiple
    choice are scored whole (``of_options``).
    """

    def __init__(self, plan: dict[str, Any], sequences: list[list[int]]) -> None:
        # Sorted prefixes are in depth-first order: each costs one token after a rewind.
        self._nodes: list[list[int]] = sorted(plan["nodes"])
        self.longest = max(map(len, self._nodes))
        self.n_sequences = len(sequences)
        places = {tuple(node): place for place, node in enumerate(self._nodes)}
        self._reads: list[list[tuple[int, int]]] = [[] for _ in self._nodes]
        for index, (ids, depth) in enumerate(zip(sequences, plan["depths"], strict=True)):
            for length in range(depth):
                self._reads[places[tuple(ids[:length])]].append((index, ids[length]))

    @classmethod
    def of_options(cls, option_ids: list[list[int]]) -> Decision:
        """Return the decision by all tokens of each option; shared beginnings are run once."""
        nodes = {tuple(ids[:length]) for ids in option_ids for length in range(len(ids))}
        depths = [len(ids) for ids in option_ids]
        return cls({"nodes": [list(node) for node in nodes], "depths": depths}, option_ids)

    def scores(self, generator: Any, n_prompt: int) -> list[float]:
        """Return each sequence's log-likelihood in nats; the prompt has been appended."""
        totals = [0.0] * self.n_sequences
        for node, reads in zip(self._nodes, self._reads, strict=True):
            if node:
                generator.rewind_to(n_prompt + len(node) - 1)
                append(generator, node[-1:])
            logits = generator.get_logits()[0, -1]
            normaliser = log_normaliser(logits)
            for index, token in reads:
                totals[index] += float(logits[token]) - normaliser
        return totals


def decision_of(row: dict[str, Any], labels: Decision | None) -> Decision | None:
    """Return how a row is decided: by the task's labels, its own options, or not at all."""
    if labels is not None or not row.get("option_ids"):
        return labels
    return Decision.of_options(row["option_ids"])


def score_decisions(
    runtime: Any, rows: list[dict[str, Any]], labels: Decision | None
) -> list[dict[str, Any]]:
    """Return what is decided for every row, in order; rows with one beginning are run together.

    Prompts are taken in the order of their tokens, and what consecutive ones begin with
    (the examples of a template, above all) is prefilled once.
    """
    decisions = [labels or Decision.of_options(row["option_ids"]) for row in rows]
    found: list[dict[str, Any]] = [{} for _ in rows]
    for run in _runs([row["prompt_ids"] for row in rows]):
        longest = max(len(rows[i]["prompt_ids"]) + max(1, decisions[i].longest) for i in run)
        generator, before = runtime.generator(length=longest), []
        for index in run:
            prompt = rows[index]["prompt_ids"]
            # The last token is always run again: its logits are what is read next.
            shared = min(shared_tokens(before, prompt), len(prompt) - 1)
            if before:
                generator.rewind_to(shared)
            append(generator, prompt[shared:])
            before = prompt
            found[index] = _decided(generator, rows[index], decisions[index])
    return found


def shared_tokens(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens both begin with."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _runs(prompts: list[list[int]]) -> list[list[int]]:
    """Return indices in the order of the prompts, cut where two share next to nothing.

    The cache is allocated for the longest of a run, so strangers are not put into one.
    """
    runs: list[list[int]] = []
    for index in sorted(range(len(prompts)), key=prompts.__getitem__):
        if runs and shared_tokens(prompts[runs[-1][-1]], prompts[index]) >= _LEAST_SHARED:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs


def _decided(generator: Any, row: dict[str, Any], decision: Decision) -> dict[str, Any]:
    """Return the best label or option (ties to the lower index), all scores, the reference's NLL.

    ``divisors`` are what the log-likelihoods are divided by before they are compared.
    """
    scores = decision.scores(generator, len(row["prompt_ids"]))
    divisors = row.get("divisors") or [1.0] * len(scores)
    compared = [score / divisor for score, divisor in zip(scores, divisors, strict=True)]
    best = max(range(len(compared)), key=compared.__getitem__)
    return {"predicted": best, "scores": scores, "nll": -scores[row["reference"]]}


def score_answer(
    runtime: Any, row: dict[str, Any], *, eos_ids: list[int], max_new: int, with_nll: bool
) -> dict[str, Any]:
    """Return the free-running greedy answer and, by teacher forcing, the reference's NLL."""
    n_prompt, answer = len(row["prompt_ids"]), row["answer_ids"]
    generator = runtime.generator(length=n_prompt + max(max_new, len(answer)))
    append(generator, row["prompt_ids"])
    first = generator.get_logits()[0, -1].copy()
    ids: list[int] = []
    while len(ids) < max_new and not generator.is_done():
        generator.generate_next_token()
        ids.append(int(generator.get_next_tokens()[0]))
        if ids[-1] in eos_ids:
            break
    text = runtime.tokenizer.decode([i for i in ids if i not in eos_ids]) if ids else ""
    result: dict[str, Any] = {"ids": ids, "text": text}
    if with_nll:
        generator.rewind_to(n_prompt)
        result["nll"] = sum(_forced(generator, first, answer)[0])
    return result


def score_window(runtime: Any, row: dict[str, Any]) -> dict[str, Any]:
    """Return of each token to score its negative log-likelihood, and whether it is the likeliest.

    A graph that tells the logits of every position needs two passes a window; one whose
    head is pruned to the last position needs one per token.
    """
    prompt, answer = row["prompt_ids"], row["answer_ids"]
    generator = runtime.generator(length=len(prompt) + len(answer))
    append(generator, prompt)
    first = generator.get_logits()[0, -1].copy()
    if len(answer) > 1 and len(prompt) > 1 and generator.get_output("logits").shape[1] > 1:
        append(generator, answer[:-1])
        losses, hits = _read([first, *generator.get_output("logits")[0]], answer)
    else:
        losses, hits = _forced(generator, first, answer)
    return {"losses": losses, "hits": hits}


def _forced(generator: Any, first: Any, answer: list[int]) -> tuple[list[float], list[int]]:
    """Return losses and hits of ``answer``, a step each; ``first`` are the logits before it."""
    losses, hits = _read([first], answer[:1])
    for before, token in itertools.pairwise(answer):
        append(generator, [before])
        loss, hit = _read([generator.get_logits()[0, -1]], [token])
        losses += loss
        hits += hit
    return losses, hits


def _read(table: list[Any], tokens: list[int]) -> tuple[list[float], list[int]]:
    """Return each token's negative log-likelihood, and 1 where it is the likeliest."""
    losses = [
        log_normaliser(logits) - float(logits[token])
        for logits, token in zip(table, tokens, strict=True)
    ]
    hits = [int(logits.argmax() == token) for logits, token in zip(table, tokens, strict=True)]
    return losses, hits
