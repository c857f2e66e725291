"""Rows as text and as token ids: what is trained on, evaluated and timed.

Evaluators and passes share these types; ``Task`` and ``TokenizedTask`` hold them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from autotune.kinds import Kind

from .answer_rule import AnswerRule

__all__ = ["EvaluationRow", "Kind", "Message", "RowSet", "TextRow", "TrainingExample"]


@dataclass(frozen=True, kw_only=True)
class Message:
    """A turn of a conversation: who speaks (``system``, ``user``, ``assistant``) and what."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True)
class TextRow:
    """One row of the task as text.

    Attributes:
        prompt: text up to the answer, without spaces at its end; of a conversation its
            turns in lines, for people; empty for plain text.
        answer: the answer's field and the template's text after it.
        options: what the answer is one of, for multiple choice; the same form.
        messages: the turns before the answer, where the row is a conversation.
        place: where it stands (``data.csv, line 3``), for messages; no part of its identity.
    """

    prompt: str
    answer: str
    options: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    place: str = field(default="", compare=False)

    @property
    def question(self) -> str:
        """All that is known before the answer: the prompt and, after it, the options."""
        return "\n".join((self.prompt, *self.options))


@dataclass(frozen=True, kw_only=True)
class EvaluationRow:
    """One prompt with its reference.

    Attributes:
        prompt: text up to the answer (trailing spaces moved to the answer).
        prompt_ids: its token ids; every tokenizer in play must agree on them.
        reference: index into the labels (classification) or options (choice), or the
            answer's text.
        answer_ids: token ids of the reference answer, end-of-sequence included; of plain
            text the tokens that are scored.
        options: texts of a multiple choice.
        option_ids: token ids of each option after the prompt, without end-of-sequence.
    """

    prompt: str
    prompt_ids: tuple[int, ...]
    reference: int | str
    answer_ids: tuple[int, ...]
    options: tuple[str, ...] = ()
    option_ids: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class RowSet:
    """Rows of one split together with how they are decided.

    Attributes:
        kind: classification (labels by log-likelihood over the trie of their tokens),
            generation (greedy), choice (each row's options by log-likelihood of their
            tokens) or perplexity (likelihood of windows of text).
        labels: answers as text, classification only.
        label_ids: token ids of each label, end-of-sequence included; all distinct and
            none a prefix of another.
        eos_ids: tokens that end a generation.
        max_new_tokens: limit of a free-running answer.
        rule: how an answer is compared with its reference, or options with each other.
    """

    kind: Kind
    rows: tuple[EvaluationRow, ...]
    labels: tuple[str, ...] = ()
    label_ids: tuple[tuple[int, ...], ...] = ()
    eos_ids: tuple[int, ...] = ()
    max_new_tokens: int = 0
    rule: AnswerRule = field(default_factory=AnswerRule)


@dataclass(frozen=True, kw_only=True)
class TrainingExample:
    """One row to train on: the loss is taken on ``ids[answer_start:]``.

    Attributes:
        ids: prompt ids followed by answer ids, end-of-sequence included.
        answer_start: position of the first answer token, at least 1.
    """

    ids: tuple[int, ...]
    answer_start: int
