"""The parent's side of ``runtime_child.py``: what is sent, and what its refusals mean.

One request is one fresh process. Refusals come back by name and become the error
that a caller can act on; a dead child is a ``WorkerError``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autotune.errors import (
    AutotuneError,
    BuildError,
    HardwareError,
    ModelSourceError,
    RunError,
    WorkerError,
)
from autotune.kinds import is_decision
from autotune.plain import to_plain
from autotune.targets import Executor, Job, JobResult, libraries_script
from autotune.task import EvaluationRow, RowSet, decision_plan

from .contract import BuiltModel

__all__ = ["child_job", "child_result", "child_rows", "run_child"]

_ENTRY = "autotune.evaluators.runtime_child"


# Error class and advice per kind of refusal.
_REFUSALS: dict[str, tuple[type[AutotuneError], str]] = {
    "fell_back": (HardwareError, "check the provider's driver, or choose another --target"),
    "no_provider": (HardwareError, "install the onnxruntime-genai package that has this provider"),
    "custom_ops": (ModelSourceError, "remove the entry, native code of a model is never loaded"),
    "tokenizer_mismatch": (
        ModelSourceError,
        "use a model whose tokenizer.json onnxruntime-genai reads as transformers does",
    ),
    "load_failed": (BuildError, "leave its recipe out"),
    "run_failed": (BuildError, "leave its recipe out"),
    "not_finite": (BuildError, "leave its recipe or its adapter out"),
}


def _refusal(kind: str, message: str, model: BuiltModel) -> AutotuneError:
    error, advice = _REFUSALS.get(kind, (RunError, "the log of the step says more"))
    return error(
        f"The model {model.name!r} must run on the provider {model.provider!r}:"
        f" {message.strip().rstrip('.') or kind}; {advice}."
    )


def child_rows(rows: Sequence[EvaluationRow], rules: RowSet) -> list[dict[str, Any]]:
    """Return rows as the child reads them; a decision makes no tokens of its own.

    Args:
        rows: to send.
        rules: how they are decided; its own rows do not matter.
    """
    return [
        {
            "prompt": row.prompt,
            "prompt_ids": list(row.prompt_ids),
            "answer_ids": list(row.answer_ids),
            "reference": row.reference,
            "new_tokens": 0 if is_decision(rules.kind) else len(row.answer_ids),
            **_options(row, rules),
        }
        for row in rows
    ]


def _options(row: EvaluationRow, rules: RowSet) -> dict[str, Any]:
    """Return the options of a multiple choice and what their log-likelihoods are divided by."""
    if rules.kind != "choice":
        return {}
    divisors = {
        "sum": [1.0] * len(row.options),
        "per-token": [float(len(ids)) for ids in row.option_ids],
        "per-character": [float(len(text)) for text in row.options],
    }
    return {
        "option_ids": [list(ids) for ids in row.option_ids],
        "divisors": divisors[rules.rule.metric],
    }


def child_job(
    model: BuiltModel,
    rules: RowSet,
    work: Mapping[str, Any],
    *,
    threads: int | None,
    timeout_s: float,
    log_path: str,
    what: str,
) -> Job:
    """Return the job that loads ``model`` and does ``work`` ("latency", "score") on it.

    Args:
        model: to load.
        rules: how rows are decided; its rows are not sent, ``work`` holds its own.
        work: payload of the operations, by name.
        threads: of ONNX Runtime; None is the physical cores the child may use.
        timeout_s: of the whole process.
        log_path: where its output goes; empty discards it.
        what: first words of the job's name.
    """
    has_labels = rules.kind == "classification"
    payload = {
        "model_dir": str(model.path),
        "provider": model.provider,
        "libraries": libraries_script(model.provider),
        "threads": threads,
        "plan": to_plain(decision_plan(rules.label_ids)) if has_labels else None,
        "label_ids": [list(ids) for ids in rules.label_ids],
        "eos_ids": list(rules.eos_ids),
        **work,
    }
    return Job(
        name=f"{what} {model.name}",
        entry=_ENTRY,
        payload=payload,
        timeout_s=timeout_s,
        interpreter=model.interpreter,
        environment={"ORT_DISABLE_TELEMETRY": "1"},
        log_path=log_path,
    )


def child_result(result: JobResult, model: BuiltModel) -> Mapping[str, Any]:
    """Return what the child answered, or raise what its refusal means.

    Raises:
        HardwareError: the provider is absent, or the model fell back to another.
        ModelSourceError: native code in the model folder, or a tokenizer that disagrees.
        BuildError: the model cannot be loaded or run, or computes NaN.
        WorkerError: the process crashed, hung or ran out of memory.
        RunError: any other failure of the child.
    """
    if result.status == "ok":
        return result.value
    if result.status == "error":
        kind, _, message = result.error.partition(": ")
        if kind != "out_of_memory":
            raise _refusal(kind, message, model)
    died = "out_of_memory" if result.status == "error" else result.status
    raise WorkerError(
        f"Measuring {model.name!r} ended without an answer: {result.error or died}.", kind=died
    )


def run_child(executor: Executor, job: Job, model: BuiltModel) -> Mapping[str, Any]:
    """Submit ``job``, wait for it alone and return its result; cancel it when interrupted.

    Raises:
        RunError: another job ended meanwhile (nothing else may run beside a measurement),
            and everything that ``child_result`` raises.
    """
    handle = executor.submit(job)
    result = None
    try:
        result = executor.poll()
        while result is not None and result.handle != handle and result.status == "cancelled":
            result = executor.poll()
    finally:
        if result is None or result.handle != handle:
            executor.cancel(handle)
    if result is None or result.handle != handle:
        raise RunError(
            f"A measurement has the machine to itself, but {job.name!r} was not the only job"
            f" (got {result.handle if result else None!r}); wait for running jobs before measuring."
        )
    return child_result(result, model)
