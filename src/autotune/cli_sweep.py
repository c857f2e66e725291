"""The command ``sweep``: reads flags and calls the library, like ``cli``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autotune.cli_task import Chat, Extract, Metric, Options, TaskKind, Truncate
from autotune.settings import write_out_settings

__all__ = ["add_sweep"]

_GRID = "Grid (values separated by commas)"
_DATA = "Model and data (as for a run)"


def _grid(text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(help=text, rich_help_panel=_GRID)
    return option


def _data(text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(help=text, rich_help_panel=_DATA)
    return option


def add_sweep(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(sweep)


def sweep(
    context: typer.Context,
    *,
    output: Annotated[Path, typer.Option(help="The table, NAME.csv; gone on with if it exists.")],
    learning_rates: Annotated[str, _grid("Peak learning rates.")] = "3e-4,1e-3,2e-3,4e-3",
    ranks: Annotated[str, _grid("LoRA ranks.")] = "8,16,64",
    methods: Annotated[str, _grid("lora, qlora, qat-lora.")] = "lora,qlora",
    quantisers: Annotated[
        str | None, _grid("Of qat-lora, in the training loop: int4-b32, ...")
    ] = None,
    merge_bases: Annotated[
        str, _grid("Of qlora: full, dequantized (what its training saw).")
    ] = "dequantized",
    recipes: Annotated[str | None, _grid("By name.  [default: all that run here]")] = None,
    epochs: Annotated[float, typer.Option(help="Passes over the data of a whole training.")] = 2.0,
    rounds: Annotated[int, typer.Option(min=2, help="Fresh processes per recipe, timed.")] = 4,
    target: Annotated[str, typer.Option(help="auto, or names separated by commas.")] = "auto",
    model: Annotated[str | None, _data("[default: the demo's]")] = None,
    data: Annotated[str | None, _data("[default: the demo's]")] = None,
    template: Annotated[str | None, _data("Of the data's rows.")] = None,
    task: TaskKind = None,
    options: Options = None,
    metric: Metric = None,
    extract: Extract = None,
    chat: Chat = False,
    truncate: Truncate = False,
    validation_data: Annotated[str | None, _data("Your own validation split.")] = None,
    test_data: Annotated[str | None, _data("Your own test split, which nothing looks at.")] = None,
    name: Annotated[str, typer.Option(help="Of the search problem, in the table.")] = "",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of everything.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that a model brings.")
    ] = False,
) -> None:
    """Train a whole grid, build each training with every recipe, and keep all numbers.

    One table: learning rate x rank x method x recipe, with losses at a ninth, a third and
    all of the steps, and accuracy, latency, memory and size of every built model. Rows
    are kept as they finish; the same command goes on with the table that it finds.
    """
    from autotune.config import Bounds, resolve_config  # noqa: PLC0415 - startup time
    from autotune.list_flags import read_names, read_space  # noqa: PLC0415 - same
    from autotune.task_flags import TaskFlags  # noqa: PLC0415 - same
    from autotune.trainings import Trainings  # noqa: PLC0415 - same

    space = read_space(
        methods=methods,
        learning_rates=learning_rates,
        ranks=ranks,
        merge_bases=merge_bases,
        quantisers=quantisers,
        epochs=epochs,
        seed=seed,
    )
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
        bounds=Bounds(),
        budget=None,
        trials=1,
        sampler="grid",
        layers=(),
        trainings=Trainings(methods=("lora",)),  # the space says what is trained
        seed=seed,
        trust_remote_code=trust_remote_code,
    )
    names = () if recipes is None else read_names("--recipes", recipes)
    # After the flags were judged: a typo must not wait for what a sweep needs.
    from autotune.sweep import run_sweep  # noqa: PLC0415 - startup time
    from autotune.sweep_plan import SweepRequest  # noqa: PLC0415 - same

    write_out_settings(context)
    request = SweepRequest(
        config=config, space=space, output=output, recipes=names, rounds=rounds, name=name
    )
    raise typer.Exit(run_sweep(request, dry_run=dry_run))
