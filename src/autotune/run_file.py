"""A whole run in a file: what ``autotune import`` writes and ``autotune run`` reads.

The document is a run's ``run.json``, or the same in TOML. TOML has no null: a value that is
none by default is left out, any other is the word ``"none"``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autotune.config import RunConfig
from autotune.errors import UsageError
from autotune.plain import first_problem, from_plain, to_plain
from autotune.settings import WHOLE_RUN, is_whole_run

__all__ = ["load_run_file", "run_text"]

TOML = ".toml"
_NONE = "none"
# Fields that may be none and are not by default; elsewhere the word is itself, a pattern say.
_SPOKEN = ("budget_s", "clip_norm")


def run_text(config: RunConfig, *, suffix: str) -> str:
    """Return the text of a file for ``config``: TOML for the suffix ``.toml``, else JSON."""
    if suffix.lower() != TOML:
        return json.dumps(to_plain(config), indent=2) + "\n"
    import tomli_w  # noqa: PLC0415 - startup time

    return tomli_w.dumps(_without_none(config))


def load_run_file(path: Path) -> RunConfig | None:
    """Return the run that the file ``path`` holds; None where it holds something else.

    Raises:
        UsageError: a TOML file that is broken or no run, or a value that does not fit.
    """
    if (is_toml := path.suffix.lower() == TOML) or path.suffix.lower() == ".json":
        document = _parsed(path)
        if is_whole_run(document):
            return _config(path, _with_none(document) if is_toml else document)
        if is_toml and document is not None:
            raise UsageError(
                f"{str(path)!r} is no whole run: it has no table {WHOLE_RUN!r}. Settings are read"
                " by `autotune` itself in their folder; `autotune import` writes a whole run."
            )
    return None


def _parsed(path: Path) -> Any:
    """Return what the file holds; None for what the reader of Olive's files complains of."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == TOML:
            import tomllib  # noqa: PLC0415 - startup time

            return tomllib.loads(text)
        return json.loads(text)
    except ValueError as error:
        if path.suffix.lower() == TOML:
            raise UsageError(f"{str(path)!r} is no TOML file ({error}); mend it.") from None
    except OSError:
        pass
    return None


def _config(path: Path, document: Any) -> RunConfig:
    try:
        config = from_plain(RunConfig, document)
    except ValueError as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else error
        raise UsageError(f"{str(path)!r} is no whole run ({problem}); mend it there.") from None
    if unknown := next(_unknown(document, to_plain(config)), None):
        raise UsageError(f"{str(path)!r} has a key {unknown!r}, which no run has; mend it there.")
    return config


def _unknown(document: Any, read: Any, place: str = "") -> Iterator[str]:
    """Yield the keys of ``document`` that are not in what was read of it."""
    if isinstance(document, Mapping) and isinstance(read, Mapping):
        for name, value in document.items():
            if name not in read:
                yield f"{place}{name}"
            else:
                yield from _unknown(value, read[name], f"{place}{name}.")
    elif isinstance(document, list) and isinstance(read, list):
        for number, (value, one) in enumerate(zip(document, read, strict=True)):
            yield from _unknown(value, one, f"{place}{number}.")


def _without_none(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        given = {field.name: getattr(value, field.name) for field in fields(value)}
        written = {name: _without_none(one) for name, one in given.items() if one is not None}
        return written | {name: _NONE for name in _SPOKEN if given.get(name, "") is None}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_none(one) for one in value]
    return to_plain(value)


def _with_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: None if name in _SPOKEN and one == _NONE else _with_none(one)
            for name, one in value.items()
        }
    return value
