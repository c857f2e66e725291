"""A task as token ids for one model: the rows that are trained on, evaluated and timed.

The rule everywhere is the concatenation prompt ids + answer ids. Where a tokenizer
keeps prompt and answer apart, this is the tokenisation of the whole text; where it
would join them, the answer's own tokens are used, and the count is a warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune.errors import DataError
from autotune.plain import digest

from .rows import EvaluationRow, RowSet, TextRow, TrainingExample
from .table import SPLIT_NAMES, SplitName
from .task import Task
from .tokens import Encoder
from .trie import decision_plan

__all__ = ["TokenizedTask", "tokenize_task"]

# The boundary before the answer is the template's, so a few rows show what it does.
_PROBES = 20


@dataclass(frozen=True, kw_only=True)
class TokenizedTask:
    """Rows of all splits for one tokenizer.

    Attributes:
        train, validation, test: rows in the order of the task.
        eos_ids: tokens that end a generation.
        digest: SHA-256 of the task and of all ids; what a training depends on.
        warnings: sentences without a full stop, for people.
        lengths: how long prompts and answers are, a sentence without a full stop.
    """

    train: RowSet
    validation: RowSet
    test: RowSet
    eos_ids: tuple[int, ...]
    digest: str
    warnings: tuple[str, ...] = ()
    lengths: str = ""

    @property
    def examples(self) -> tuple[TrainingExample, ...]:
        """The train split to train on: each row's ids and where its answer begins."""
        return tuple(
            TrainingExample(ids=row.prompt_ids + row.answer_ids, answer_start=len(row.prompt_ids))
            for row in self.train.rows
        )


def tokenize_task(task: Task, tokenizer_dir: Path, context_length: int) -> TokenizedTask:
    """Return ``task`` in the tokens of the model in ``tokenizer_dir``.

    Args:
        task: the text.
        tokenizer_dir: folder with tokenizer.json and config.json.
        context_length: tokens that the model can attend to, prompt and answer together.

    Raises:
        DataError: rows longer than the context, or labels that this tokenizer cannot
            tell apart.
        ModelSourceError: no tokenizer.json or no end-of-sequence token.
    """
    encoder = Encoder.load(tokenizer_dir)
    label_ids = _label_ids(task, encoder) if task.labels else ()
    rows: dict[SplitName, tuple[EvaluationRow, ...]] = {}
    n_joined = 0
    for name, texts in task.splits.items():
        found = [_row(text, task, encoder, label_ids) for text in texts]
        rows[name] = tuple(row for row, _ in found)
        n_joined += sum(is_joined for _, is_joined in found)
    _check_context(rows, context_length, longest=max(map(len, label_ids), default=0))
    limit = _max_new_tokens(rows, label_ids)
    train, validation, test = (
        RowSet(
            kind=task.kind,
            rows=rows[name],
            labels=task.labels,
            label_ids=label_ids,
            eos_ids=encoder.eos_ids,
            max_new_tokens=limit,
        )
        for name in SPLIT_NAMES
    )
    return TokenizedTask(
        train=train,
        validation=validation,
        test=test,
        eos_ids=encoder.eos_ids,
        digest=_digest(task, rows, encoder),
        warnings=_warnings(n_joined, n_rows=sum(map(len, rows.values()))),
    )


def _label_ids(task: Task, encoder: Encoder) -> tuple[tuple[int, ...], ...]:
    """Return the ids of every label, the same after any prompt.

    Raises:
        DataError: two labels with the same ids, or one the beginning of another.
    """
    texts = [task.template.lead + label for label in task.labels]
    found = [encoder.encode_alone(text) for text in texts]
    for row in task.train[:_PROBES]:
        joint = [encoder.continuation(row.prompt, text) for text in texts]
        apart = [ids for ids in joint if ids is not None]
        if len(apart) == len(texts):
            found = apart
            break
    label_ids = tuple(encoder.ended(ids) for ids in found)
    decision_plan(label_ids)
    return label_ids


def _row(
    text: TextRow, task: Task, encoder: Encoder, label_ids: Sequence[tuple[int, ...]]
) -> tuple[EvaluationRow, bool]:
    """Return the row and whether its prompt and answer would join tokens."""
    answer = task.template.lead + text.answer
    joint = encoder.continuation(text.prompt, answer)
    reference: int | str = text.answer
    if label_ids:
        reference = task.labels.index(text.answer)
        answer_ids = label_ids[reference]
    else:
        answer_ids = encoder.ended(encoder.encode_alone(answer) if joint is None else joint)
    prompt_ids = encoder.encode(text.prompt)
    if not prompt_ids:
        raise DataError(f"Every prompt has tokens, {text.prompt!r} has none; remove that row.")
    row = EvaluationRow(
        prompt=text.prompt, prompt_ids=prompt_ids, reference=reference, answer_ids=answer_ids
    )
    return row, joint is None or encoder.ended(joint) != answer_ids


def _check_context(
    rows: dict[SplitName, tuple[EvaluationRow, ...]], context_length: int, *, longest: int
) -> None:
    """Refuse rows that do not fit; any label may follow a prompt, so the longest counts."""
    too_long = [
        (row, length)
        for found in rows.values()
        for row in found
        if (length := len(row.prompt_ids) + max(len(row.answer_ids), longest)) > context_length
    ]
    if too_long:
        row, length = too_long[0]
        n_rows = sum(map(len, rows.values()))
        raise DataError(
            f"Prompt and answer fit into the model's context of {context_length} tokens;"
            f" {len(too_long)} of {n_rows} rows do not, the first has {length} and begins"
            f" {row.prompt[:60]!r}. Shorten or remove these rows."
        )


def _max_new_tokens(
    rows: dict[SplitName, tuple[EvaluationRow, ...]], label_ids: Sequence[tuple[int, ...]]
) -> int:
    """Return the longest label, or a quarter more than the longest answer, in tokens.

    The quarter lets an answer that runs on be told from one that was cut off.
    """
    if label_ids:
        return max(map(len, label_ids))
    longest = max(len(row.answer_ids) for found in rows.values() for row in found)
    return longest + -(-longest // 4)


def _digest(task: Task, rows: dict[SplitName, tuple[EvaluationRow, ...]], encoder: Encoder) -> str:
    ids = {
        name: [[row.prompt_ids, row.answer_ids] for row in found] for name, found in rows.items()
    }
    return digest({"task": task.digest, "ids": ids, "eos_ids": encoder.eos_ids})


def _warnings(n_joined: int, *, n_rows: int) -> tuple[str, ...]:
    if not n_joined:
        return ()
    warning = (
        f"in {n_joined} of {n_rows} rows the tokenizer would join the end of the prompt with the"
        " answer; the answer's own tokens are used, a line break or a space before the last"
        " field avoids this"
    )
    return (warning,)
