"""Flags that say what may be tried: ways of building, ways of training, layers kept."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "ClipNorm",
    "DoubleQuant",
    "Epochs",
    "Layers",
    "MergeBases",
    "Methods",
    "Quantisers",
    "Recipes",
    "Rslora",
    "Schedule",
    "Steps",
    "TargetModules",
]

_TRIED = "What may be tried"

Methods = Annotated[
    str | None,
    typer.Option(
        help="lora, qlora, qat-lora (rounds weights while training), or several."
        "  [default: those that help; --dry-run says why]",
        rich_help_panel=_TRIED,
    ),
]
Quantisers = Annotated[
    str | None,
    typer.Option(
        help="Of qat-lora: what rounds them, int4-b32, ...  [default: as the recipes do]",
        rich_help_panel=_TRIED,
    ),
]
Layers = Annotated[
    str | None,
    typer.Option(
        help="Decoder layers to keep beside the whole model, 25,20; all leaves none out."
        "  [default: fewer where a bound needs it]",
        rich_help_panel=_TRIED,
    ),
]
MergeBases = Annotated[
    str | None,
    typer.Option(
        help="Of qlora: full, dequantized (what its training saw) or both.  [default: dequantized]",
        rich_help_panel=_TRIED,
    ),
]
TargetModules = Annotated[
    str | None,
    typer.Option(
        help="What gets an adapter: all-linear, attention, mlp, or names joined by +"
        " (q_proj+v_proj); more than one to try.  [default: all-linear]",
        rich_help_panel=_TRIED,
    ),
]
Epochs = Annotated[
    float | None,
    typer.Option(
        help="Passes over the data of a whole training.  [default: what the budget allows,"
        " 3 at most]",
        rich_help_panel=_TRIED,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        help="Optimiser steps of a whole training, in the place of --epochs.",
        min=1,
        rich_help_panel=_TRIED,
    ),
]
Schedule = Annotated[
    str | None,
    typer.Option(
        help="Of the learning rate: cosine, linear or constant.  [default: cosine]",
        rich_help_panel=_TRIED,
    ),
]
ClipNorm = Annotated[
    float | None,
    typer.Option(
        help="Largest norm of the gradients, 0 for any.  [default: 1]",
        min=0,
        rich_help_panel=_TRIED,
    ),
]
Rslora = Annotated[
    bool,
    typer.Option("--rslora", help="Scale by alpha / sqrt(rank).", rich_help_panel=_TRIED),
]
DoubleQuant = Annotated[
    bool,
    typer.Option(help="Of qlora: round the scales too.", rich_help_panel=_TRIED),
]
Recipes = Annotated[
    str | None,
    typer.Option(
        help="Ways of building to try, by name or pattern: cpu-int8-b32,cpu-int4-*."
        "  [default: those that are worth trying here]",
        rich_help_panel=_TRIED,
    ),
]
