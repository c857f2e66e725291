"""The pass ``import-gguf``: one GGUF file becomes a folder that transformers loads.

Weights are dequantised to bfloat16 or float32 and lose no more than that rounding;
what the GGUF's own quantisation took away stays lost. Vocabulary and special
tokens are compared with the file before anything is stored.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from autotune.errors import ModelSourceError

from .contract import Artifact
from .produce import pass_key

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["ImportGguf", "find_gguf"]

# Files whose vocabulary was learnt with every digit apart, and those with GPT-2's rule
# alone, by ``tokenizer.ggml.pre``. transformers 5.23 takes the first for the second, which
# moves tokens wherever digits follow several spaces. The rule per name is llama.cpp's:
# https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp
_DIGITS_APART = frozenset(
    {"codeshell", "command-r", "exaone", "minerva-7b", "refact", "smollm", "starcoder"}
)
_GPT2_RULE = frozenset({"default", "gpt-2", "gpt2", "jais", "mpt", "olmo", "trillion"})
_NORMAL_TOKEN = 1  # ``tokenizer.ggml.token_type`` of a token that text is made of


def find_gguf(path: Path) -> Path:
    """Return ``path`` if it is a file, or the one ``.gguf`` file in the folder.

    Raises:
        ModelSourceError: there is none, or several.
    """
    if path.is_file():
        return path
    found = sorted(path.glob("*.gguf"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise ModelSourceError(f"One .gguf file is needed, {path} has {names}; name the file.")
    return found[0]


@dataclass(frozen=True, kw_only=True)
class ImportGguf:
    """Input ``gguf`` (a file, or a folder with one) to a model folder.

    Attributes:
        dtype: of the weights written.
    """

    name: ClassVar[str] = "import-gguf"
    pool: ClassVar[str] = "train"
    timeout_s: ClassVar[float] = 1800.0
    libraries: ClassVar[tuple[str, ...]] = ("tokenizers", "torch", "transformers")

    dtype: Literal["bfloat16", "float32"] = "bfloat16"

    def key(self, inputs: Mapping[str, Artifact], versions: Mapping[str, str]) -> str:
        """Return the store key."""
        return pass_key(self, inputs, versions)

    def run(self, inputs: Mapping[str, Path], workdir: Path) -> dict[str, Any]:
        """Write config, safetensors and tokenizer; return what the file says of itself.

        Raises:
            ModelSourceError: transformers cannot read it, or the tokenizer it makes
                disagrees with the file.
        """
        file = find_gguf(inputs["gguf"])
        header = _read_header(file)
        tokenizer = _tokenizer(file, header)
        model = _model(file, dtype=self.dtype)
        if model.config.eos_token_id != header.get("tokenizer.ggml.eos_token_id"):
            raise _disagreement("end-of-sequence id", model.config.eos_token_id, file)
        tokenizer.model_max_length = model.config.max_position_embeddings
        model.save_pretrained(workdir)
        tokenizer.save_pretrained(workdir)
        _drop_load_details(workdir / "tokenizer_config.json")
        if inputs["gguf"].is_dir():  # beside a lone file lies what has nothing to do with it
            _copy_licences(inputs["gguf"], workdir)
        return _facts(header, model)


def _read_header(file: Path) -> dict[str, Any]:
    from gguf import GGUFReader  # noqa: PLC0415 - heavy

    try:
        reader = GGUFReader(file)
    except (ValueError, OSError, IndexError, KeyError) as error:
        raise ModelSourceError(
            f"{file} cannot be read as GGUF ({error}); fetch it again."
        ) from error
    header = {name: field.contents() for name, field in reader.fields.items()}
    header["tensor_types"] = sorted({tensor.tensor_type.name for tensor in reader.tensors})
    return header


def _tokenizer(file: Path, header: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer  # noqa: PLC0415 - heavy

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    except (ValueError, KeyError) as error:
        raise _unreadable(file, error) from error
    if header.get("tokenizer.ggml.model") == "gpt2":
        _spell_bytes(tokenizer)
        _split_as_learnt(tokenizer, header, file)
    _name_special_tokens(tokenizer, header)
    _check_vocabulary(tokenizer, header, file)
    wanted = header.get("tokenizer.ggml.add_bos_token")
    adds = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    if wanted is not None and adds != wanted:
        raise _disagreement("add_bos_token", adds, file)
    return tokenizer


def _spell_bytes(tokenizer: PreTrainedTokenizerBase) -> None:
    """Have a vocabulary of GPT-2's kind spell every byte by a letter, and fall back to none.

    transformers 5.17 gives it SentencePiece's byte fallback as well. Its own encoder finds the
    same ids, but onnxruntime-genai takes such a file for SentencePiece's and loses each word
    that follows a space.
    """
    from tokenizers import decoders  # noqa: PLC0415 - heavy

    backend = tokenizer.backend_tokenizer
    backend.model.byte_fallback = False
    backend.model.fuse_unk = False
    backend.decoder = decoders.ByteLevel()
    # Another of 5.17's defaults, which takes out spaces before punctuation.
    tokenizer.clean_up_tokenization_spaces = False


def _name_special_tokens(tokenizer: PreTrainedTokenizerBase, header: Mapping[str, Any]) -> None:
    """Take the special tokens that the file names; transformers 5.17 ends with the first one."""
    tokens = header["tokenizer.ggml.tokens"]
    for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        index = header.get(f"tokenizer.ggml.{key}_token_id")
        if index is not None:
            setattr(tokenizer, f"{name}_token", tokens[index])


def _split_as_learnt(
    tokenizer: PreTrainedTokenizerBase, header: Mapping[str, Any], file: Path
) -> None:
    """Cut text into words before merging as the vocabulary was learnt (``tokenizer.ggml.pre``)."""
    from tokenizers import pre_tokenizers  # noqa: PLC0415 - heavy

    rule = header.get("tokenizer.ggml.pre", "default")
    if rule in _GPT2_RULE:
        return
    backend = tokenizer.backend_tokenizer
    if rule in _DIGITS_APART:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    elif isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel):
        # transformers did not know the rule either, and would cut as GPT-2 does.
        raise ModelSourceError(
            f"How a vocabulary cuts words must be known, {file} says {rule!r}; use the model's "
            f"original folder, which has a tokenizer.json."
        )


def _check_vocabulary(
    tokenizer: PreTrainedTokenizerBase, header: Mapping[str, Any], file: Path
) -> None:
    """Compare ids with the file's list; tokens with spaces are respelled on purpose (Gemma)."""
    tokens = header["tokenizer.ggml.tokens"]
    kinds = header.get("tokenizer.ggml.token_type") or [_NORMAL_TOKEN] * len(tokens)
    ids = tokenizer.get_vocab()
    for index, (token, kind) in enumerate(zip(tokens, kinds, strict=True)):
        if kind == _NORMAL_TOKEN and " " not in token and ids.get(token) != index:
            raise _disagreement(f"id {index} ({token!r})", ids.get(token), file)


def _model(file: Path, *, dtype: str) -> PreTrainedModel:
    """Return a plain model with the file's weights, fit to be saved.

    One that was loaded from GGUF refuses to be saved ("not serializable"), so its
    tensors are handed to a fresh model of the same config.
    """
    import torch  # noqa: PLC0415 - heavy
    import transformers  # noqa: PLC0415 - heavy

    options: dict[str, Any] = {"dtype": getattr(torch, dtype)}
    if (kind := getattr(transformers, "GgufConfig", None)) is not None:
        # From 5.2x on weights may stay packed, which nothing downstream can read.
        options["quantization_config"] = kind(dequantize=True)
    try:
        loaded = transformers.AutoModelForCausalLM.from_pretrained(
            str(file.parent), gguf_file=file.name, **options
        )
    except (ValueError, KeyError, NotImplementedError) as error:
        raise _unreadable(file, error) from error
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        make: Callable[..., PreTrainedModel] = transformers.AutoModelForCausalLM.from_config
        fresh = make(config, dtype=options["dtype"])
    fresh.load_state_dict(loaded.state_dict(), assign=True)
    fresh.tie_weights()
    fresh.generation_config = loaded.generation_config
    return fresh


def _copy_licences(source: Path, target: Path) -> None:
    for pattern in ("LICEN[CS]E*", "COPYING*", "NOTICE*"):
        for file in source.glob(pattern):
            shutil.copyfile(file, target / file.name)


def _drop_load_details(path: Path) -> None:
    """Remove how this process found the tokenizer, which is no property of it."""
    config = json.loads(path.read_text(encoding="utf-8"))
    kept = {
        key: value for key, value in config.items() if key not in {"is_local", "local_files_only"}
    }
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _facts(header: Mapping[str, Any], model: PreTrainedModel) -> dict[str, Any]:
    return {
        "architecture": header["general.architecture"],
        "name": header.get("general.name", ""),
        "license": header.get("general.license", ""),
        "tensor_types": header["tensor_types"],
        "pre_tokenizer": header.get("tokenizer.ggml.pre", ""),
        "parameters": model.num_parameters(),
        "eos_token_id": model.config.eos_token_id,
    }


def _unreadable(file: Path, error: Exception) -> ModelSourceError:
    return ModelSourceError(
        f"transformers must be able to read the GGUF file, {file} it cannot ({error}); use the "
        f"model's original folder."
    )


def _disagreement(what: str, found: object, file: Path) -> ModelSourceError:
    return ModelSourceError(
        f"The tokenizer must match the GGUF file, {what} of {file} became {found!r}; use the "
        f"model's original folder."
    )
