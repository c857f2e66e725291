"""The decision rule of classification as a trie of label tokens, pure arithmetic.

The score of a label is the sum of full-vocabulary log-probabilities of its tokens up
to and including the first one that no other label shares; the highest score wins,
ties go to the lower index. Evaluation, workload and ``run.py`` follow the same plan,
and every node is always visited, so the cost does not depend on the weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from autotune.errors import DataError

__all__ = ["DecisionPlan", "decision_plan"]

_LEAST_LABELS = 2


@dataclass(frozen=True, kw_only=True)
class DecisionPlan:
    """What must be run to decide between labels.

    Attributes:
        depths: for each label the number of its leading tokens that decide it, at
            least 1; its score sums the log-probabilities of just these.
        nodes: token prefixes that two or more labels share, shortest first. The first
            is ``()``, the prompt itself, read off the prefill; each of the others
            costs one more forward pass. Every ``label[:i]`` with ``i < depth`` is here.
    """

    depths: tuple[int, ...]
    nodes: tuple[tuple[int, ...], ...]


def decision_plan(label_ids: Sequence[Sequence[int]]) -> DecisionPlan:
    """Return the plan for labels given as token ids.

    Args:
        label_ids: at least two, distinct and prefix-free, end-of-sequence included.

    Raises:
        DataError: fewer than two labels, or one that is equal to or a prefix of another.
    """
    labels = [tuple(ids) for ids in label_ids]
    if len(labels) < _LEAST_LABELS:
        raise DataError(f"A decision needs two or more labels, got {len(labels)}.")
    below = Counter(ids[:length] for ids in labels for length in range(len(ids) + 1))
    depths = []
    for ids in labels:
        if below[ids] > 1:
            raise DataError(
                "Labels differ in their tokens and none is the beginning of another, got"
                f" {list(ids)} for two of {len(labels)} labels; rename one of them."
            )
        depths.append(next(k for k in range(1, len(ids) + 1) if below[ids[:k]] == 1))
    nodes = sorted((ids for ids, count in below.items() if count > 1), key=lambda n: (len(n), n))
    return DecisionPlan(depths=tuple(depths), nodes=tuple(nodes))
