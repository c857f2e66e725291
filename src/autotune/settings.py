"""Settings of a run beside its flags: autotune.toml, [tool.autotune] and AUTOTUNE_* variables.

Later ones win: ``autotune.toml``, then ``[tool.autotune]`` in ``pyproject.toml``, both in the
current folder only, then the environment, then flags. A file may not name a program to run:
whoever clones a folder and types ``autotune`` in it has not asked for that.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.command_line import settings_written_out
from autotune.errors import UsageError

if TYPE_CHECKING:
    import typer

__all__ = [
    "SETTINGS",
    "SHARED",
    "WHOLE_RUN",
    "Settings",
    "flags_of",
    "is_whole_run",
    "not_by_hand",
    "read_settings",
    "write_out_settings",
]

_TEXTS = (
    *("target", "target_report", "model", "data", "template", "task"),
    *("options", "metric", "extract"),
    *("validation_data", "test_data", "max_latency", "max_ttft", "max_tpot", "max_memory"),
    *("max_size", "min_accuracy", "budget", "sampler"),
    *("recipes", "methods", "quantisers", "layers", "merge_bases", "target_modules", "schedule"),
)
_COUNTS = ("trials", "seed", "steps")
_NUMBERS = ("epochs", "clip_norm")
_LISTS = ("constraint",)
_SWITCHES = ("chat", "truncate", "rslora", "double_quant")
# Those that are on unless switched off.
_USUALLY_ON = ("double_quant",)
# In the order in which they are shown.
SETTINGS = (*_TEXTS, *_LISTS, *_COUNTS, *_NUMBERS, *_SWITCHES)
_PROBLEM = ("target", "model", "data", "template", "task", "options", "chat", "truncate", "seed")
# What other commands take of them: what is asked of which model and where. How to search is
# a run's own, and a sweep's grid is its own.
SHARED = {
    "census": (*_PROBLEM, "max_latency", "max_memory", "max_size"),
    "sweep": (*_PROBLEM, "metric", "extract", "validation_data", "test_data"),
}
# Flags of one command, and one that a file must not switch on.
_FLAGS_ONLY = ("on", "output", "dry_run", "json", "debug", "version", "trust_remote_code")
_PREFIX = "AUTOTUNE_"
_TRUTHS = {"true": True, "false": False}
_NEAR = 0.8
FILE, PROJECT = "autotune.toml", "pyproject.toml"
# A table that every whole run has (``run_file``), and neither settings nor Olive's files.
WHOLE_RUN = "trainings"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What was set outside of the command line.

    Attributes:
        values: by the flag's name with ``_``.
        origins: where each value comes from, for people.
        problem: why they cannot be used; commands that need none go on without.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    problem: UsageError | None = None

    @property
    def defaults(self) -> dict[str, Any]:
        """Values as click looks them up: a run's, and those of other commands by their names."""
        shared = {
            command: {name: self.values[name] for name in names if name in self.values}
            for command, names in SHARED.items()
        }
        return {**self.values, **shared}

    def explained(self, message: str) -> str:
        """Return an error's ``message``, with where the flags in it were set if not by hand."""
        named = [one for one in self.origins if re.search(rf"{_flag(one)}(?![\w-])", message)]
        places = [f"{_flag(name)} comes from {self.origins[name]}" for name in named]
        return f"{message} ({'; '.join(places)})" if places else message


def is_whole_run(document: Any) -> bool:
    """Whether a parsed file holds a whole run, as ``autotune import`` writes it."""
    return isinstance(document, Mapping) and isinstance(document.get(WHOLE_RUN), Mapping)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def flags_of(values: Mapping[str, Any]) -> list[str]:
    """Return values by the names of flags as words of a command line; None is none.

    A switch that is on by default is switched off by its ``--no-`` form.

    >>> flags_of({"data": "rows.csv", "constraint": ["size<=1GB"], "trials": None})
    ['--data', 'rows.csv', '--constraint', 'size<=1GB']
    >>> flags_of({"double_quant": False, "rslora": False})
    ['--no-double-quant']
    """
    words: list[str] = []
    for name, value in values.items():
        if isinstance(value, bool):
            if value != (name in _USUALLY_ON):
                words.append(_flag(name) if value else _flag(f"no_{name}"))
        elif value is not None:
            for one in value if isinstance(value, list) else [value]:
                words += [_flag(name), str(one)]
    return words


def not_by_hand(context: typer.Context) -> dict[str, Any]:
    """Return the settings that the command of ``context`` takes, by name, but for its flags."""
    settings = context.obj if isinstance(context.obj, Settings) else Settings()
    sources = {name: context.get_parameter_source(name) for name in settings.values}
    return {
        name: value
        for name, value in settings.values.items()
        if (source := sources[name]) is not None and source.name != "COMMANDLINE"
    }


def write_out_settings(context: typer.Context, *, unused: Collection[str] = ()) -> None:
    """Put what files and variables said into the command that is recorded.

    So whoever repeats it elsewhere repeats what was done.

    Args:
        context: of the command that takes them.
        unused: names that it leaves alone this time.
    """
    found = not_by_hand(context)
    used = {name: value for name, value in found.items() if name not in unused}
    settings_written_out(flags_of(used))


def read_settings(folder: Path, environment: Mapping[str, str]) -> Settings:
    """Return the settings for a command in ``folder``; what is wrong with them is kept inside."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    try:
        for origin, found in (
            (FILE, _of_file(folder / FILE)),
            (f"[tool.autotune] in {PROJECT}", _of_project(folder / PROJECT)),
        ):
            values |= {name: _of_toml(origin, name, value) for name, value in found.items()}
            origins |= dict.fromkeys(found, origin)
        for variable, name in _variables(environment).items():
            values[name] = _of_text(variable, name, environment[variable])
            origins[name] = variable
    except UsageError as error:
        return Settings(problem=error)
    return Settings(values=values, origins=origins)


def _tables(path: Path) -> dict[str, Any]:
    """Return a TOML file as it is, nothing where there is none."""
    if not path.is_file():
        return {}
    import tomllib  # noqa: PLC0415 - most folders have no settings

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{str(path)!r} is no TOML file ({error}); mend or remove it.") from error


def _of_file(path: Path) -> dict[str, Any]:
    found = _tables(path)
    if is_whole_run(found):
        raise UsageError(
            f"{FILE!r} holds a whole run, as `autotune import` writes it; start it with"
            f" `autotune run {FILE}`, or give it another name."
        )
    return _named(FILE, found)


def _of_project(path: Path) -> dict[str, Any]:
    tool = _tables(path).get("tool", {})
    found = tool.get("autotune", {}) if isinstance(tool, dict) else {}
    if not isinstance(found, dict):
        raise UsageError(f"[tool.autotune] in {PROJECT} is a table, got {found!r}; write one.")
    return _named(f"[tool.autotune] in {PROJECT}", found)


def _named(origin: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``found`` by the names of ``SETTINGS``; ``max-latency`` is written either way."""
    return {_known(origin, key): value for key, value in found.items()}


def _known(origin: str, key: str) -> str:
    name = key.replace("-", "_")
    if name in SETTINGS:
        return name
    if name in _FLAGS_ONLY:
        raise UsageError(
            f"{key!r} in {origin} is no setting: {_flag(name)} is given with each command; remove"
            " it there."
        )
    near = difflib.get_close_matches(name, SETTINGS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"they are {', '.join(SETTINGS)}."
    raise UsageError(f"{origin} has no setting {key!r}; {hint}")


# What each kind of setting is called, and an example of one.
_KINDS: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str, str], ...] = (
    (_COUNTS, lambda value: type(value) is int, "a whole number", "write one"),
    (_NUMBERS, lambda value: type(value) in (int, float), "a number", "write one"),
    (_SWITCHES, lambda value: type(value) is bool, "true or false", "write one"),
    (
        _LISTS,
        lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
        "a list of texts",
        'for example ["tpot.p95<=50ms"]',
    ),
    (
        _TEXTS,
        lambda value: isinstance(value, str),
        "a text",
        'write it in quotes, with its unit if it has one ("50ms")',
    ),
)
# Texts that name something to run, and the sign of it.
_RUNS = {"metric": (":", "a function"), "target": ("@", "a program")}


def _of_toml(origin: str, name: str, value: Any) -> Any:
    """Return a value of a file after checking its kind."""
    for names, is_right, kind, way_out in _KINDS:
        if name in names and not is_right(value):
            raise UsageError(f"{name!r} in {origin} is {kind}, got {value!r}; {way_out}.")
    sign, what = _RUNS.get(name, ("", ""))
    if sign and sign in value:
        raise UsageError(
            f"{name!r} in {origin} names {what} to run, {value!r}, which a file may not; set"
            f" {_PREFIX}{name.upper()} or give {_flag(name)}."
        )
    return float(value) if name in _NUMBERS else value


def _variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are settings, with their names.

    Raises:
        UsageError: one that is nearly a setting.
    """
    known = {f"{_PREFIX}{name.upper()}": name for name in SETTINGS}
    for variable in environment:
        if variable.startswith(_PREFIX) and variable not in known:
            near = difflib.get_close_matches(variable, known, n=1, cutoff=1 - (1 - _NEAR) / 2)
            if near:
                raise UsageError(
                    f"{variable} is no setting; did you mean {near[0]}? Unset or rename it."
                )
    return {variable: name for variable, name in known.items() if variable in environment}


def _of_text(variable: str, name: str, text: str) -> Any:
    """Return a variable's value in the kind of its setting; lists are separated by ``;``."""
    if not text.strip():
        raise UsageError(f"{variable} needs a value, got {text!r}; give one or unset it.")
    if name in _LISTS:
        return [part.strip() for part in text.split(";") if part.strip()]
    if name in _SWITCHES:
        if text.strip().lower() not in _TRUTHS:
            raise UsageError(f"{variable} is true or false, got {text!r}; give one or unset it.")
        return _TRUTHS[text.strip().lower()]
    if name not in (*_COUNTS, *_NUMBERS):
        return text
    kind, words = (int, "a whole number") if name in _COUNTS else (float, "a number")
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{variable} is {words}, got {text!r}; give one or unset it.") from None
