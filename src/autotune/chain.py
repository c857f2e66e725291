"""A chain of steps that a configuration fixes: train as given, merge, build as given.

What a search varies is given here as one value each. A step may be left out; what only
the model and the data can tell (how its layers are called, how many rows there are) is
resolved when the run is prepared.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from autotune.candidate import AdapterConfig, Algorithm, Head, Precision
from autotune.errors import UsageError

__all__ = ["BuildChoice", "Chain", "Corpus", "FixedTraining", "Strategy"]

_LEAST_TOKENS = 2


class Strategy(StrEnum):
    """How the rows of a text corpus become training sequences."""

    JOIN = "join"
    LINE_BY_LINE = "line-by-line"


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Train on whole texts, with the loss on every token, in place of on answers.

    Attributes:
        strategy: ``join`` puts the rows one after the other and cuts the whole into
            sequences; ``line-by-line`` makes a sequence of each row.
        max_tokens: length of a sequence at most, at least 2.
    """

    strategy: Strategy
    max_tokens: int

    def __post_init__(self) -> None:
        if self.max_tokens < _LEAST_TOKENS:
            raise UsageError(
                f"A training sequence has at least {_LEAST_TOKENS} tokens, got {self.max_tokens!r}."
            )


@dataclass(frozen=True, kw_only=True)
class FixedTraining:
    """One way of training.

    Attributes:
        adapter: the hyper-parameters.
        modules: linear layers that get an adapter, in the names of any architecture; empty
            leaves it to the adapter's ``target_modules``.
    """

    adapter: AdapterConfig
    modules: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BuildChoice:
    """One way of building, on whichever provider the target has; None is its default.

    Attributes:
        precision: data type of the weights.
        block_size, algorithm, accuracy_level, head: as a recipe's, quantised precisions only.
        symmetric: as a recipe's.
        cuda_graph: as a recipe's.
    """

    precision: Precision
    block_size: int | None = None
    algorithm: Algorithm | None = None
    accuracy_level: int | None = None
    head: Head | None = None
    symmetric: bool = True
    cuda_graph: bool = False


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The steps, in the order finetune, merge, build.

    Attributes:
        training: None trains nothing.
        merges: the adapter is folded into its base.
        build: None builds nothing.
        is_opened: the fixed values are where a search begins, not all that it may try.
    """

    training: FixedTraining | None = None
    merges: bool = False
    build: BuildChoice | None = None
    is_opened: bool = False

    def __post_init__(self) -> None:
        if self.training is None and self.build is None:
            raise UsageError("A chain trains or builds, this one does neither; add one of the two.")
        if self.merges and self.training is None:
            raise UsageError("An adapter is merged after its training; add the training.")
        if self.training and self.build and not self.merges:
            raise UsageError(
                "What is built is one model: merge the adapter before the build"
                " (in Olive's words, add a pass of the type MergeAdapterWeights)."
            )

    @property
    def is_whole(self) -> bool:
        """Whether every step is there, so that its result can be scored and timed."""
        return self.training is not None and self.build is not None
