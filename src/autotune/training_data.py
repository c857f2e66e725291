"""The rows of a run as a training sees them: shares, sequences, and their artifact."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from autotune.config import RunConfig
from autotune.passes import Artifact, ArtifactStore, Origin
from autotune.plain import digest
from autotune.task import (
    DEFAULT_SHARES,
    SplitName,
    TokenizedTask,
    TrainingExample,
    corpus_examples,
)

__all__ = ["PROBE_ROWS", "data_artifact", "split_shares", "training_examples"]

# Rows of the validation split whose likelihood ranks trainings at their rungs; the
# standard error of a mean NLL over 200 rows is well below differences that matter.
PROBE_ROWS = 200


def split_shares(config: RunConfig) -> Mapping[SplitName, float]:
    """Return the share of every split, of the prompts that differ."""
    if config.held_out is None:
        return DEFAULT_SHARES
    half = config.held_out / 2
    return {"train": 1 - config.held_out, "validation": half, "test": half}


def training_examples(
    config: RunConfig, tokens: TokenizedTask, context_length: int
) -> tuple[TrainingExample, ...]:
    """Return what is trained on: a row each, or the sequences of a corpus.

    Raises:
        UsageError: sequences longer than the context.
    """
    if config.corpus is None:
        return tokens.examples
    return corpus_examples(tokens.examples, config.corpus, context_length)


def data_artifact(
    tokens: TokenizedTask, examples: Sequence[TrainingExample], store: ArtifactStore
) -> Artifact:
    """Return the training examples and the probe rows as an artifact."""
    probe = [
        {"ids": row.prompt_ids + row.answer_ids, "answer_start": len(row.prompt_ids)}
        for row in tokens.validation.rows[:PROBE_ROWS]
    ]
    content = {"examples": [asdict(example) for example in examples], "probe": probe}
    text = json.dumps(content)
    key = digest({"data": digest(json.loads(text))})
    with store.lock(key):
        kept = store.get_verified(key, "data")
        if kept is not None:
            return kept
        with store.workdir(key) as workdir:
            (workdir / "train.json").write_text(text, encoding="utf-8")
            origin = Origin(key=key, name="data", parameters={}, inputs={}, versions={})
            return store.commit(workdir, origin, facts={"task": tokens.digest}, seconds=0.0)
