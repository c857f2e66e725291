"""How often the built model is right, and how surprised it is by the right answer.

Classification takes the label of highest log-likelihood over the trie of label
tokens, multiple choice the option of highest log-likelihood of all its tokens, divided by
its length or not; generation is greedy and compared by the task's metric; plain text is
scored token by token. All are done by the runtime that deploys, one row at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune.confusion import Confusion
from autotune.kinds import Kind, is_decision
from autotune.measurement import Measurement, metric_unit
from autotune.targets import Executor, Job
from autotune.task import AnswerRule, RowSet

from .answers import judge_answers
from .contract import BuiltModel
from .runtime import child_job, child_rows, run_child
from .statistics import bootstrap_mean, bootstrap_ratio, macro_f1, wilson_interval

__all__ = ["Scored", "read_scored", "score", "score_job"]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What scoring a split brought.

    Attributes:
        measurements: by metric: ``accuracy``, ``nll`` and, for classification,
            ``macro_f1``, for generation ``answer_tokens`` (free-running), for plain text
            ``perplexity``.
        correct: one character per row, in order: "1" right, "0" not or not wholly right;
            of plain text one per scored token, "1" where it was the likeliest.
        predictions: indices of labels or options, or answers as text.
        confusion: which label was answered for which, classification only.
    """

    measurements: dict[str, Measurement]
    correct: str
    predictions: list[int] | list[str]
    confusion: Confusion | None = None


def score_job(
    model: BuiltModel,
    rows: RowSet,
    *,
    threads: int | None = None,
    timeout_s: float = 3600.0,
    log_path: str = "",
) -> Job:
    """Return the job whose result ``read_scored`` reads, for callers that run many at once."""
    work = {
        "kind": rows.kind,
        "rows": child_rows(rows.rows, rows),
        "max_new_tokens": rows.max_new_tokens,
        "nll": True,
    }
    return child_job(
        model,
        rows,
        {"score": work},
        threads=threads,
        timeout_s=timeout_s,
        log_path=log_path,
        what="score",
    )


def score(
    model: BuiltModel,
    rows: RowSet,
    *,
    executor: Executor,
    seed: int = 0,
    threads: int | None = None,
    timeout_s: float = 3600.0,
    log_path: str = "",
) -> Scored:
    """Score ``rows`` with the built model in a fresh process and wait for it.

    Args:
        model: to load.
        rows: of one split, at least one.
        executor: that starts the process.
        seed: of the bootstrap intervals only; scores are deterministic.
        threads: of ONNX Runtime; None is the physical cores the child may use.
        timeout_s: of the process.
        log_path: where its output goes; empty discards it.

    Raises:
        ValueError: no rows.
        AutotuneError: as ``runtime.child_result``.
    """
    if not rows.rows:
        raise ValueError("scoring needs at least one row")
    job = score_job(model, rows, threads=threads, timeout_s=timeout_s, log_path=log_path)
    return read_scored(run_child(executor, job, model), rows, seed=seed)


def read_scored(value: Mapping[str, Any], rows: RowSet, *, seed: int = 0) -> Scored:
    """Return the measurements in a finished job's ``value`` (``child_result``).

    Raises:
        RunError: a custom metric failed.
    """
    results = value["score"]["rows"]
    if rows.kind == "perplexity":
        return _of_windows(results, seed)
    read = _of_decisions if is_decision(rows.kind) else _of_answers
    return read(results, rows, seed)


def _of_decisions(results: Sequence[Mapping[str, Any]], rows: RowSet, seed: int) -> Scored:
    predictions = [int(result["predicted"]) for result in results]
    references = [int(row.reference) for row in rows.rows]
    values = [float(a == b) for a, b in zip(predictions, references, strict=True)]
    found = [_accuracy(values, rows, seed), _nll(results, seed)]
    confusion = None
    if rows.kind == "classification":
        found.append(_macro_f1(references, predictions, seed))
        confusion = Confusion.of(references, predictions, n_labels=len(rows.labels))
    return Scored(
        measurements=_by_name(found),
        correct=_correct(values),
        predictions=predictions,
        confusion=confusion,
    )


def _of_answers(results: Sequence[Mapping[str, Any]], rows: RowSet, seed: int) -> Scored:
    answers = [str(result["text"]) for result in results]
    values = judge_answers(rows.rule, answers, [str(row.reference) for row in rows.rows])
    lengths = [float(len(result["ids"])) for result in results]
    what = "tokens of the free-running answer, end included"
    found = [
        _accuracy(values, rows, seed),
        _nll(results, seed),
        _mean("answer_tokens", lengths, seed, what),
    ]
    return Scored(measurements=_by_name(found), correct=_correct(values), predictions=answers)


def _of_windows(results: Sequence[Mapping[str, Any]], seed: int) -> Scored:
    """Return numbers per token; those of a window resemble each other, so windows are drawn."""
    losses = [[float(loss) for loss in result["losses"]] for result in results]
    hits = [[int(hit) for hit in result["hits"]] for result in results]
    lengths = [len(window) for window in losses]
    n = sum(lengths)
    loss = sum(map(sum, losses)) / n
    low, high = bootstrap_ratio([sum(window) for window in losses], lengths, seed=seed)
    share = bootstrap_ratio([sum(window) for window in hits], lengths, seed=seed)
    drawn = f"{n} tokens in {len(losses)} windows of text; bootstrap over windows"
    told = {
        "accuracy": (sum(map(sum, hits)) / n, share, "tokens that were the likeliest"),
        "nll": (loss, (low, high), "negative log-likelihood per token"),
        "perplexity": (math.exp(loss), (math.exp(low), math.exp(high)), "exp of the nll per token"),
    }
    found = [
        Measurement(
            metric=metric,
            unit=metric_unit(metric),
            value=value,
            n=n,
            ci95=interval,
            method=f"{what}, {drawn}",
        )
        for metric, (value, interval, what) in told.items()
    ]
    correct = "".join(str(hit) for window in hits for hit in window)
    return Scored(measurements=_by_name(found), correct=correct, predictions=[])


def _by_name(found: Sequence[Measurement]) -> dict[str, Measurement]:
    return {measurement.metric: measurement for measurement in found}


def _correct(values: Sequence[float]) -> str:
    return "".join("1" if value == 1 else "0" for value in values)


def _how(kind: Kind, rule: AnswerRule) -> str:
    """Return how answers are judged, for people."""
    if kind == "classification":
        return "label of highest likelihood"
    if kind == "choice":
        divided = {"sum": "", "per-token": " per token", "per-character": " per character"}
        return f"option of highest log-likelihood{divided[rule.metric]}"
    named = {"": "exact match", "exact": "exact match", "f1": "F1 over words (SQuAD)"}
    first = f", after extracting {rule.extract!r}" if rule.extract else ""
    return f"greedy, {named.get(rule.metric, rule.metric)}{first}"


def _accuracy(values: Sequence[float], rows: RowSet, seed: int) -> Measurement:
    """Return the mean of the rows' values; their interval is Wilson's where all are 0 or 1."""
    is_share = all(value in (0.0, 1.0) for value in values)
    n = len(values)
    interval = (
        wilson_interval(round(sum(values)), n) if is_share else bootstrap_mean(values, seed=seed)
    )
    name = "Wilson interval" if is_share else "bootstrap over rows"
    return Measurement(
        metric="accuracy",
        unit=metric_unit("accuracy"),
        value=sum(values) / n,
        n=n,
        ci95=interval,
        method=f"{_how(rows.kind, rows.rule)} on the built model; {name}",
    )


def _nll(results: Sequence[Mapping[str, Any]], seed: int) -> Measurement:
    what = "negative log-likelihood of the reference's deciding tokens, mean over rows"
    return _mean("nll", [float(result["nll"]) for result in results], seed, what)


def _macro_f1(references: Sequence[int], predictions: Sequence[int], seed: int) -> Measurement:
    value, interval = macro_f1(references, predictions, seed=seed)
    return Measurement(
        metric="macro_f1",
        unit=metric_unit("macro_f1"),
        value=value,
        n=len(references),
        ci95=interval,
        method="mean of the classes' F1; bootstrap over rows",
    )


def _mean(metric: str, samples: Sequence[float], seed: int, what: str) -> Measurement:
    return Measurement(
        metric=metric,
        unit=metric_unit(metric),
        value=sum(samples) / len(samples),
        n=len(samples),
        ci95=bootstrap_mean(samples, seed=seed),
        blocks=(tuple(samples),),
        method=f"{what}; bootstrap over rows",
    )
