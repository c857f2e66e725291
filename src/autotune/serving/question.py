"""What a user asks, put as the model was tuned and measured: template, labels, options.

The rules are those of ``run.py``. A model folder that autotune did not make has no task; its
text goes to the model as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune.errors import UsageError
from autotune.reports import ShippedTask
from autotune.task import decision_plan

__all__ = ["Decided", "Question", "QuestionError", "ask_fields", "ask_raw", "ask_text"]

# Of text that no task bounds; people who want more say so.
DEFAULT_NEW_TOKENS = 256
_LEAST_OPTIONS = 2


class QuestionError(UsageError):
    """A question that does not fit the model's task.

    Attributes:
        parameter: the part of it that is wrong: ``prompt``, ``fields``, ``options``.
    """

    def __init__(self, message: str, *, parameter: str = "prompt") -> None:
        super().__init__(message)
        self.parameter = parameter


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question, ready for a model.

    Attributes:
        prompt: what the model reads.
        answers: texts to decide between; empty where the answer is generated.
        task: rules of the decision or of the answer's end; None is text as it is.
        tails: of options, what stands between prompt and option and after the option.
    """

    prompt: str
    answers: tuple[str, ...] = ()
    task: ShippedTask | None = None
    tails: tuple[str, str] = ("", "")

    @property
    def is_decision(self) -> bool:
        """Whether the answer is one of given texts."""
        return bool(self.answers)

    @property
    def suffix(self) -> str | None:
        """Text that is taken off the end of an answer; None where it stays as it is."""
        return None if self.task is None or self.is_decision else self.task.suffix

    @property
    def default_new_tokens(self) -> int:
        """How many tokens an answer may have where nobody says."""
        return (self.task.max_new_tokens if self.task else 0) or DEFAULT_NEW_TOKENS

    def decision(self) -> dict[str, Any]:
        """Return the message that asks for the likelihoods of the answers."""
        asked: dict[str, Any] = {"operation": "decide", "prompt": self.prompt, "plan": None}
        if self.task is not None and self.task.labels:
            plan = decision_plan(self.task.label_ids)
            asked["plan"] = {"nodes": plan.nodes, "depths": plan.depths}
            return asked | {"label_ids": self.task.label_ids}
        lead, suffix = self.tails
        return asked | {"options": [lead + option + suffix for option in self.answers]}

    def decided(self, scores: Sequence[float], lengths: Sequence[int]) -> Decided:
        """Return which answer is the likeliest by the task's rule.

        Args:
            scores: log-likelihood of each answer's tokens.
            lengths: how many tokens each has.
        """
        metric = self.task.metric if self.task is not None and not self.task.labels else ""
        divisors: Sequence[int] = [1] * len(scores)
        if metric == "per-token":
            divisors = lengths
        elif metric == "per-character":
            divisors = [len(option + self.tails[1]) for option in self.answers]
        compared = [score / divisor for score, divisor in zip(scores, divisors, strict=True)]
        best = max(range(len(compared)), key=compared.__getitem__)
        ends = 1 if self.task is not None and self.task.labels else 0  # the end of a label
        return Decided(
            answer=self.answers[best],
            tokens=lengths[best] - ends,
            log_likelihoods=dict(zip(self.answers, scores, strict=True)),
        )


@dataclass(frozen=True, kw_only=True)
class Decided:
    """An answer that was chosen.

    Attributes:
        answer: its text.
        tokens: how many it has.
        log_likelihoods: of every answer, in nats; of labels only the tokens that tell them
            apart.
    """

    answer: str
    tokens: int
    log_likelihoods: dict[str, float]


def ask_raw(text: str) -> Question:
    """Return ``text`` as it is, for the model to go on with."""
    return Question(prompt=text)


def ask_text(task: ShippedTask | None, text: str, *, options: Sequence[str] = ()) -> Question:
    """Return the question of a text: the value of the only field, or a prompt already whole.

    Args:
        task: of the model; None takes the text as it is.
        text: what ``run.py`` takes, or the template filled up to its answer.
        options: of a multiple choice.

    Raises:
        QuestionError: the task has several fields, or the options do not fit.
    """
    if task is None:
        return ask_raw(text)
    if _is_whole(task, text):
        return _question(task, text.rstrip(" ") + _lead(task), options)
    if len(task.fields) != 1:
        names = ", ".join(map(repr, task.fields))
        raise QuestionError(
            f"This model's task has the fields {names} and text alone does not say which it is,"
            f" got {text[:60]!r}; give them by name as 'fields', or the whole prompt as in"
            f" {task.template!r}."
        )
    return ask_fields(task, {task.fields[0]: text}, options=options)


def ask_fields(
    task: ShippedTask | None, fields: Mapping[str, str], *, options: Sequence[str] = ()
) -> Question:
    """Return the question with every field of the template by name.

    Raises:
        QuestionError: there is no template, fields are missing or unknown, or the options do
            not fit.
    """
    if task is None:
        raise QuestionError(
            "Fields fill a template, this model folder brings none (no autotune.json); give the"
            " text as the prompt.",
            parameter="fields",
        )
    if set(fields) != set(task.fields):
        raise QuestionError(
            f"The template of this model is filled by {', '.join(map(repr, task.fields))}, got"
            f" {', '.join(map(repr, fields)) or 'none'}; give each of them once.",
            parameter="fields",
        )
    parts = (fields[part] if place % 2 else part for place, part in enumerate(task.prompt))
    return _question(task, "".join(parts), options)


def _is_whole(task: ShippedTask, text: str) -> bool:
    """Whether ``text`` is the template up to the answer, filled already."""
    texts = [*task.prompt[0:-1:2], task.prompt[-1].rstrip(" ")]
    if not any(part.strip(" ") for part in texts):  # nothing that one could tell it by
        return False
    pattern = "(.*?)".join(map(re.escape, texts))
    return re.fullmatch(pattern, text.rstrip(" "), re.DOTALL) is not None


def _lead(task: ShippedTask) -> str:
    """Return the spaces between prompt and answer in the template."""
    last = task.prompt[-1]
    return last[len(last.rstrip(" ")) :]


def _question(task: ShippedTask, filled: str, options: Sequence[str]) -> Question:
    prompt = filled.rstrip(" ")
    if task.kind != "choice":
        if options:
            raise QuestionError(
                f"Options are for a multiple choice, this model's task is {task.kind}; leave"
                " 'options' out.",
                parameter="options",
            )
        return Question(prompt=prompt, answers=task.labels, task=task)
    if len(set(options)) < max(_LEAST_OPTIONS, len(options)) or not all(options):
        raise QuestionError(
            "This model chooses between options, two or more, all different, none empty; got"
            f" {list(options)!r}. Give them as 'options'.",
            parameter="options",
        )
    tails = (filled[len(prompt) :], task.suffix)
    return Question(prompt=prompt, answers=tuple(options), task=task, tails=tails)
