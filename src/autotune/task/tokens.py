"""The one authority on token ids: the ``tokenizer.json`` of the model folder.

Training, evaluation and timing all take their ids from here, so the sequence a model
is trained on is the one it is deployed with: prompt ids followed by answer ids.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from autotune.errors import ModelSourceError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Encoder"]

_EOS_FILES = ("generation_config.json", "config.json")


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Text to token ids for one model; make it with ``Encoder.load``.

    Attributes:
        tokenizer: without truncation and padding.
        eos_ids: tokens that end a generation, at least one; the first ends every answer.
    """

    tokenizer: Tokenizer
    eos_ids: tuple[int, ...]

    @classmethod
    def load(cls, model_dir: Path) -> Self:
        """Return the encoder of the model in ``model_dir``.

        Raises:
            ModelSourceError: no readable tokenizer.json, or no end-of-sequence token in
                generation_config.json and config.json.
        """
        from tokenizers import Tokenizer  # noqa: PLC0415 - costs 20 ms of every start

        path = model_dir / "tokenizer.json"
        if "model" not in _read_json(path):
            raise ModelSourceError(
                f"A model folder has a tokenizer.json, {model_dir.name!r} has none or an empty one;"
                " save its tokenizer as a fast tokenizer with transformers."
            )
        tokenizer = Tokenizer.from_file(str(path))
        # Either would change ids silently; the runtime applies neither.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(tokenizer=tokenizer, eos_ids=_eos_ids(model_dir))

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of a prompt with what the tokenizer adds around it (BOS)."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=True).ids)

    def encode_alone(self, text: str) -> tuple[int, ...]:
        """Return the ids of ``text`` with nothing added."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def continuation(self, prompt: str, answer: str) -> tuple[int, ...] | None:
        """Return the ids that ``answer`` adds to those of ``prompt``.

        None if the two do not tokenise apart, that is if the prompt's ids are no
        prefix of the ids of the joint text.
        """
        before, joint = self.encode(prompt), self.encode(prompt + answer)
        return joint[len(before) :] if joint[: len(before)] == before else None

    def ended(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Return ``ids`` with end-of-sequence at the end, added where it is not there."""
        return ids if ids and ids[-1] in self.eos_ids else (*ids, self.eos_ids[0])


def _eos_ids(model_dir: Path) -> tuple[int, ...]:
    for name in _EOS_FILES:
        found = _read_json(model_dir / name).get("eos_token_id")
        ids = found if isinstance(found, list) else [found]
        if ids and all(type(number) is int for number in ids):
            return tuple(dict.fromkeys(ids))
    raise ModelSourceError(
        f"A model names its end-of-sequence token, {model_dir.name!r} has no 'eos_token_id' in"
        f" {' or '.join(_EOS_FILES)}; add it to config.json."
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelSourceError(
            f"{path.name} of the model {path.parent.name!r} cannot be read ({error});"
            " fetch the model again."
        ) from error
    return value if isinstance(value, dict) else {}
