"""Commands to try a model out: chat, serve."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["add_try"]

_Folder = Annotated[
    str | None,
    typer.Argument(
        help="RUN, RUN/model, any onnxruntime-genai folder, or a name below results/."
        "  [default: latest run]"
    ),
]
_Target = Annotated[
    str | None,
    typer.Option(help="NAME@PYTHON where another interpreter has the provider."),
]


def add_try(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    for command in (chat, serve):
        app.command()(command)


def chat(
    folder: _Folder = None,
    *,
    target: _Target = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Of a generated answer.  [default: the task's]")
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0, max=2, help="0 takes the likeliest token, as measured.")
    ] = 0.0,
    top_p: Annotated[float, typer.Option(min=0, max=1, help="Of the sampling.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Of the sampling.")] = None,
) -> None:
    """Ask a model at the terminal; from a pipe, every line gets its answer."""
    from autotune.serving import Sampling, find_model  # noqa: PLC0415 - startup time
    from autotune.serving import chat as run  # noqa: PLC0415 - same

    sampling = Sampling(max_new_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)
    run(find_model(folder), target=target, sampling=sampling)


def serve(
    folder: _Folder = None,
    *,
    target: _Target = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    name: Annotated[
        str | None, typer.Option(help="That clients ask for.  [default: the model's own]")
    ] = None,
) -> None:
    """Serve a model by OpenAI's protocol (extra 'serve'), on this machine only by default."""
    from autotune.serving import find_model  # noqa: PLC0415 - startup time
    from autotune.serving import serve as run  # noqa: PLC0415 - same

    run(find_model(folder), target=target, host=host, port=port, name=name)
