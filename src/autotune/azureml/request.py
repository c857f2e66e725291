"""What a job is asked to do: plain data, before anything of it is in the service's form."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from .names import is_of_azure
from .place import Place

__all__ = ["COMMAND", "INPUTS", "REQUEST", "JobInput", "JobRequest", "input_of"]

# Folder of a job's working directory in which its inputs stand, by their own file names.
INPUTS = "inputs"
# A run of flags as a run.json with places of inputs in it, and the command that asked for it.
REQUEST, COMMAND = "request.json", "command.json"


@dataclass(frozen=True, kw_only=True)
class JobInput:
    """Data or a model that a job reads.

    Attributes:
        name: within the job, ``[a-z_]+``.
        kind: the service's type: ``uri_file``, ``uri_folder`` or ``mlflow_model``.
        path: a name of Azure ML's, or an absolute path here, which is uploaded.
    """

    name: str
    kind: str
    path: str

    @property
    def place(self) -> str:
        """Where it stands for the job, relative to its working directory."""
        own = PurePosixPath(Path(self.path).as_posix()).name
        return f"{INPUTS}/{self.name}/{re.sub(r'[^A-Za-z0-9._-]', '_', own)}"


def input_of(name: str, path: str, *, is_model: bool) -> JobInput:
    """Return the input for a name of Azure ML's or an existing path here."""
    if is_of_azure(path):
        is_asset = "/datastores/" not in path
        # What the catalogue holds; a path of a datastore does not say what it is.
        kind = "uri_file" if not is_model else "mlflow_model" if is_asset else "uri_folder"
    else:
        kind = "uri_folder" if Path(path).is_dir() else "uri_file"
    return JobInput(name=name, kind=kind, path=path)


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A command of autotune's and what it needs to run elsewhere.

    Attributes:
        place: where.
        title: for people.
        words: of the command, without ``autotune`` and ``--output``.
        files: what stands beside the command, name to content.
        inputs: data and models; the command names them by ``JobInput.place``.
        target: provider that the environment has the runtime for: ``cuda`` or ``cpu``.
        image: docker image; empty is ours.
        conda: environment in conda's form; None is ours.
        vault: key vault that holds the token of the Hugging Face hub; empty asks for none.
        tags: of the job.
        notes: what was changed on the way, for people.
    """

    place: Place
    title: str
    words: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)
    inputs: tuple[JobInput, ...] = ()
    target: str = "cuda"
    image: str = ""
    conda: dict[str, Any] | None = None
    vault: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
