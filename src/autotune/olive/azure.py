"""The Azure ML job that a configuration asks for: a specification, submitted by nobody here.

In the form of the service's YAML files (command job of the SDK's second version), so that
``az ml job create --file`` takes it as well. It holds names only, never a credential.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.errors import UsageError

from .places import is_of_azure, looked_up
from .spelling import Part, Section

__all__ = ["AzureJob", "azure_job"]

# https://learn.microsoft.com/azure/machine-learning/reference-yaml-job-command
_SCHEMA = "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json"
_PYTHON = "3.11"
_OURS = "autotune-slm"
_WORKSPACE = ("subscription_id", "resource_group", "workspace_name")
_DATA, _MODEL = "data", "model"


@dataclass(frozen=True, kw_only=True)
class AzureJob:
    """A job and where it goes.

    Attributes:
        workspace: subscription, resource group and workspace, as far as they are given.
        specification: the job, plain data.
        notes: what was changed on the way, for people.
    """

    workspace: dict[str, str]
    specification: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The specification as JSON, which is YAML too."""
        return json.dumps(self.specification, indent=2)


def azure_job(system: Part, parts: Sequence[Part], *, path: Path, flags: Sequence[str]) -> AzureJob:
    """Return the job that runs a configuration on ``system``.

    Args:
        system: of the type AzureML.
        parts: what of the configuration is used.
        path: its file, which the job takes along.
        flags: words of the command that the job repeats.

    Raises:
        UsageError: no compute or image, or a datastore of another workspace.
    """
    compute, image = system.get("aml_compute"), system.get("docker.base_image")
    for name, value in (("aml_compute", compute), ("aml_docker_config.base_image", image)):
        if value is None:
            raise UsageError(f"{system.place} is of the type AzureML and needs {name}; add it.")
    client = next((part for part in parts if part.section is Section.CLIENT), None)
    workspace = {name: str(client.get(name, "")) for name in _WORKSPACE} if client else {}
    conda, notes = _conda(system, path.parent)
    inputs, overrides = _inputs(parts)
    vault = client.get("keyvault_name") if client else None
    if system.get("hf_token") and not vault:
        raise UsageError(
            f"{system.place}.hf_token is a secret of a key vault; name it in"
            " azureml_client.keyvault_name, or set hf_token to false."
        )
    words = ["autotune", "run", path.name, "--target", _target(system)]
    words += [*flags, *(word for text in overrides for word in ("--set", text))]
    words += ["--output", "${{outputs.run}}"]
    specification = {
        "$schema": _SCHEMA,
        "type": "command",
        "display_name": path.stem,
        "experiment_name": "autotune",
        "command": shlex.join(words),
        "code": str(path.parent),
        "compute": f"azureml:{compute}",
        "environment": {"image": image, "conda_file": conda},
        "inputs": inputs,
        "outputs": {"run": {"type": "uri_folder", "mode": "rw_mount"}},
    }
    if system.get("hf_token"):
        # The name of the vault, not what is in it: the job reads the secret by its own identity.
        specification["environment_variables"] = {"AUTOTUNE_KEYVAULT": vault}
        specification["identity"] = {"type": "managed"}
    if tags := system.get("tags"):
        specification["tags"] = tags
    return AzureJob(workspace=workspace, specification=specification, notes=notes)


def _target(system: Part) -> str:
    is_gpu = system.get("accelerators.device", "gpu") == "gpu"
    return "cuda" if is_gpu else "cpu"


def _inputs(parts: Sequence[Part]) -> tuple[dict[str, Any], list[str]]:
    """Return the job's inputs, and the fields of the configuration that they go into."""
    inputs: dict[str, Any] = {}
    overrides: list[str] = []
    for part in parts:
        if part.section is Section.DATA and (uri := _data_uri(part)):
            inputs[_DATA] = {"type": "uri_file", "path": uri}
            place = f"{part.place}.load_dataset_config"
            overrides += [f"{place}.data_files=null", f"{place}.data_files=${{{{inputs.{_DATA}}}}}"]
            _check_workspace(part, parts)
        if part.section is Section.MODEL and (uri := _model_uri(part)):
            inputs[_MODEL] = {"type": "mlflow_model", "path": uri}
            overrides += [
                f"{part.place}.model_path=null",
                f"{part.place}.model_path=${{{{inputs.{_MODEL}}}}}",
            ]
    return inputs, overrides


def _data_uri(part: Part) -> str:
    """Return the datastore's name of the rows; empty where they go along with the code."""
    if part.get("load.data_files.type"):
        store, path = (
            part.get(f"load.data_files.{name}") for name in ("datastore_name", "relative_path")
        )
        return f"azureml://datastores/{store}/paths/{path}"
    named = [name for name in part.get("load.data_files", ()) if is_of_azure(name)]
    return named[0] if named else ""


def _model_uri(part: Part) -> str:
    """Return the registry's name of the model; empty where it is the hub's or a folder."""
    plain_path = str(part.get("model_path", ""))
    if not part.get("model_path.type"):
        return plain_path if is_of_azure(plain_path) else ""
    name, version = (part.get(f"model_path.{field}") for field in ("name", "version"))
    registry = part.get("model_path.registry_name")
    if not (name and version):
        raise UsageError(f"{part.place}.model_path needs name and version; add them.")
    # The catalogue's names have no owner: microsoft/Phi-3-mini-4k-instruct is the hub's.
    plain = str(name).rpartition("/")[2]
    if registry is None:
        return f"azureml:{plain}:{version}"
    return f"azureml://registries/{registry}/models/{plain}/versions/{version}"


def _check_workspace(part: Part, parts: Sequence[Part]) -> None:
    client = next((one for one in parts if one.section is Section.CLIENT), None)
    for name in _WORKSPACE:
        theirs = part.get(f"load.data_files.azureml_client.{name}")
        ours = client.get(name) if client else None
        is_gap = any(str(value).lower().startswith("your ") for value in (theirs, ours))
        if theirs and ours and theirs != ours and not is_gap:
            raise UsageError(
                f"The data of {part.place} is in {name} {theirs!r}, the job in {ours!r}; a job"
                " reads datastores of its own workspace."
            )


def _conda(system: Part, folder: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the environment of the job; one in which autotune would not run is replaced."""
    ours = {
        "name": "autotune",
        "channels": ["conda-forge"],
        "dependencies": [f"python={_PYTHON}", "pip", {"pip": [f"{_OURS}[cuda,azureml]"]}],
    }
    name = system.get("docker.conda_file_path")
    if name is None:
        return ours, ()
    path = looked_up(name, folder)
    if path is None:
        return ours, (f"{name} is not there: the job's environment is ours",)
    theirs = _read_conda(path)
    flat = [str(word) for word in _flat(theirs.get("dependencies", []))]
    pythons = [word for word in flat if word.startswith("python=")]
    lacks = []
    if not any(_is_recent(word) for word in pythons):
        lacks.append(f"Python {_PYTHON} or later (it has {', '.join(pythons) or 'none named'})")
    if not any(word.startswith(_OURS) for word in flat):
        lacks.append(_OURS)
    if not lacks:
        return theirs, ()
    return ours, (f"{name} lacks {' and '.join(lacks)}: the job's environment is ours",)


def _read_conda(path: Path) -> dict[str, Any]:
    import yaml  # noqa: PLC0415 - startup time

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"The conda file {str(path)!r} cannot be read ({error}).") from None
    if not isinstance(content, dict):
        raise UsageError(f"A conda file is an object with dependencies, {str(path)!r} is none.")
    return content


def _flat(dependencies: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for word in dependencies:
        found += word.get("pip", []) if isinstance(word, dict) else [word]
    return found


def _is_recent(word: str) -> bool:
    numbers = [n for n in word.removeprefix("python").strip("=<>~ ").split(".") if n.isdigit()]
    return tuple(map(int, numbers[:2])) >= tuple(map(int, _PYTHON.split(".")))
