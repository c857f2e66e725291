"""The job in the service's own form, that of its YAML files (command job, SDK version 2).

It holds names only, never a credential.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from .environment import IMAGE, our_conda
from .request import JobRequest
from .wheel import wheel_name

__all__ = ["RESULT", "specification", "write_code"]

# https://learn.microsoft.com/azure/machine-learning/reference-yaml-job-command
_SCHEMA = "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json"
# Every workspace has this datastore; a job's own folder in it is where the SDK looks, too.
RESULT = "azureml://datastores/workspaceblobstore/paths/azureml/{name}/run/"
_RUNNER = "autotune.azureml.job"


def specification(request: JobRequest, *, name: str, code: Path) -> dict[str, Any]:
    """Return the job.

    Args:
        request: what it does.
        name: of the job, unique in its workspace.
        code: folder that the job takes along, as ``write_code`` fills it.

    Raises:
        UsageError: autotune is not installed as a package.
    """
    variables = {"AUTOTUNE_PLACE": str(request.place)}
    if request.vault:
        variables["AUTOTUNE_KEYVAULT"] = request.vault
    conda = request.conda or our_conda(request.target, with_identity=bool(request.vault))
    job: dict[str, Any] = {
        "$schema": _SCHEMA,
        "type": "command",
        "name": name,
        "display_name": request.title,
        "experiment_name": "autotune",
        "command": _command(request),
        "code": str(code),
        "compute": f"azureml:{request.place.compute}",
        "environment": {"image": request.image or IMAGE, "conda_file": conda},
        "environment_variables": variables,
        "inputs": {one.name: {"type": one.kind, "path": one.path} for one in request.inputs},
        "outputs": {
            "run": {"type": "uri_folder", "mode": "rw_mount", "path": RESULT.format(name=name)}
        },
    }
    if request.vault:  # the job reads the secret by its own identity
        job["identity"] = {"type": "managed"}
    if request.place.instance_type:
        job["resources"] = {"instance_type": request.place.instance_type}
    if request.tags:
        job["tags"] = request.tags
    return job


def _command(request: JobRequest) -> str:
    """Return the line that installs this autotune without its dependencies and runs it."""
    install = f"python -m pip install --quiet --no-deps --no-index --force-reinstall {wheel_name()}"
    words = ["python", "-m", _RUNNER, "--result", "${{outputs.run}}"]
    for one in request.inputs:
        words += ["--input", f"{one.place}=${{{{inputs.{one.name}}}}}"]
    return f"{install} && {shlex.join([*words, '--', *request.words])}"


def write_code(request: JobRequest, folder: Path) -> None:
    """Write into ``folder`` what the job takes along: this autotune, and the request's files.

    Raises:
        UsageError: autotune is not installed as a package.
    """
    from .wheel import write_wheel  # noqa: PLC0415 - only here is a wheel made

    folder.mkdir(parents=True, exist_ok=True)
    write_wheel(folder)
    for name, content in request.files.items():
        (folder / name).write_text(content, encoding="utf-8")


def as_text(job: dict[str, Any]) -> str:
    """Return a specification as JSON, which is YAML too."""
    return json.dumps(job, indent=2)
