"""Plain text in windows of tokens: what is trained on, and what its perplexity is measured on.

Evaluation slides a window of 256 tokens by 64: the last 64 are scored, once each, with
the tokens before them as context. More context lowers a perplexity, so numbers of other
windows do not compare (https://huggingface.co/docs/transformers/perplexity).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune.errors import DataError

from .rows import EvaluationRow, TextRow
from .tokens import Encoder

__all__ = ["Windows", "evaluation_windows", "training_windows", "window_words"]

_WINDOW, _STRIDE = 256, 64
# 2,048 scored tokens: with a pruned head each costs a forward pass. Their mean is known to
# about 0.07 nat, differences between models, which read the same tokens, far better.
_MOST_WINDOWS = 32
# Tokens by which a context may be shorter so that its text gives the same tokens again.
_MOST_SHORTER = 32


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The rows of one split, with what they are of.

    Attributes:
        rows: ``answer_ids`` are the tokens to score or learn.
        n_tokens: of the split.
        n_scored: tokens in ``answer_ids`` of all rows.
        n_left_out: windows whose context no text gives again.
    """

    rows: tuple[EvaluationRow, ...]
    n_tokens: int
    n_scored: int
    n_left_out: int = 0


def window_words(context_length: int) -> str:
    """Return how windows slide, for people."""
    window, stride = _sizes(context_length)
    return f"windows of {window} tokens, stride {stride}"


def _sizes(context_length: int) -> tuple[int, int]:
    window = min(_WINDOW, context_length)
    return window, max(1, min(_STRIDE, window // 4))


def _stream(pieces: Sequence[TextRow], encoder: Encoder) -> tuple[int, ...]:
    ids = encoder.encode_alone("".join(piece.answer for piece in pieces))
    if len(ids) < 2:  # noqa: PLR2004 - one to read, one to foresee
        raise DataError(
            f"Plain text of a split has two tokens or more, this one has {len(ids)}; add text."
        )
    return ids


def training_windows(pieces: Sequence[TextRow], encoder: Encoder, context_length: int) -> Windows:
    """Return windows that together hold every token but the first to learn once."""
    window, _ = _sizes(context_length)
    begin = encoder.encode("")
    ids = _stream(pieces, encoder)
    step = max(1, window - len(begin) - 1)
    rows = []
    for start in range(0, len(ids) - 1, step):
        prompt, answer = (*begin, ids[start]), ids[start + 1 : start + 1 + step]
        rows.append(EvaluationRow(prompt="", prompt_ids=prompt, reference="", answer_ids=answer))
    return Windows(rows=tuple(rows), n_tokens=len(ids), n_scored=len(ids) - 1)


def evaluation_windows(pieces: Sequence[TextRow], encoder: Encoder, context_length: int) -> Windows:
    """Return the windows to score, evenly spread where there are more than 32.

    The first token of the text, which nothing foretells, is not scored.
    """
    window, stride = _sizes(context_length)
    begin = encoder.encode("")
    ids = _stream(pieces, encoder)
    starts = range(1, len(ids), stride)
    chosen = [starts[i * len(starts) // _MOST_WINDOWS] for i in range(_MOST_WINDOWS)]
    rows, n_left_out = [], 0
    for start in dict.fromkeys(chosen):
        most = max(1, window - stride - len(begin))
        prompt = _context(ids, max(0, start - most), start, encoder, begin)
        if prompt is None:
            n_left_out += 1
            continue
        rows.append(
            EvaluationRow(
                prompt=prompt,
                prompt_ids=encoder.encode(prompt),
                reference="",
                answer_ids=ids[start : start + stride],
            )
        )
    if not rows:
        raise DataError(
            "The context of a window is text that gives the same tokens again; this tokenizer does"
            " so for none. Use another model, or another kind of task."
        )
    scored = sum(len(row.answer_ids) for row in rows)
    return Windows(rows=tuple(rows), n_tokens=len(ids), n_scored=scored, n_left_out=n_left_out)


def _context(
    ids: Sequence[int], first: int, end: int, encoder: Encoder, begin: tuple[int, ...]
) -> str | None:
    """Return the text of ``ids[first:end]``, begun a little later where it reads differently.

    The runtime gets prompts as text: cut in the middle of a character or before a space
    that belongs to a word, they would be other tokens.
    """
    for start in range(first, min(first + _MOST_SHORTER, end)):
        text = encoder.tokenizer.decode(list(ids[start:end]), skip_special_tokens=False)
        if encoder.encode(text) == (*begin, *ids[start:end]):
            return text
    return None
