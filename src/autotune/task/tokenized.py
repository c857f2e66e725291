"""A task as token ids for one model: the rows that are trained on, evaluated and timed.

The rule everywhere is the concatenation prompt ids + answer ids. Where a tokenizer
keeps prompt and answer apart, this is the tokenisation of the whole text; where it
would join them, the answer's own tokens are used, and the count is a warning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

from autotune.errors import DataError
from autotune.plain import digest, to_plain

from .answer_rule import AnswerRule
from .asking import Asking
from .fitting import fitting_skips
from .rows import EvaluationRow, RowSet, TextRow, TrainingExample
from .table import SPLIT_NAMES, SplitName
from .task import Task
from .tokens import Encoder
from .trie import decision_plan
from .windows import evaluation_windows, training_windows, window_words

__all__ = ["TokenizedTask", "tokenize_task"]

# The boundary before the answer is the template's, so a few rows show what it does.
_PROBES = 20
_Rows = Mapping[SplitName, tuple[EvaluationRow, ...]]


@dataclass(frozen=True, kw_only=True)
class TokenizedTask:
    """Rows of all splits for one tokenizer.

    Attributes:
        train, validation, test: rows in the order of the task.
        eos_ids: tokens that end a generation.
        digest: SHA-256 of the task and of all ids; what a training depends on.
        warnings: sentences without a full stop, for people.
        lengths: how long prompts and answers are, in a line.
        around: texts before and after the question, where the model's chat template
            puts some there.
    """

    train: RowSet
    validation: RowSet
    test: RowSet
    eos_ids: tuple[int, ...]
    digest: str
    warnings: tuple[str, ...] = ()
    lengths: str = ""
    around: tuple[str, str] = ("", "")

    @property
    def examples(self) -> tuple[TrainingExample, ...]:
        """The train split to train on: each row's ids and where its answer begins."""
        return tuple(
            TrainingExample(ids=row.prompt_ids + row.answer_ids, answer_start=len(row.prompt_ids))
            for row in self.train.rows
        )


def tokenize_task(
    task: Task,
    tokenizer_dir: Path,
    context_length: int,
    *,
    rule: AnswerRule | None = None,
    truncates: bool = False,
) -> TokenizedTask:
    """Return ``task`` in the tokens of the model in ``tokenizer_dir``.

    Args:
        task: the text.
        tokenizer_dir: folder with tokenizer.json and config.json.
        context_length: tokens that the model can attend to, prompt and answer together.
        rule: how answers are judged; None is the one for the kind of task.
        truncates: leave out the beginning of prompts that are too long.

    Raises:
        DataError: rows longer than the context, labels that this tokenizer cannot tell
            apart, or turns that the chat template refuses.
        ModelSourceError: no tokenizer.json, no end-of-sequence token or no chat template.
    """
    rule = rule or AnswerRule()
    if task.kind == "perplexity":
        return _tokenize_text(task, Encoder.load(tokenizer_dir), context_length, rule)
    asking = Asking.load(task, tokenizer_dir)
    labels = _label_ids(task, asking) if task.labels else ()
    texts = [row for rows in task.splits.values() for row in rows]
    longest = max(map(len, labels), default=0)
    most = [max(longest, _longest(row, asking)) for row in texts]
    skips = fitting_skips(
        list(zip(texts, most, strict=True)), asking, context_length, truncates=truncates
    )
    found = [_row(row, task, asking, labels, skip) for row, skip in zip(texts, skips, strict=True)]
    rows = _in_splits([row for row, _ in found], task)
    warnings = _warnings(
        n_joined=sum(is_joined for _, is_joined in found),
        n_cut=sum(skip > 0 for skip in skips),
        n_rows=len(texts),
    )
    return _tokenized(
        task,
        rows,
        eos_ids=asking.encoder.eos_ids,
        label_ids=labels,
        rule=rule,
        warnings=warnings,
        max_new_tokens=_max_new_tokens(rows, labels),
        around=asking.around(task),
    )


def _tokenize_text(
    task: Task, encoder: Encoder, context_length: int, rule: AnswerRule
) -> TokenizedTask:
    """Return plain text in windows: to learn each token once, to score a sample of them."""
    train = training_windows(task.train, encoder, context_length)
    scored = {
        name: evaluation_windows(task.splits[name], encoder, context_length)
        for name in SPLIT_NAMES
        if name != "train"
    }
    warnings = [
        f"{name}: {found.n_scored} of {found.n_tokens} tokens are scored, in"
        f" {len(found.rows)} {window_words(context_length)}"
        + (f"; {found.n_left_out} windows are left out, their text reads differently"
           if found.n_left_out else "")
        for name, found in scored.items()
    ]  # fmt: skip
    rows: _Rows = {"train": train.rows, **{name: found.rows for name, found in scored.items()}}
    return _tokenized(
        task,
        rows,
        eos_ids=encoder.eos_ids,
        label_ids=(),
        rule=rule,
        warnings=warnings,
        max_new_tokens=max(len(row.answer_ids) for row in rows["validation"]),
        around=("", ""),
    )


def _tokenized(
    task: Task,
    rows: _Rows,
    *,
    eos_ids: tuple[int, ...],
    label_ids: tuple[tuple[int, ...], ...],
    rule: AnswerRule,
    warnings: Sequence[str],
    max_new_tokens: int,
    around: tuple[str, str],
) -> TokenizedTask:
    train, validation, test = (
        RowSet(
            kind=task.kind,
            rows=rows[name],
            labels=task.labels,
            label_ids=label_ids,
            eos_ids=eos_ids,
            max_new_tokens=max_new_tokens,
            rule=rule,
        )
        for name in SPLIT_NAMES
    )
    return TokenizedTask(
        train=train,
        validation=validation,
        test=test,
        eos_ids=eos_ids,
        digest=_digest(task, rows, eos_ids, rule),
        warnings=tuple(warnings),
        lengths=_lengths(rows),
        around=around,
    )


def _in_splits(rows: Sequence[EvaluationRow], task: Task) -> _Rows:
    found: dict[SplitName, tuple[EvaluationRow, ...]] = {}
    start = 0
    for name, texts in task.splits.items():
        found[name] = tuple(rows[start : start + len(texts)])
        start += len(texts)
    return found


def _label_ids(task: Task, asking: Asking) -> tuple[tuple[int, ...], ...]:
    """Return the ids of every label, the same after any prompt.

    Raises:
        DataError: two labels with the same ids, or one the beginning of another.
    """
    for row in task.train[:_PROBES]:
        prompt = asking.prompt(row)
        found = [asking.answer_ids(prompt, asking.answered(row, label)) for label in task.labels]
        if not any(is_joined for _, is_joined in found):
            label_ids = tuple(ids for ids, _ in found)
            break
    else:
        label_ids = tuple(asking.own_ids(task.train[0], label) for label in task.labels)
    decision_plan(label_ids)
    return label_ids


def _longest(row: TextRow, asking: Asking) -> int:
    """Return the tokens of the longest answer that may follow a row's prompt, end included."""
    texts = row.options or (row.answer,)
    return max(len(asking.own_ids(row, text)) for text in texts)


def _row(
    text: TextRow,
    task: Task,
    asking: Asking,
    label_ids: Sequence[tuple[int, ...]],
    skip: int,
) -> tuple[EvaluationRow, bool]:
    """Return the row and whether its prompt and some answer would join tokens."""
    prompt = asking.prompt(text, skip=skip)
    prompt_ids = asking.encoder.encode(prompt)
    if not prompt_ids:
        raise DataError(f"Every prompt has tokens, {text.prompt!r} has none; remove that row.")
    answer_ids, is_joined = asking.answer_ids(prompt, asking.answered(text, text.answer))
    reference: int | str = text.answer
    options = [asking.option_ids(prompt, asking.answered(text, one)) for one in text.options]
    if label_ids:
        reference = task.labels.index(text.answer)
        is_joined = is_joined or answer_ids != label_ids[reference]
        answer_ids = label_ids[reference]
    elif options:
        reference = text.options.index(text.answer)
        is_joined = any(joins for _, joins in options)
        _check_options(text, [ids for ids, _ in options])
    row = EvaluationRow(
        prompt=prompt,
        prompt_ids=prompt_ids,
        reference=reference,
        answer_ids=answer_ids,
        options=text.options,
        option_ids=tuple(ids for ids, _ in options),
    )
    return row, is_joined


def _check_options(text: TextRow, option_ids: Sequence[tuple[int, ...]]) -> None:
    if not all(option_ids) or len(set(option_ids)) < len(option_ids):
        raise DataError(
            f"Options differ in their tokens and have some; those of {text.prompt[:60]!r}"
            f" ({text.place}) do not, they are {', '.join(map(repr, text.options))}. Correct or"
            " remove that row."
        )


def _max_new_tokens(rows: _Rows, label_ids: Sequence[tuple[int, ...]]) -> int:
    """Return the longest label, or a quarter more than the longest answer, in tokens.

    The quarter lets an answer that runs on be told from one that was cut off.
    """
    if label_ids:
        return max(map(len, label_ids))
    longest = max(len(row.answer_ids) for found in rows.values() for row in found)
    return longest + -(-longest // 4)


def _digest(task: Task, rows: _Rows, eos_ids: tuple[int, ...], rule: AnswerRule) -> str:
    ids = {
        name: [[row.prompt_ids, row.answer_ids, *row.option_ids] for row in found]
        for name, found in rows.items()
    }
    content: dict[str, object] = {"task": task.digest, "ids": ids, "eos_ids": eos_ids}
    if rule not in (AnswerRule(), AnswerRule(metric="exact")):
        content["rule"] = to_plain(rule)
    return digest(content)


def _lengths(rows: _Rows) -> str:
    """Return ``prompts of 9 to 41 tokens, median 17; answers of 2 to 3, median 2``."""
    every = [row for found in rows.values() for row in found]
    parts = [
        f"{name} of {min(found)} to {max(found)}{unit}, median {median_low(found)}"
        for name, unit, found in (
            ("prompts", " tokens", [len(row.prompt_ids) for row in every]),
            ("answers", "", [len(row.answer_ids) for row in every]),
        )
    ]
    return "; ".join(parts)


def _warnings(*, n_joined: int, n_cut: int, n_rows: int) -> tuple[str, ...]:
    found = []
    if n_joined:
        found.append(
            f"in {n_joined} of {n_rows} rows the tokenizer would join the end of the prompt with"
            " the answer; the answer's own tokens are used, a line break or a space before the"
            " last field avoids this"
        )
    if n_cut:
        found.append(f"the beginning of {n_cut} of {n_rows} prompts is left out (--truncate)")
    return tuple(found)
