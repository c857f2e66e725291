"""The kinds of task: what a model is asked for, and so how it is judged and timed."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["KINDS", "Kind", "is_decision", "quality_of"]

# classification: one of the task's labels, by likelihood.
# generation: free text, made greedily and compared with the reference.
# choice: one of the options that the row itself brings, by likelihood.
# perplexity: nothing but text; how well each next token is foreseen.
Kind = Literal["classification", "generation", "choice", "perplexity"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def is_decision(kind: Kind) -> bool:
    """Whether an answer is one of given texts, so that no token is generated for it."""
    return kind in ("classification", "choice")


def quality_of(kind: Kind) -> str:
    """Return the metric that a search makes better: the accuracy, or of plain text the perplexity.

    How often the next token of a text is the likeliest one is an accuracy too, but not
    what anybody tunes for: it does not tell a near miss from a far one.
    """
    return "perplexity" if kind == "perplexity" else "accuracy"
