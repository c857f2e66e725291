"""Commands about machines and reports: hardware, census, measure, compare, pick.

Like ``cli``, this reads flags and calls the library; it is a file of its own because
a command line of one file would need a table of contents.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from autotune.cli_task import Chat, Options, TaskKind, Truncate
from autotune.settings import not_by_hand, write_out_settings

__all__ = ["add_commands"]

_AsJson = Annotated[bool, typer.Option("--json", help="The document as JSON on stdout.")]
_Output = Annotated[Path | None, typer.Option(help="File for the JSON document.")]
_Html = Annotated[Path | None, typer.Option(help="File for a page that works offline.")]
_Asserted = Annotated[
    list[str] | None, typer.Option("--assert", help="KEY=VALUE that you know. May be repeated.")
]
_NoCalibration = Annotated[
    bool, typer.Option("--no-calibration", help="Leave out the machine's rates and its noise.")
]
_Target = Annotated[str, typer.Option(help="auto, or names separated by commas.")]
_Reports = Annotated[list[Path], typer.Argument(help="Report files or run folders.")]
_Bound = Annotated[str | None, typer.Option(help="With unit: 50ms, 4GiB, 90%.")]
_General = Annotated[list[str] | None, typer.Option(help="'tpot.p95<=50ms'. May be repeated.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    for command in (hardware, census, measure, compare, pick):
        app.command()(command)


def hardware(
    *,
    target: _Target = "auto",
    output: _Output = None,
    html: _Html = None,
    as_json: _AsJson = False,
    no_calibration: _NoCalibration = False,
    asserted: _Asserted = None,
) -> None:
    """Say what this machine is, what runs on it, and how fast."""
    from autotune.hardware import run_hardware  # noqa: PLC0415 - startup time

    raise typer.Exit(
        run_hardware(
            target=target,
            output=output,
            html=html,
            as_json=as_json,
            calibrate=not no_calibration,
            asserted=asserted or (),
        )
    )


def census(
    context: typer.Context,
    bundle: Annotated[
        Path | None, typer.Argument(help="Builds of another machine, to measure here.")
    ] = None,
    *,
    target: _Target = "auto",
    model: Annotated[str | None, typer.Option(help="As for a run.  [default: the demo's]")] = None,
    data: Annotated[str | None, typer.Option(help="Prompts.  [default: the demo's]")] = None,
    template: Annotated[str | None, typer.Option(help="Of the data's rows.")] = None,
    task: TaskKind = None,
    options: Options = None,
    chat: Chat = False,
    truncate: Truncate = False,
    recipes: Annotated[
        list[str] | None,
        typer.Option(help="Only those of this name, * for any letters. May be repeated."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=2, help="Fresh processes per recipe.")] = 2,
    requests: Annotated[
        int | None,
        typer.Option(
            min=1, help="Per process; 60 in all are needed for a 95th percentile.  [default: 32]"
        ),
    ] = None,
    max_latency: _Bound = None,
    max_memory: _Bound = None,
    max_size: _Bound = None,
    constraint: _General = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything.  [default: 0]")] = None,
    export: Annotated[
        Path | None, typer.Option(help="Build only, into this folder, to measure elsewhere.")
    ] = None,
    output: _Output = None,
    html: _Html = None,
    as_json: _AsJson = False,
    no_calibration: _NoCalibration = False,
    asserted: _Asserted = None,
) -> None:
    """Build and time every recipe of the untrained model here; nothing is trained.

    With --export it builds only; with a BUNDLE made so it measures only, without torch.
    """
    from autotune.census import CensusRequest, CensusScope, run_census  # noqa: PLC0415 - startup time
    from autotune.census_bundle import (  # noqa: PLC0415 - same
        BundleRequest,
        run_bundle_census,
        run_export,
    )
    from autotune.census_entries import CensusFiles  # noqa: PLC0415 - same
    from autotune.config import Bounds, census_config  # noqa: PLC0415 - same
    from autotune.task_flags import TaskFlags  # noqa: PLC0415 - same

    files = CensusFiles(output=output, html=html, as_json=as_json)
    facts = tuple(asserted or ())
    maxima = {"latency.p95": max_latency, "memory": max_memory, "size": max_size}
    bounds = Bounds(maxima=maxima, general=tuple(constraint or ()))
    if bundle is not None:
        brought: dict[str, object] = {"--model": model, "--data": data, "--template": template}
        brought |= {"--task": task, "--options": options, "--chat": chat, "--truncate": truncate}
        rest = {"--export": export, "--seed": None if seed is None else str(seed)}
        flags: dict[str, object] = {**brought, **rest, "--recipes": recipes}
        _refuse_by_hand(context, flags, why="A bundle brings its model, prompts and seed")
        wanted = BundleRequest(
            target=target,
            constraints=bounds.resolve(),
            rounds=rounds,
            requests=requests,
            calibrates=not no_calibration,
            asserted=facts,
        )
        raise typer.Exit(run_bundle_census(bundle, wanted, files))
    config = census_config(
        target=target,
        model=model,
        data=data,
        template=template,
        kind=task,
        task=TaskFlags(options=options, chat=chat, truncate=truncate),
        bounds=bounds,
        seed=seed or 0,
    )
    scope = CensusScope(recipes=tuple(recipes or ()), requests=requests)
    if export is not None:
        ends = {"--output": output, "--html": html, "--json": as_json, "--assert": asserted}
        limits = {"--max-latency": max_latency, "--max-memory": max_memory, "--max-size": max_size}
        others = {"--constraint": constraint, "--no-calibration": no_calibration}
        _refuse_by_hand(context, {**ends, **limits, **others}, why="--export measures nothing")
        raise typer.Exit(run_export(config, export, scope))
    write_out_settings(context)
    request = CensusRequest(
        config=config,
        scope=scope,
        rounds=rounds,
        calibrates=not no_calibration,
        asserted=facts,
    )
    raise typer.Exit(run_census(request, files))


def _refuse_by_hand(context: typer.Context, flags: Mapping[str, object], *, why: str) -> None:
    """Refuse ``flags`` that would have no effect; settings of a folder simply have none."""
    from autotune.census_bundle import refuse_flags  # noqa: PLC0415 - startup time

    unused = {flag: flag.removeprefix("--").replace("-", "_") for flag in flags}
    settings = not_by_hand(context)
    refuse_flags({flag: flags[flag] for flag in flags if unused[flag] not in settings}, why=why)
    write_out_settings(context, unused=unused.values())


def measure(
    model_dir: Annotated[Path, typer.Argument(help="Any onnxruntime-genai folder.")],
    *,
    target: Annotated[str, typer.Option(help="One target.")] = "cpu",
    data: Annotated[str | None, typer.Option(help="Prompts to ask; else random words.")] = None,
    template: Annotated[str | None, typer.Option(help="Of the data's rows.")] = None,
    prompt_tokens: Annotated[int | None, typer.Option(min=1, help="Of random prompts.")] = None,
    new_tokens: Annotated[int | None, typer.Option(min=1, help="Generated per request.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Fresh processes.")] = 4,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    into: Annotated[
        Path | None,
        typer.Option(help="Run made with --target-report that this machine shall confirm."),
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Record taken there, instead of measuring here.")
    ] = None,
    output: _Output = None,
    as_json: _AsJson = False,
) -> None:
    """Time a built model folder, after checking its digests."""
    from autotune.errors import UsageError  # noqa: PLC0415 - startup time
    from autotune.measure_model import MeasureRequest, run_measure  # noqa: PLC0415 - same

    request = MeasureRequest(
        target=target,
        data=data,
        template=template,
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        rounds=rounds,
        seed=seed,
    )
    if source is not None and (into is None or output is not None):
        raise UsageError(
            f"--from {str(source)!r} is a record that goes --into a run and is kept already;"
            " add --into RUN, and leave --output out."
        )
    if into is None:
        raise typer.Exit(run_measure(model_dir, request, output=output, as_json=as_json))
    from autotune.confirmation import Confirmation, run_confirm  # noqa: PLC0415 - startup time

    confirmation = Confirmation(run=into, source=source)
    raise typer.Exit(run_confirm(model_dir, request, confirmation, output=output, as_json=as_json))


def compare(
    reports: _Reports,
    *,
    fail_on: Annotated[
        str | None, typer.Option(help="Exit 1 on a regression that exceeds this for sure: 5%.")
    ] = None,
    as_json: _AsJson = False,
) -> None:
    """Put reports side by side: what differs, by how much, and whether that is sure."""
    from autotune.compare import run_compare  # noqa: PLC0415 - startup time

    raise typer.Exit(run_compare(reports, fail_on=fail_on, as_json=as_json))


def pick(
    reports: _Reports,
    *,
    max_latency: _Bound = None,
    max_ttft: _Bound = None,
    max_tpot: _Bound = None,
    max_memory: _Bound = None,
    max_size: _Bound = None,
    min_accuracy: _Bound = None,
    constraint: _General = None,
    as_json: _AsJson = False,
) -> None:
    """Pick the best model of each report under bounds, with the reason."""
    from autotune.config import Bounds  # noqa: PLC0415 - startup time
    from autotune.pick import run_pick  # noqa: PLC0415 - same

    maxima = {
        "latency.p95": max_latency,
        "ttft.p95": max_ttft,
        "tpot.p95": max_tpot,
        "memory": max_memory,
        "size": max_size,
    }
    bounds = Bounds(maxima=maxima, min_accuracy=min_accuracy, general=tuple(constraint or ()))
    raise typer.Exit(run_pick(reports, bounds=bounds, as_json=as_json))
