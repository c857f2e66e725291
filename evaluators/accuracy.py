"""How often the built model is right, and how surprised it is by the right answer.

Classification takes the label of highest log-likelihood over the trie of label
tokens; generation is greedy and compared with the reference after removing spaces
at both ends. Both are done by the runtime that deploys, one row at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune.confusion import Confusion
from autotune.measurement import Measurement, metric_unit
from autotune.targets import Executor, Job
from autotune.task import RowSet

from .contract import BuiltModel
from .runtime import child_job, child_rows, run_child
from .statistics import bootstrap_mean, macro_f1, wilson_interval

__all__ = ["Scored", "read_scored", "score", "score_job"]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What scoring a split brought.

    Attributes:
        measurements: by metric: ``accuracy``, ``nll`` and, for classification,
            ``macro_f1``, for generation ``answer_tokens`` (free-running).
        correct: one character per row, in order: "1" right, "0" wrong.
        predictions: label indices, or answers as text.
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
        "rows": child_rows(rows.rows, kind=rows.kind),
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
    """Return the measurements in a finished job's ``value`` (``child_result``)."""
    results = value["score"]["rows"]
    references = [row.reference for row in rows.rows]
    measurements = {}
    confusion = None
    predictions: list[int] | list[str]
    if rows.kind == "classification":
        predictions = [int(result["predicted"]) for result in results]
        hits = [a == b for a, b in zip(predictions, references, strict=True)]
        indices = [int(reference) for reference in references]
        measurements["macro_f1"] = _macro_f1(indices, predictions, seed)
        confusion = Confusion.of(indices, predictions, n_labels=len(rows.labels))
    else:
        predictions = [str(result["text"]) for result in results]
        hits = [a.strip() == str(b).strip() for a, b in zip(predictions, references, strict=True)]
        lengths = [float(len(result["ids"])) for result in results]
        measurements["answer_tokens"] = _mean(
            "answer_tokens", lengths, seed, "tokens of the free-running answer, end included"
        )
    measurements["accuracy"] = _accuracy(hits, rows.kind)
    measurements["nll"] = _mean(
        "nll",
        [float(result["nll"]) for result in results],
        seed,
        "negative log-likelihood of the reference's deciding tokens, mean over rows",
    )
    correct = "".join("1" if hit else "0" for hit in hits)
    return Scored(
        measurements=measurements, correct=correct, predictions=predictions, confusion=confusion
    )


def _accuracy(hits: Sequence[bool], kind: str) -> Measurement:
    rule = "label of highest likelihood" if kind == "classification" else "greedy, exact match"
    return Measurement(
        metric="accuracy",
        unit=metric_unit("accuracy"),
        value=sum(hits) / len(hits),
        n=len(hits),
        ci95=wilson_interval(sum(hits), len(hits)),
        method=f"{rule} on the built model; Wilson interval",
    )


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
