"""Flags about the task that several commands have, each described once."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Chat", "Extract", "Metric", "Options", "TaskKind", "Truncate"]

_DATA = "Model and data"

TaskKind = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="classification, generation, choice (with --options) or perplexity (plain text)."
        "  [default: by the data]",
        rich_help_panel=_DATA,
    ),
]
Options = Annotated[
    str | None,
    typer.Option(
        help="Multiple choice: column with each row's options, or columns with one each,"
        " separated by commas. The last {field} names the right one.",
        rich_help_panel=_DATA,
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        help="Generation: exact, contains, f1 or package.module:function."
        " Choice: per-character, per-token or sum of the log-likelihood."
        "  [default: exact, per-character]",
        rich_help_panel=_DATA,
    ),
]
Extract = Annotated[
    str | None,
    typer.Option(
        help="Regular expression that takes the answer out of generated text and reference.",
        rich_help_panel=_DATA,
    ),
]
Chat = Annotated[
    bool,
    typer.Option(
        "--chat",
        help="Ask in the words of the model's chat template; without --template the rows are"
        " conversations (messages with role and content).",
        rich_help_panel=_DATA,
    ),
]
Truncate = Annotated[
    bool,
    typer.Option(
        "--truncate",
        help="Leave out the beginning of prompts that the model cannot hold.",
        rich_help_panel=_DATA,
    ),
]
