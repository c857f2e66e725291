"""The commands ``run`` and ``import``, for configurations in the form of Olive's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["add_olive"]

_Config = Annotated[
    Path,
    typer.Argument(
        help="JSON or YAML, of Olive 0.13 or of its Phi tutorial of 2024; or what import wrote."
    ),
]
_Target = Annotated[
    str | None, typer.Option(help="As for a search; takes the place of systems and engine.")
]
_Model = Annotated[
    str | None, typer.Option(help="As for a search; takes the place of input_model.")
]
_Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="PATH=VALUE: any field, for example passes.lora.r=16. May be repeated."
    ),
]
_Search = Annotated[
    bool, typer.Option("--search", help="Begin at the values that are fixed, and try others.")
]
_Trust = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run Python code that a model repository brings."),
]
_Constraints = Annotated[
    list[str] | None, typer.Option("--constraint", help="'latency<=50ms'. May be repeated.")
]


def add_olive(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("run")(run)
    app.command("import")(import_)


def run(
    config: _Config,
    *,
    on: Annotated[str | None, typer.Option(help="Run as a job there: azureml:COMPUTE.")] = None,
    target: _Target = None,
    model: _Model = None,
    sets: _Sets = None,
    search: _Search = False,
    constraint: _Constraints = None,
    budget: Annotated[str | None, typer.Option(help="Wall time of a search.")] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trained models scored at most, of a search.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Run folder.  [default: the file's output_dir]")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what becomes of each field, and the plan.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON on stdout.")] = False,
    trust_remote_code: _Trust = False,
) -> None:
    """Run a configuration of Olive's: its steps as given, or from there with --search.

    Every field is honoured, mapped to what autotune has in its place, or refused with the
    reason; docs/olive.md has the table.
    """
    from autotune.configured import run_configuration  # noqa: PLC0415 - startup time
    from autotune.constraint import parse_constraint  # noqa: PLC0415 - same
    from autotune.olive import OliveRequest  # noqa: PLC0415 - same
    from autotune.units import parse_duration  # noqa: PLC0415 - same

    request = OliveRequest(
        path=config,
        sets=tuple(sets or ()),
        on=on,
        target=target,
        model=model,
        is_search=search,
        trust_remote_code=trust_remote_code,
        constraints=tuple(parse_constraint(text) for text in constraint or ()),
        budget_s=None if budget is None else parse_duration(budget, what="--budget"),
        max_trials=trials,
    )
    raise typer.Exit(run_configuration(request, output=output, dry_run=dry_run, as_json=as_json))


def import_(
    config: _Config,
    *,
    target: _Target = None,
    model: _Model = None,
    sets: _Sets = None,
    search: _Search = False,
    trust_remote_code: _Trust = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write, .toml or .json.  [default: JSON on stdout]"
        ),
    ] = None,
) -> None:
    """Write what a configuration of Olive's comes to as a run of our own: TOML or JSON.

    `autotune run FILE` starts it; a name that ends in .toml makes it TOML.
    """
    from autotune.configured import import_configuration  # noqa: PLC0415 - startup time
    from autotune.olive import OliveRequest  # noqa: PLC0415 - same

    request = OliveRequest(
        path=config,
        sets=tuple(sets or ()),
        target=target,
        model=model,
        is_search=search,
        trust_remote_code=trust_remote_code,
    )
    raise typer.Exit(import_configuration(request, output=output))
