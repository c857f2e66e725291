"""How answers are judged: the metrics by name, and what may be taken out of an answer first.

Every metric gives each row a value in [0, 1], 1 being right; their mean is the accuracy.
The arithmetic is that of ``autotune.evaluators``; here stands what may be asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from autotune.errors import UsageError
from autotune.kinds import Kind

__all__ = ["ANSWER_METRICS", "OPTION_METRICS", "AnswerRule", "answer_rule"]

# Of a generated answer; a custom one is named package.module:function.
ANSWER_METRICS = ("exact", "contains", "f1")
# What the log-likelihood of an option is divided by. ``per-character`` and ``sum`` are
# acc_norm and acc of lm-evaluation-harness, ``per-token`` is the rule of GPT-3 (Brown et
# al. 2020, 2.4) and of MosaicML's evaluation.
OPTION_METRICS = ("per-character", "per-token", "sum")
_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True, kw_only=True)
class AnswerRule:
    """How a generated answer or an option is judged; empty for the other kinds.

    Attributes:
        metric: one of the names above, or ``package.module:function``.
        extract: regular expression whose first match is taken from answer and reference
            before they are compared; its first group where it has one. Empty takes all.
        code: SHA-256 of the file of a custom function, so that an edit counts as another
            rule; else empty.
    """

    metric: str = ""
    extract: str = ""
    code: str = ""

    @property
    def is_custom(self) -> bool:
        """Whether the metric is a function of the user's own."""
        return ":" in self.metric


def answer_rule(kind: Kind, *, metric: str | None, extract: str | None) -> AnswerRule:
    """Return the rule that ``--metric`` and ``--extract`` ask for in a task of ``kind``.

    Raises:
        UsageError: a metric or a pattern that such a task has no use for.
    """
    if kind == "generation":
        return AnswerRule(metric=_generation_metric(metric), extract=_pattern(extract))
    if extract is not None:
        raise UsageError(
            f"--extract takes the answer out of generated text, this task is {kind} and generates"
            " none; leave it out."
        )
    if kind == "choice":
        if metric is not None and metric not in OPTION_METRICS:
            raise UsageError(
                f"--metric of a multiple choice is one of {', '.join(OPTION_METRICS)}, got"
                f" {metric!r}."
            )
        return AnswerRule(metric=metric or OPTION_METRICS[0])
    if metric is not None:
        has = "accuracy and macro F1" if kind == "classification" else "perplexity"
        raise UsageError(
            f"--metric is for generation and choice, this task is {kind} and always gets {has},"
            f" got {metric!r}; leave it out."
        )
    return AnswerRule()


def _generation_metric(metric: str | None) -> str:
    if metric is None or metric in ANSWER_METRICS or _FUNCTION.fullmatch(metric):
        return metric or ANSWER_METRICS[0]
    raise UsageError(
        f"--metric of a generation is one of {', '.join(ANSWER_METRICS)} or a function of your own"
        f" as package.module:function, got {metric!r}."
    )


def _pattern(extract: str | None) -> str:
    if extract is None:
        return ""
    try:
        re.compile(extract)
    except re.error as error:
        raise UsageError(
            f"--extract is a regular expression, {extract!r} is none ({error}); correct it."
        ) from error
    return extract
