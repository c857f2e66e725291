"""The requests that ``measure`` times: the user's prompts, or stated lengths of random words."""

from __future__ import annotations

import json
import re
import shutil
import string
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.errors import ModelSourceError, UsageError
from autotune.evaluators import EvaluationRow, RowSet, Workload, make_workload
from autotune.measured_folder import ModelFolder
from autotune.task import CHAT_TEMPLATE, Encoder, Template, load_task, tokenize_task

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = ["Lengths", "requests_of_lengths", "requests_on_data"]

_ATTEMPTS = 20
# Distinct prompts; as many as a workload has requests.
_PROMPTS = 64
# Pieces that begin a word, in the spellings of byte-level BPE and of SentencePiece. Plain
# letters only: tokenizers disagree on rare characters, and a disagreement is refused.
_WORD_PIECE = re.compile(r"[Ġ▁]([A-Za-z]{2,12})")
_LEAST_WORDS = 64


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Tokens of every request: ``prompt`` with what the tokenizer adds, ``new`` generated."""

    prompt: int = 128
    new: int = 64

    def __post_init__(self) -> None:
        for flag, value in (("--prompt-tokens", self.prompt), ("--new-tokens", self.new)):
            if value < 1:
                raise UsageError(f"{flag} is at least 1, got {value!r}.")


def requests_on_data(
    folder: ModelFolder,
    *,
    data: str,
    template: str | None,
    seed: int,
    validation_data: str | None = None,
    test_data: str | None = None,
) -> Workload:
    """Return requests from the validation split of ``data``, drawn as a run draws them.

    With the data, template and seed of the run that made the folder, these are the
    run's own requests. Its shipped decision rule is timed; a folder of other origin
    gets the rule that the data says.

    Raises:
        DataError: unusable data or template.
        UsageError: no template, and none in the folder.
        ModelSourceError: no usable tokenizer.
    """
    shipped = folder.description.task if folder.description else None
    is_text = shipped is not None and shipped.kind == "perplexity"
    parsed: Template | None
    if template is not None:
        parsed = Template.parse(template, is_plain_text=is_text)
    elif shipped is not None and shipped.is_chat and shipped.template == CHAT_TEMPLATE.text:
        parsed = None  # its rows are conversations
    elif shipped is not None:
        parsed = Template.parse(shipped.template, escapes=False, is_plain_text=is_text)
    else:
        raise UsageError(
            f"--data {data!r} needs --template, since {str(folder.path)!r} brings none of its own."
        )
    task = load_task(
        data,
        template=parsed,
        validation_data=validation_data,
        test_data=test_data,
        kind=shipped.kind if shipped else None,
        options=shipped.options if shipped else (),
        is_chat=shipped is not None and shipped.is_chat,
        seed=seed,
    )
    with _tokenizer_folder(folder) as place:
        # A run that cut no prompt has none to cut; one that did is timed as it was.
        tokens = tokenize_task(task, place, folder.context_length, truncates=shipped is not None)
    rows = tokens.validation
    if shipped is not None and shipped.kind == "classification":
        rows = replace(rows, labels=shipped.labels, label_ids=shipped.label_ids)
    return make_workload(rows, seed=seed)


def requests_of_lengths(folder: ModelFolder, lengths: Lengths, *, seed: int) -> Workload:
    """Return generation requests of exactly these lengths: random words of the vocabulary.

    Raises:
        UsageError: longer than the model's context.
        ModelSourceError: no usable tokenizer, or one that gives no such length.
    """
    import numpy as np  # noqa: PLC0415 - startup time

    if lengths.prompt + lengths.new > folder.context_length:
        raise UsageError(
            f"Prompt and answer fit into the model's context of {folder.context_length} tokens,"
            f" asked for {lengths.prompt} + {lengths.new}; lower --prompt-tokens or --new-tokens."
        )
    with _tokenizer_folder(folder) as place:
        encoder = Encoder.load(place)
    words = _words(encoder)
    rows = tuple(
        _row(encoder, words, lengths, np.random.default_rng((seed, number)))
        for number in range(_PROMPTS)
    )
    selected = RowSet(
        kind="generation", rows=rows, eos_ids=encoder.eos_ids, max_new_tokens=lengths.new
    )
    return make_workload(selected, seed=seed)


@contextmanager
def _tokenizer_folder(folder: ModelFolder) -> Iterator[Path]:
    """Yield a folder as the tokenisation reads it.

    A built model keeps its end-of-sequence tokens in genai_config.json, not config.json.
    """
    with tempfile.TemporaryDirectory(prefix="autotune-tokenizer-") as temporary:
        place = Path(temporary) / folder.path.resolve().name
        place.mkdir()
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            if (folder.path / name).is_file():
                shutil.copyfile(folder.path / name, place / name)
        config = json.dumps({"eos_token_id": list(folder.eos_ids)})
        (place / "config.json").write_text(config, encoding="utf-8")
        yield place


def _words(encoder: Encoder) -> list[str]:
    """Return words that are one token each, or single letters where there are too few."""
    pieces = sorted(encoder.tokenizer.get_vocab())
    words = [match[1] for match in map(_WORD_PIECE.fullmatch, pieces) if match]
    return words if len(words) >= _LEAST_WORDS else list(string.ascii_lowercase)


def _row(encoder: Encoder, words: list[str], lengths: Lengths, rng: Generator) -> EvaluationRow:
    """Return a request whose prompt has exactly the asked number of tokens."""
    for _ in range(_ATTEMPTS):
        text = " ".join(rng.choice(words, size=lengths.prompt))
        ends = [end for _, end in encoder.tokenizer.encode(text).offsets[: lengths.prompt]]
        # The text ends where its last wanted token ends; cut words may tokenise anew.
        prompt = text[: max(ends)]
        ids = encoder.encode(prompt)
        if len(ids) == lengths.prompt:
            # Only the number of answer tokens is used: end-of-sequence is ignored.
            answer = encoder.eos_ids[:1] * lengths.new
            return EvaluationRow(prompt=prompt, prompt_ids=ids, reference="", answer_ids=answer)
    raise ModelSourceError(
        f"No text of exactly {lengths.prompt} tokens was found for this tokenizer in {_ATTEMPTS}"
        " tries; choose another --prompt-tokens, or give your own prompts with --data."
    )
