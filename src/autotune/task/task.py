"""A task: data read, cleaned, recognised and split, as text.

``load_task`` is the only door. Token ids come later (``tokenize_task``), because a
task is the same for every model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from autotune.errors import DataError
from autotune.plain import digest

from .conversations import CHAT_TEMPLATE, read_conversations
from .data import load_table
from .documents import DOCUMENT_TEMPLATE, consecutive_splits, read_documents
from .findings import about_conflicts, about_labels, about_near_rows
from .labels import LEAST_ROWS_PER_LABEL, check_labels, decide_kind
from .rows import Kind, TextRow
from .split import DEFAULT_SHARES, UniqueRows, check_leaks, mixed, split_rows, unique_rows
from .summary import TaskSummary
from .table import SPLIT_NAMES, SplitName
from .template import Template
from .texts import TableTexts, read_texts

__all__ = ["Task", "load_task"]

_Splits = Mapping[SplitName, Sequence[TextRow]]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a model has to learn, and how it is judged.

    Attributes:
        template: makes prompts and answers from fields.
        kind: what is asked for.
        labels: distinct answers in the order of their text; empty but for classification.
        train, validation, test: rows; no prompt is in two of them. Their order mixes
            the answers, so the beginning of a split is a fair sample of it; plain text
            stays in its own order.
        summary: what was found while reading.
        digest: SHA-256 of template, kind and splits.
        is_chat: the model is asked in the words of its chat template.
    """

    template: Template
    kind: Kind
    labels: tuple[str, ...]
    train: tuple[TextRow, ...]
    validation: tuple[TextRow, ...]
    test: tuple[TextRow, ...]
    summary: TaskSummary
    digest: str
    is_chat: bool = False

    @property
    def splits(self) -> dict[SplitName, tuple[TextRow, ...]]:
        """Rows by split, in the order train, validation, test."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


@dataclass(frozen=True, kw_only=True)
class _Sources:
    """Everything read, before it is cleaned: rows by the split they were named for."""

    names: tuple[str, ...]
    texts: tuple[TableTexts, ...]
    given: dict[SplitName, list[TextRow]]

    @property
    def own_splits(self) -> tuple[SplitName, ...]:
        """Splits that stay as named; train does not where others are drawn from it."""
        is_complete = len(self.given) == len(SPLIT_NAMES)
        return tuple(n for n in SPLIT_NAMES if n in self.given and (is_complete or n != "train"))


@dataclass(frozen=True, kw_only=True)
class _Form:
    """How rows are read: template, reader of one source, and what is asked for."""

    template: Template
    read: Callable[[str], TableTexts]
    kind: Kind | None
    is_chat: bool


def load_task(
    data: str,
    *,
    template: Template | None,
    validation_data: str | None = None,
    test_data: str | None = None,
    kind: Kind | None = None,
    options: Sequence[str] = (),
    is_chat: bool = False,
    seed: int = 0,
    shares: Mapping[SplitName, float] = DEFAULT_SHARES,
) -> Task:
    """Return the task that ``data`` and ``template`` describe.

    Splits named by the user (files, a column ``split``, splits of a hub data set) are
    kept; the others are drawn from the rest by ``shares``, stratified by label. Plain text
    is cut in order instead.

    Args:
        data: path or hub data set id.
        template: its last field is the answer; None for conversations and, without
            anything around its pieces, for plain text.
        validation_data: path or id of the validation split.
        test_data: path or id of the test split.
        kind: overrides the recognition of classification; perplexity reads plain text.
        options: columns of the options of a multiple choice.
        is_chat: ask in the words of the model's chat template; without ``template`` the
            rows are conversations.
        seed: of the split.
        shares: relative sizes of the splits, of prompts that differ.

    Raises:
        DataError: unreadable or unusable data, with the rule and the way out.
    """
    form = _form(template, kind=kind, options=options, is_chat=is_chat)
    sources = _read(data, form.read, {"validation": validation_data, "test": test_data})
    if form.kind == "perplexity":
        return _text_task(form, sources, seed=seed)
    check_leaks(sources.given)
    unique = {name: unique_rows(rows) for name, rows in sources.given.items()}
    rows = [row for found in unique.values() for row in found.rows]
    _check_enough(rows)
    raw = [row.answer for found in sources.given.values() for row in found]
    decision = decide_kind((row.answer for row in rows), asked=form.kind)
    is_classification = decision.kind == "classification"
    if is_classification:
        check_labels(raw, Counter(row.answer for row in rows))
    splits = _complete(unique, seed=seed, shares=shares, stratify=is_classification)
    labels = tuple(sorted({row.answer for row in rows})) if is_classification else ()
    _check_splits(splits, labels)
    warnings = (
        *(warning for texts in sources.texts for warning in texts.warnings),
        *about_conflicts(unique.values()),
        *([decision.warning] if decision.warning else []),
        *about_near_rows(splits),
        *(about_labels(splits, labels) if labels else []),
    )
    return Task(
        template=form.template,
        kind=decision.kind,
        labels=labels,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        summary=_summary(
            sources, unique, decision.kind, splits, labels=labels, seed=seed, warnings=warnings
        ),
        digest=_digest(form, decision.kind, splits),
        is_chat=is_chat,
    )


def _form(
    template: Template | None, *, kind: Kind | None, options: Sequence[str], is_chat: bool
) -> _Form:
    """Return how rows are read.

    Raises:
        DataError: multiple choice without options, or no template where one is needed.
    """
    if options and kind not in (None, "choice"):
        raise DataError(f"Options make a multiple choice, the task is {kind!r}; leave one out.")
    if kind == "choice" and not options:
        raise DataError("A multiple choice has options; name their columns with --options.")
    kind = "choice" if options else kind
    if kind == "perplexity":
        plain = template or Template.parse(DOCUMENT_TEMPLATE, is_plain_text=True)
        return _Form(
            template=plain,
            read=lambda source: read_documents(source, plain),
            kind=kind,
            is_chat=False,
        )
    if template is None:
        if not is_chat or options:
            raise DataError("A task has a template, unless its rows are conversations; give one.")
        return _Form(
            template=CHAT_TEMPLATE,
            read=lambda source: read_conversations(load_table(source)),
            kind=kind,
            is_chat=True,
        )
    return _Form(
        template=template,
        read=lambda source: read_texts(load_table(source), template, options),
        kind=kind,
        is_chat=is_chat,
    )


def _text_task(form: _Form, sources: _Sources, *, seed: int) -> Task:
    """Return the task of plain text: nothing is removed, mixed or recognised."""
    splits = consecutive_splits(sources.given)
    unique: dict[SplitName, UniqueRows] = {}
    as_prompts = {
        name: [replace(row, prompt=row.answer) for row in rows if row.answer.strip()]
        for name, rows in splits.items()
    }
    warnings = [warning for texts in sources.texts for warning in texts.warnings]
    return Task(
        template=form.template,
        kind="perplexity",
        labels=(),
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        summary=_summary(
            sources,
            unique,
            "perplexity",
            splits,
            labels=(),
            seed=seed,
            warnings=(*warnings, *about_near_rows(as_prompts)),
        ),
        digest=_digest(form, "perplexity", splits),
    )


def _read(
    data: str, read: Callable[[str], TableTexts], files: Mapping[SplitName, str | None]
) -> _Sources:
    main = read(data)
    given: dict[SplitName, list[TextRow]] = {"train": []}
    for named in main.rows:
        given.setdefault(named.split or "train", []).append(named.row)
    names, texts = [data], [main]
    for split, source in files.items():
        if source is None:
            continue
        if split in given:
            raise DataError(
                f"A split comes from one place; {data!r} names {split} rows and --{split}-data is"
                f" {source!r}. Leave one of them out."
            )
        found = read(source)
        given[split] = [named.row for named in found.rows]
        names.append(source)
        texts.append(found)
    if not given["train"]:
        raise DataError(f"A task needs rows to train on, {data!r} names none 'train'; add some.")
    return _Sources(
        names=tuple(names),
        texts=tuple(texts),
        given=given,
    )


def _check_enough(rows: Sequence[TextRow]) -> None:
    if len(rows) < LEAST_ROWS_PER_LABEL:
        raise DataError(
            f"A task needs at least {LEAST_ROWS_PER_LABEL} rows with distinct prompts and one"
            f" answer each, got {len(rows)}; add rows."
        )


def _complete(
    unique: Mapping[SplitName, UniqueRows],
    *,
    seed: int,
    shares: Mapping[SplitName, float],
    stratify: bool,
) -> dict[SplitName, tuple[TextRow, ...]]:
    """Return all three splits; those that nobody named are drawn from train."""
    open_shares = {
        name: share for name, share in shares.items() if name == "train" or name not in unique
    }
    drawn = split_rows(unique["train"].rows, seed=seed, shares=open_shares, stratify=stratify)
    return {
        name: drawn[name] if name in drawn else mixed(unique[name].rows) for name in SPLIT_NAMES
    }


def _check_splits(splits: _Splits, labels: tuple[str, ...]) -> None:
    """Refuse empty splits and labels that cannot be learned."""
    for name, rows in splits.items():
        if not rows:
            raise DataError(f"Every split has rows, {name} has none left; add rows to it.")
    in_train = {row.answer for row in splits["train"]}
    for label in labels:
        if label not in in_train:
            raise DataError(
                f"A label is learned from train, {label!r} is in other splits only; add rows with"
                " it to train or remove it."
            )


def _summary(
    sources: _Sources,
    unique: Mapping[SplitName, UniqueRows],
    kind: Kind,
    splits: _Splits,
    *,
    labels: tuple[str, ...],
    seed: int,
    warnings: tuple[str, ...],
) -> TaskSummary:
    counts = {name: Counter(row.answer for row in rows) for name, rows in splits.items()}
    empty = sum(texts.empty for texts in sources.texts)
    return TaskSummary(
        sources=sources.names,
        kind=kind,
        seed=seed,
        rows_read=empty + sum(len(texts.rows) for texts in sources.texts),
        empty_rows=empty,
        repeats_removed=sum(part.repeats for part in unique.values()),
        conflicting_prompts=sum(part.conflicting_prompts for part in unique.values()),
        conflicting_rows=sum(part.conflicting_rows for part in unique.values()),
        split_sizes={name: len(rows) for name, rows in splits.items()},
        own_splits=sources.own_splits,
        label_counts={label: {name: counts[name][label] for name in splits} for label in labels},
        warnings=warnings,
    )


def _digest(form: _Form, kind: Kind, splits: _Splits) -> str:
    content: dict[str, object] = {
        "template": form.template.text,
        "kind": kind,
        "splits": {name: [_content(row) for row in rows] for name, rows in splits.items()},
    }
    if form.is_chat:
        content["chat"] = True
    return digest(content)


def _content(row: TextRow) -> list[object]:
    # Only what a row has: the digest of a task is older than options and conversations.
    turns = [[turn.role, turn.content] for turn in row.messages]
    return [row.prompt, row.answer, *([row.options] if row.options else []), *turns]
