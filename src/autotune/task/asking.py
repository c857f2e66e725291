"""What a model reads and what it should say, in its own tokens: the template's words or its chat's.

Tokens of an answer are those that it adds to the prompt. Where a tokenizer would join the
two, the answer's own tokens are used, and the caller counts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .chat import ChatTemplate
from .rows import Message, TextRow
from .task import Task
from .tokens import Encoder

__all__ = ["Asking", "added_beginning"]


def added_beginning(chat: ChatTemplate, encoder: Encoder) -> str:
    """Return the text that the tokenizer adds by itself and ``chat`` writes too; else nothing."""
    begin = chat.tokens.get("bos_token", "")
    is_added = bool(begin) and encoder.encode("") == encoder.encode_alone(begin)
    return begin if is_added else ""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How rows of one task are put to one model; make it with ``Asking.load``.

    Attributes:
        encoder: of the model.
        lead: spaces between prompt and answer, tokens of the answer; none in a chat.
        chat: the model's chat template, where the task asks in its words.
        begin: text that the tokenizer adds by itself, which chat templates write too.
    """

    encoder: Encoder
    lead: str
    chat: ChatTemplate | None = None
    begin: str = ""

    @classmethod
    def load(cls, task: Task, model_dir: Path) -> Self:
        """Return how the rows of ``task`` are put to the model in ``model_dir``.

        Raises:
            ModelSourceError: no usable tokenizer, or no chat template where one is asked for.
            DataError: a library is missing.
        """
        encoder = Encoder.load(model_dir)
        if not task.is_chat:
            return cls(encoder=encoder, lead=task.template.lead)
        chat = ChatTemplate.load(model_dir)
        return cls(encoder=encoder, lead="", chat=chat, begin=added_beginning(chat, encoder))

    def prompt(self, row: TextRow, *, skip: int = 0) -> str:
        """Return what the model reads, the first ``skip`` characters of the question left out."""
        if self.chat is None:
            return row.prompt[skip:]
        return self.chat.prompt(self._turns(row, skip)).removeprefix(self.begin)

    def question(self, row: TextRow) -> str:
        """Return the text that ``skip`` counts in: the prompt, of a chat its last turn."""
        return row.messages[-1].content if row.messages else row.prompt

    def answered(self, row: TextRow, answer: str) -> str:
        """Return the text that follows the prompt where the model says ``answer``."""
        if self.chat is None:
            return self.lead + answer
        return self.chat.answer(self._turns(row, 0), answer)

    def _turns(self, row: TextRow, skip: int) -> tuple[Message, ...]:
        if row.messages:
            last = row.messages[-1]
            return (*row.messages[:-1], Message(role=last.role, content=last.content[skip:]))
        # Outer white space is dropped: some chat templates trim it, and none needs it.
        return (Message(role="user", content=row.prompt[skip:].strip()),)

    def answer_ids(self, prompt: str, text: str) -> tuple[tuple[int, ...], bool]:
        """Return the ids of ``text`` after ``prompt``, and whether the two would join tokens.

        End-of-sequence stands at the end and nowhere before: what a chat template writes
        after the end of a turn is no part of the answer.
        """
        joint = self.encoder.continuation(prompt, text)
        ids = self.encoder.encode_alone(text) if joint is None else joint
        end = next((i for i, one in enumerate(ids) if one in self.encoder.eos_ids), len(ids))
        return self.encoder.ended(ids[: end + 1]), joint is None

    def own_ids(self, row: TextRow, answer: str) -> tuple[int, ...]:
        """Return the ids of ``answer`` by itself, whatever the prompt, end included."""
        return self.encoder.ended(self.encoder.encode_alone(self.answered(row, answer)))

    def option_ids(self, prompt: str, text: str) -> tuple[tuple[int, ...], bool]:
        """Return the same for an option, without end-of-sequence.

        Options are compared as in lm-evaluation-harness, which scores their text alone.
        """
        ids, is_joined = self.answer_ids(prompt, text)
        return ids[:-1], is_joined

    def around(self, task: Task) -> tuple[str, str]:
        """Return the texts around the question that a deployed model is asked.

        Of conversations the system's turn, where all rows have the same; a deployed model
        is asked one question at a time.
        """
        if self.chat is None:
            return "", ""
        firsts = {
            tuple(turn for turn in row.messages[:1] if turn.role in ("system", "developer"))
            for rows in task.splits.values()
            for row in rows
        }
        before, after = self.chat.around(firsts.pop() if len(firsts) == 1 else ())
        return before.removeprefix(self.begin), after
