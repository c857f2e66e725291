"""Write docs/reference.md from the code: commands, settings, exit codes, files, Python.

``python scripts/reference.py`` writes it; with ``--check`` it only says, by exit code 1,
whether the page is what the code says.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

import autotune
from autotune.cli import app
from autotune.settings import SETTINGS, SHARED

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference.md"
BEGINNING = """# Reference

Written by `python scripts/reference.py` from the code; a test compares it. What all of it is for
stands in the [documentation](README.md).
"""
SETTINGS_BEGINNING = """## Settings

In `autotune.toml` or `[tool.autotune]` of `pyproject.toml`, both in the current folder; then the
environment; then flags: later ones win. `autotune config` says where each value comes from.
They are those of a run; `census` and `sweep` take what is asked of which model, and where.
`AUTOTUNE_CACHE` is where downloads and artifacts are kept.
"""
FILES_BEGINNING = """## Files

Documents that people and programs read: the top level of each. The whole schemas lie in
`reports/schemas/`.
"""
EXIT_CODES = (
    ("0", "a feasible model; the command did what was asked"),
    ("1", "finished, but nothing feasible, or only uncertain, or not yet confirmed elsewhere"),
    ("1", "of `compare --fail-on` and `validate`: the judgement went against what was looked at"),
    ("2", "usage or configuration"),
    ("3", "known but absent hardware"),
    ("4", "a run failed"),
    ("130", "interrupted"),
)


def page() -> str:
    """Return the whole page."""
    codes = f"## Exit codes\n\n{_table(('code', 'meaning'), EXIT_CODES)}"
    parts = [BEGINNING, *_commands(), _settings(), codes, *_files(), _python()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _commands() -> Iterator[str]:
    root: Any = typer.main.get_command(app)
    yield _command("autotune", root)
    for name, command in root.commands.items():
        if inner := getattr(command, "commands", None):
            yield f"## `autotune {name}`\n\n{_unwrapped(command.help)}\n"
            for verb, one in inner.items():
                yield _command(f"autotune {name} {verb}", one)
        else:
            yield _command(f"autotune {name}", command)


def _command(name: str, command: Any) -> str:
    rows = [_parameter(one) for one in command.params if one.name not in _OF_THE_SHELL]
    table = _table(("flag", "default", "what it says"), rows) if rows else ""
    return f"## `{name}`\n\n{_unwrapped(command.help)}\n\n{table}"


_OF_THE_SHELL = ("help", "install_completion", "show_completion")


def _parameter(one: Any) -> tuple[str, str, str]:
    if one.param_type_name == "argument":
        flag = one.name.upper() + (" ..." if one.nargs == -1 else "")
    else:
        flag = ", ".join((*one.opts, *one.secondary_opts))
    words = _unwrapped(getattr(one, "help", "") or "")
    told = re.search(r"\s*\[default: (.*)\]$", words)
    if told:  # said in words, where the value itself would say nothing
        return f"`{flag}`", told[1], words[: told.start()]
    default = "required" if one.required else _default(one.default)
    return f"`{flag}`", default, words


def _default(value: Any) -> str:
    if callable(value) or value is None or value is False or value == ():
        return ""
    return f"`{str(value).lower() if value is True else value}`"


def _settings() -> str:
    root: Any = typer.main.get_command(app)
    flags = {one.name: one.opts[0] for one in root.params}
    rows = [
        (f"`{n}`", f"`AUTOTUNE_{n.upper()}`", f"`{flags[n]}`", ", ".join(_commands_with(n)))
        for n in SETTINGS
    ]
    head = ("setting", "variable", "flag", "also of")
    return f"{SETTINGS_BEGINNING}\n{_table(head, rows)}"


def _commands_with(setting: str) -> Iterator[str]:
    return (f"`{command}`" for command, names in SHARED.items() if setting in names)


def _files() -> Iterator[str]:
    yield FILES_BEGINNING
    for path in sorted((ROOT / "reports" / "schemas").glob("*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        required = set(schema.get("required", ()))
        summary, told = _docstring(schema["description"])
        rows = [
            (f"`{name}`" + ("" if name in required else " (may be absent)"), told.get(name, ""))
            for name in schema["properties"]
        ]
        yield f"### `{path.stem}`\n\n{summary}\n\n{_table(('field', 'what it holds'), rows)}"


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return the summary of a docstring and what it says of each attribute."""
    summary, _, attributes = text.partition("\n\nAttributes:\n")
    told: dict[str, str] = {}
    names: list[str] = []
    for line in attributes.splitlines():
        begun = re.match(r"    (\w+(?:, \w+)*): (.*)", line)
        if begun:
            names = begun[1].split(", ")
            told |= dict.fromkeys(names, begun[2])
        elif names and line.strip():
            told |= dict.fromkeys(names, f"{told[names[0]]} {line.strip()}")
        else:
            names = []
    return _unwrapped(summary), told


def _python() -> str:
    parts = ["## Python\n\n    import autotune\n"]
    for name in ("tune", "Run"):
        thing = getattr(autotune, name)
        parts.append(f"### `autotune.{name}`\n\n{_doc(thing)}")
        for member, value in inspect.getmembers(thing) if inspect.isclass(thing) else ():
            if not member.startswith("_") and inspect.getdoc(value):
                parts.append(f"**`{member}`**: {_unwrapped(_summary(value))}\n")
    return "\n".join(parts)


def _doc(thing: Any) -> str:
    return "```text\n" + (inspect.getdoc(thing) or "") + "\n```\n"


def _summary(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").partition("\n\n")[0]


def _unwrapped(text: str | None) -> str:
    return re.sub(r"(?<!\n)\n(?!\n)\s*", " ", inspect.cleandoc(text or "")).strip()


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(_cell(c) for c in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """Write the page, or compare it."""
    new = page()
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(new, encoding="utf-8")
        return
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != new:
        sys.exit("docs/reference.md is not what the code says; run python scripts/reference.py.")


if __name__ == "__main__":
    main()
