"""Marks that end a turn in one family's chat format, and are plain text to any other model.

A template written for Phi-3 ends in ``<|end|>``. With another model in its place the mark is
no token but six letters at the end of every label, which is then trained on and scored.
"""

from __future__ import annotations

import json
from pathlib import Path

from .places import looked_up

__all__ = ["foreign_marks", "without_marks"]

# From the chat templates of the families' own instruction models, and words of their names.
_FAMILIES = {
    "<|end|>": ("phi", "gpt-oss"),
    "<|im_end|>": ("qwen", "smollm", "hermes", "yi-"),
    "<|eot_id|>": ("llama",),
    "<end_of_turn>": ("gemma",),
}


def foreign_marks(text: str, model: str) -> tuple[str, ...]:
    """Return the marks in ``text`` that are no tokens of ``model``.

    A folder's own tokenizer decides; of a name that is not here yet, the words in it.

    >>> foreign_marks("{phrase}<|end|>", "HuggingFaceTB/SmolLM2-135M-Instruct")
    ('<|end|>',)
    >>> foreign_marks("{phrase}<|end|>", "microsoft/Phi-3-mini-4k-instruct")
    ()
    """
    found = [mark for mark in _FAMILIES if mark in text]
    if not found:
        return ()
    folder = looked_up(model, Path())
    tokenizer = folder / "tokenizer.json" if folder else None
    if tokenizer is not None and tokenizer.is_file():
        known = tokenizer.read_text(encoding="utf-8", errors="replace")
        return tuple(mark for mark in found if json.dumps(mark) not in known)
    name = model.lower()
    return tuple(mark for mark in found if not any(word in name for word in _FAMILIES[mark]))


def without_marks(text: str, marks: tuple[str, ...]) -> str:
    r"""Return ``text`` without ``marks``, and without the white space that the last one leaves.

    >>> without_marks("### {a}<|end|>\n{b}\n<|end|>", ("<|end|>",))
    '### {a}\n{b}'
    """
    for mark in marks:
        text = text.replace(mark, "")
    return text.rstrip() if marks else text
