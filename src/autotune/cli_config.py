"""``autotune config``: every setting of a run in this folder, and where its value comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from autotune.settings import SETTINGS, Settings

__all__ = ["add_config"]


def add_config(app: typer.Typer) -> None:
    """Add the command of this file to ``app``."""
    app.command("config")(config)


def config(
    context: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON on stdout.")] = False,
) -> None:
    """Show the settings of a run and where each comes from; flags go before `config`.

    Rising priority: autotune.toml, [tool.autotune] in pyproject.toml, AUTOTUNE_* variables,
    flags.
    """
    rows = list(_rows(context))
    if as_json:
        typer.echo(
            json.dumps({name: {"value": value, "from": at} for name, value, at in rows}, indent=2)
        )
        return
    shown = [(name, "-" if value is None else str(value), at) for name, value, at in rows]
    widths = [max(len(row[column]) for row in shown) for column in (0, 1)]
    for name, value, at in shown:
        typer.echo(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {at}")


def _rows(context: typer.Context) -> Iterator[tuple[str, Any, str]]:
    """Yield name, value and origin of every setting as the command line resolved them."""
    settings = context.obj if isinstance(context.obj, Settings) else Settings()
    run = context.parent or context
    for name in SETTINGS:
        source = run.get_parameter_source(name)
        is_flag = source is not None and source.name == "COMMANDLINE"
        at = f"--{name.replace('_', '-')}" if is_flag else settings.origins.get(name, "default")
        yield name, run.params.get(name), at
