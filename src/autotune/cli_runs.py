"""Commands about runs and what they left: ls, show, rm, export, validate, dashboard, cache.

``ls`` and ``show`` read plain JSON and import nothing heavy; nothing is ever removed without
``--yes`` or a yes at the terminal.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from autotune.errors import UsageError
from autotune.run_folders import RESULTS, find_run, list_runs, read_run
from autotune.run_listing import as_record, list_lines, show_lines
from autotune.units import format_size

__all__ = ["QUICK", "add_runs", "quick_app"]

_AsJson = Annotated[bool, typer.Option("--json", help="As JSON on stdout.")]
_Run = Annotated[str, typer.Argument(help="Run folder, or its name below results/.")]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

_cache = typer.Typer(help="What the artifact store holds, and making room in it.")


QUICK = ("ls", "show")


def quick_app() -> typer.Typer:
    """Return an app of the commands in ``QUICK`` alone.

    typer builds a pydantic adapter for every option of the whole command line before it
    runs a command, a tenth of a second that looking something up need not pay.
    """
    app = typer.Typer(
        name="autotune",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command("ls")(list_command)
    app.command("show")(show)
    return app


def add_runs(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    for name, command in (
        ("ls", list_command),
        ("show", show),
        ("rm", remove_command),
        ("export", export),
        ("validate", validate),
        ("dashboard", dashboard),
    ):
        app.command(name)(command)
    app.add_typer(_cache, name="cache", no_args_is_help=True)


def _say(lines: list[str]) -> None:
    for line in lines:
        typer.echo(line)


def list_command(
    folder: Annotated[Path, typer.Argument(help="Where runs lie.")] = RESULTS,
    *,
    as_json: _AsJson = False,
) -> None:
    """List the runs of a folder, the latest first."""
    is_new = folder == RESULTS and not folder.exists()  # nobody named it, and nothing ran yet
    runs = [] if is_new else list_runs(folder)
    if as_json:
        typer.echo(json.dumps([as_record(run) for run in runs], indent=2))
    elif runs:
        _say(list_lines(runs))
    else:
        typer.echo(f"There are no runs in {str(folder)!r}.")


def show(
    run: Annotated[
        str | None,
        typer.Argument(help="Run folder, or its name below results/.  [default: latest]"),
    ] = None,
    *,
    page: Annotated[
        bool, typer.Option("--page", help="Write report.html again, for a run without one.")
    ] = False,
    without_examples: Annotated[
        bool, typer.Option("--without-examples", help="Leave texts of your data off the page.")
    ] = False,
    hardware: Annotated[
        Path | None, typer.Option(help="Calibrated hardware report, for the page's floors.")
    ] = None,
    as_json: _AsJson = False,
) -> None:
    """Say what a run found: the choice, its bounds, every trial, and where things lie."""
    if (without_examples or hardware is not None) and not page:
        flag = "--without-examples" if without_examples else "--hardware"
        raise UsageError(f"{flag} says how the page is written; add --page.")
    found = read_run(find_run(run))
    if page:
        from autotune.page import refresh_page  # noqa: PLC0415 - startup time
        from autotune.reports import load_hardware_report, load_report  # noqa: PLC0415 - same

        written = refresh_page(
            found.path,
            load_report(found.path / "report.json"),
            shows_mistakes=not without_examples,
            hardware=load_hardware_report(hardware) if hardware is not None else None,
        )
        typer.echo(str(written))
    elif as_json:
        typer.echo(json.dumps(found.report or as_record(found), indent=2, ensure_ascii=False))
    else:
        _say(list(show_lines(found)))


def _confirmed(question: str, *, yes: bool) -> bool:
    """Return whether to go on: --yes, or a yes at the terminal.

    Raises:
        UsageError: there is no terminal to ask at.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("Nothing is removed unasked, and there is no terminal; add --yes.")
    return typer.confirm(question, err=True)


def remove_command(
    runs: Annotated[list[str], typer.Argument(help="Run folders, or names below results/.")],
    *,
    yes: _Yes = False,
) -> None:
    """Remove runs: the files that a run writes; what else lies in the folder stays."""
    from autotune.run_removal import plan_removal, remove  # noqa: PLC0415 - startup time

    plans = [plan_removal(path) for path in dict.fromkeys(find_run(run) for run in runs)]
    for plan in plans:
        names = ", ".join(entry.name for entry in plan.ours)
        stays = f"; stays: {', '.join(one.name for one in plan.others)}" if plan.others else ""
        typer.echo(f"{plan.path} ({format_size(plan.freed_bytes)}): {names}{stays}", err=True)
    if not _confirmed(f"Remove {len(plans)} {'run' if len(plans) == 1 else 'runs'}?", yes=yes):
        typer.echo("Nothing was removed.", err=True)
        raise typer.Exit(1)
    for plan in plans:
        remove(plan)


def export(
    runs: Annotated[
        list[str],
        typer.Argument(help="Run folder, or its name below results/; of a package RUN/model too."),
    ],
    *,
    trial: Annotated[
        int | None, typer.Option(min=0, help="Number, as `autotune show` tells it.")
    ] = None,
    package: Annotated[
        bool,
        typer.Option("--package", help="One model per execution provider in a single folder."),
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Folder to make.  [default: RUN/model-N]")
    ] = None,
) -> None:
    """Make the deploy folder of any model of a run, or a package of several runs' models."""
    if package:
        if trial is not None or output is None:
            raise UsageError(
                "--package puts the models of runs into one folder; name it with --output, and"
                " export another trial first: RUN --trial N, then RUN/model-N."
            )
        from autotune.package import export_package  # noqa: PLC0415 - startup time
        from autotune.serving import find_model  # noqa: PLC0415 - same

        typer.echo(export_package([find_model(run) for run in runs], output=output), err=True)
        typer.echo(str(output))
        return
    if trial is None or len(runs) != 1:
        raise UsageError(
            f"Exported is one trial of one run, got {len(runs)} runs and --trial {trial}; see"
            " `autotune show RUN`, or put the models of several runs together with --package."
        )
    from autotune.export import export_trial  # noqa: PLC0415 - startup time

    typer.echo(str(export_trial(find_run(runs[0]), trial, output=output)))


def validate(
    folder: Annotated[
        str,
        typer.Argument(help="RUN, RUN/model, any other deploy folder, or a name below results/."),
    ],
    *,
    target: Annotated[
        str | None, typer.Option(help="Where it runs.  [default: what it was built for]")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The run's data, to time the same requests again.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Fresh processes.")] = 4,
    as_json: _AsJson = False,
) -> None:
    """Check a deploy folder: digests, description, provider, and its times taken again."""
    from autotune.validate import run_validate  # noqa: PLC0415 - startup time

    path = find_run(folder)
    raise typer.Exit(run_validate(path, target=target, data=data, rounds=rounds, as_json=as_json))


def dashboard(
    run: _Run,
    *,
    port: Annotated[int, typer.Option(min=1, max=65535, help="On this machine only.")] = 8080,
) -> None:
    """Look at a run's study in optuna-dashboard (extra 'dashboard')."""
    from autotune.dashboard import serve_dashboard  # noqa: PLC0415 - startup time

    serve_dashboard(find_run(run), port=port)


@_cache.command("size")
def cache_size() -> None:
    """Say what the store holds, by kind."""
    from autotune.cache import size_lines  # noqa: PLC0415 - startup time

    _say(list(size_lines()))


@_cache.command("prune")
def cache_prune(
    *,
    older_than: Annotated[str | None, typer.Option(help="Made longer ago than this: 30d.")] = None,
    to: Annotated[str | None, typer.Option(help="The oldest, until this is left: 20GB.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every artifact.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: _Yes = False,
) -> None:
    """Remove artifacts; runs make again what they need, and deploy folders keep theirs."""
    from autotune.cache import plan_prune  # noqa: PLC0415 - startup time

    plan = plan_prune(older_than=older_than, to=to, everything=everything)
    if plan is None or not plan.gone:
        typer.echo("There is nothing to remove.")
        return
    what = f"{len(plan.gone)} of {len(plan.gone) + plan.kept} artifacts"
    typer.echo(f"{what}, {format_size(plan.freed_bytes)}, in {plan.store.root}", err=True)
    if dry_run:
        return
    if not _confirmed("Remove them?", yes=yes):
        typer.echo("Nothing was removed.", err=True)
        raise typer.Exit(1)
    typer.echo(f"{format_size(plan.carry_out())} removed.")
