"""A task: data read, cleaned, recognised and split, as text.

``load_task`` is the only door. Token ids come later (``tokenize_task``), because a
task is the same for every model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune.errors import DataError
from autotune.plain import digest

from .data import load_table
from .labels import LEAST_ROWS_PER_LABEL, KindDecision, check_labels, decide_kind
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
        kind: classification or generation.
        labels: distinct answers in the order of their text; empty for generation.
        train, validation, test: rows; no prompt is in two of them. Their order mixes
            the answers, so the beginning of a split is a fair sample of it.
        summary: what was found while reading.
        digest: SHA-256 of template, kind and splits.
    """

    template: Template
    kind: Kind
    labels: tuple[str, ...]
    train: tuple[TextRow, ...]
    validation: tuple[TextRow, ...]
    test: tuple[TextRow, ...]
    summary: TaskSummary
    digest: str

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


def load_task(
    data: str,
    *,
    template: Template,
    validation_data: str | None = None,
    test_data: str | None = None,
    kind: Kind | None = None,
    seed: int = 0,
    shares: Mapping[SplitName, float] = DEFAULT_SHARES,
) -> Task:
    """Return the task that ``data`` and ``template`` describe.

    Splits named by the user (files, a column ``split``, splits of a hub data set) are
    kept; the others are drawn from the rest by ``shares``, stratified by label.

    Args:
        data: path or hub data set id.
        template: its last field is the answer.
        validation_data: path or id of the validation split.
        test_data: path or id of the test split.
        kind: overrides the recognition of classification.
        seed: of the split.
        shares: relative sizes of the splits, of prompts that differ.

    Raises:
        DataError: unreadable or unusable data, with the rule and the way out.
    """
    sources = _read(data, template, {"validation": validation_data, "test": test_data})
    check_leaks(sources.given)
    unique = {name: unique_rows(rows) for name, rows in sources.given.items()}
    rows = [row for found in unique.values() for row in found.rows]
    _check_enough(rows)
    raw = [row.answer for found in sources.given.values() for row in found]
    decision = decide_kind((row.answer for row in rows), asked=kind)
    is_classification = decision.kind == "classification"
    if is_classification:
        check_labels(raw, Counter(row.answer for row in rows))
    splits = _complete(unique, seed=seed, shares=shares, stratify=is_classification)
    labels = tuple(sorted({row.answer for row in rows})) if is_classification else ()
    warnings = (*_warnings(sources, unique, decision), *_check_splits(splits, labels))
    return Task(
        template=template,
        kind=decision.kind,
        labels=labels,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        summary=_summary(
            sources, unique, decision.kind, splits, labels=labels, seed=seed, warnings=warnings
        ),
        digest=_digest(template, decision.kind, splits),
    )


def _read(data: str, template: Template, files: Mapping[SplitName, str | None]) -> _Sources:
    main = read_texts(load_table(data), template)
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
        found = read_texts(load_table(source), template)
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


def _check_splits(splits: _Splits, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse empty splits and labels that cannot be learned; return warnings."""
    for name, rows in splits.items():
        if not rows:
            raise DataError(f"Every split has rows, {name} has none left; add rows to it.")
    in_train = {row.answer for row in splits["train"]}
    warnings = []
    for label in labels:
        if label not in in_train:
            raise DataError(
                f"A label is learned from train, {label!r} is in other splits only; add rows with"
                " it to train or remove it."
            )
        missing = [
            name for name, rows in splits.items() if all(row.answer != label for row in rows)
        ]
        warnings += [f"no row of {name} has the label {label!r}" for name in missing]
    return tuple(warnings)


def _warnings(
    sources: _Sources, unique: Mapping[SplitName, UniqueRows], decision: KindDecision
) -> tuple[str, ...]:
    found = [warning for texts in sources.texts for warning in texts.warnings]
    prompts = sum(part.conflicting_prompts for part in unique.values())
    if prompts:
        rows = sum(part.conflicting_rows for part in unique.values())
        prompt, first, second = next(part.example for part in unique.values() if part.example)
        found.append(
            f"{prompts} prompts have more than one answer, their {rows} rows are left out; the"
            f" first is {prompt!r}: {first!r} and {second!r}"
        )
    return (*found, decision.warning) if decision.warning else tuple(found)


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


def _digest(template: Template, kind: Kind, splits: _Splits) -> str:
    return digest(
        {
            "template": template.text,
            "kind": kind,
            "splits": {
                name: [[row.prompt, row.answer] for row in rows] for name, rows in splits.items()
            },
        }
    )
