"""What a configuration asks of Azure ML: the job's request, with what it reads as inputs.

The job repeats ``autotune run`` of the same file; fields that name data or a model are set to
where the job finds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.azureml import (
    JobInput,
    JobRequest,
    Place,
    Workspace,
    input_of,
    is_of_azure,
    parse_place,
    read_conda,
    what_it_lacks,
)
from autotune.errors import UsageError

from .places import looked_up
from .spelling import Part, Section

__all__ = ["JobFlags", "job_request"]

_WORKSPACE = ("subscription_id", "resource_group", "workspace_name")
_TYPE = "AzureML"
# Read by nobody here, and looked for beside the file nevertheless.
_SCRIPTS = ("model_script", "script_dir")


@dataclass(frozen=True, kw_only=True)
class JobFlags:
    """Flags of the command that asks for a job.

    Attributes:
        on: of ``--on``; None takes the system's compute.
        model: of ``--model``; None leaves the input model.
        target: provider there.
        words: that the job's command repeats as they are.
    """

    on: str | None
    model: str | None
    target: str
    words: Sequence[str]


def job_request(
    system: Part | None, parts: Sequence[Part], *, path: Path, flags: JobFlags
) -> JobRequest:
    """Return the request for the job that runs a configuration.

    Args:
        system: where the configuration runs; None with ``--on`` alone.
        parts: what of the configuration is used.
        path: its file, which the job takes along.
        flags: of the command.

    Raises:
        UsageError: no compute, another target than a job has, or data of another workspace.
    """
    cloud = system if system is not None and system.get("type") == _TYPE else None
    target = flags.target
    if target not in ("cpu", "cuda"):
        raise UsageError(
            f"A job of Azure ML has the runtime for cpu or cuda, the target is {target!r};"
            " give --target cuda."
        )
    folder = path.parent
    given = [*_data_inputs(parts, folder), *_model_inputs(parts, flags.model, folder)]
    words = ["run", path.name, "--target", target, *flags.words]
    words += [word for _, texts in given for word in texts]
    image = str(cloud.get("docker.base_image") or "") if cloud else ""
    conda, notes = _conda(cloud, folder)
    if cloud and not image:
        notes = (*notes, f"{cloud.place} names no base_image: the job's image is ours")
    return JobRequest(
        place=_place(cloud, parts, flags, folder),
        title=path.stem,
        words=tuple(words),
        files={path.name: path.read_text(encoding="utf-8")},
        inputs=tuple(one for one, _ in given if one is not None),
        target=target,
        image=image,
        conda=conda,
        vault=_vault(cloud, parts),
        tags={str(k): str(v) for k, v in (cloud.get("tags") or {}).items()} if cloud else {},
        notes=notes,
    )


def _place(cloud: Part | None, parts: Sequence[Part], flags: JobFlags, folder: Path) -> Place:
    client = _client(parts)
    values = {name: str(client.get(name, "")) for name in _WORKSPACE} if client else {}
    workspace = Workspace(**values) if values else None
    if flags.on is not None:
        return parse_place(flags.on, folder=folder, workspace=workspace)
    compute = cloud.get("aml_compute") if cloud else None
    if compute is None:
        where = cloud.place if cloud else "The system"
        raise UsageError(f"{where} is of the type AzureML and needs aml_compute; add it.")
    return Place(workspace=workspace or Workspace(), compute=str(compute))


def _client(parts: Sequence[Part]) -> Part | None:
    return next((part for part in parts if part.section is Section.CLIENT), None)


def _vault(cloud: Part | None, parts: Sequence[Part]) -> str:
    """Return the name of the key vault with the hub's token; empty where none is asked for."""
    if cloud is None or not cloud.get("hf_token"):
        return ""
    client = _client(parts)
    if client is None or not (name := client.get("keyvault_name")):
        raise UsageError(
            f"{cloud.place}.hf_token is a secret of a key vault; name it in"
            " azureml_client.keyvault_name, or set hf_token to false."
        )
    return str(name)


def _set(place: str, value: str) -> list[str]:
    """Return the words that give a field another value, whatever kind the old one is of."""
    return ["--set", f"{place}=null", "--set", f"{place}={value}"]


def _data_inputs(parts: Sequence[Part], folder: Path) -> Iterator[tuple[JobInput, list[str]]]:
    """Yield the rows that the job reads, each with the words that lead to it."""
    count = 0
    for part in parts:
        if part.section is not Section.DATA or not (path := _data_path(part, folder)):
            continue
        _check_workspace(part, parts)
        count += 1
        one = input_of("data" if count == 1 else f"data_{count}", path, is_model=False)
        yield one, _set(f"{part.place}.load_dataset_config.data_files", one.place)


def _data_path(part: Part, folder: Path) -> str:
    """Return the datastore's name of the rows, or their path here; empty for a hub data set."""
    if part.get("load.data_files.type"):
        store, path = (
            part.get(f"load.data_files.{name}") for name in ("datastore_name", "relative_path")
        )
        return f"azureml://datastores/{store}/paths/{path}"
    names: Sequence[str] = part.get("load.data_files", ())
    if not names:
        return ""
    if is_of_azure(names[0]):
        return names[0]
    found = looked_up(names[0], folder)
    if found is None:
        raise UsageError(
            f"{part.fields['load.data_files'].place} names {names[0]!r}, which is neither beside"
            " the configuration nor in the working directory."
        )
    return str(found)


def _model_inputs(
    parts: Sequence[Part], flag: str | None, folder: Path
) -> Iterator[tuple[JobInput | None, list[str]]]:
    """Yield the model that the job reads, if it is not the hub's, and the words for it."""
    if flag is not None:
        path = _model_path(flag, Path())
        one = input_of("model", path, is_model=True) if path else None
        yield one, ["--model", one.place if one else flag]
        return
    for part in parts:
        if part.section is not Section.MODEL:
            continue
        name = str(part.get("model_path", ""))
        if path := _model_uri(part) or _model_path(name, folder):
            one = input_of("model", path, is_model=True)
            yield one, _set(f"{part.place}.model_path", one.place)
        absent = [part.fields[name].place for name in _SCRIPTS if name in part.fields]
        yield None, [word for place in absent for word in ("--set", f"{place}=null")]


def _model_path(name: str, folder: Path) -> str:
    """Return a name of Azure ML's or a path here; empty for a name on the hub."""
    if not name or is_of_azure(name):
        return name
    found = looked_up(name, folder)
    return str(found) if found else ""


def _model_uri(part: Part) -> str:
    """Return the registry's name of a model that is given in a block; else nothing."""
    if not part.get("model_path.type"):
        return ""
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
    client = _client(parts)
    for name in _WORKSPACE:
        theirs = part.get(f"load.data_files.azureml_client.{name}")
        ours = client.get(name) if client else None
        is_gap = any(str(value).lower().startswith("your ") for value in (theirs, ours))
        if theirs and ours and theirs != ours and not is_gap:
            raise UsageError(
                f"The data of {part.place} is in {name} {theirs!r}, the job in {ours!r}; a job"
                " reads datastores of its own workspace."
            )


def _conda(cloud: Part | None, folder: Path) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return the environment of a system; None where it is ours, and why."""
    name = cloud.get("docker.conda_file_path") if cloud else None
    if name is None:
        return None, ()
    path = looked_up(name, folder)
    if path is None:
        return None, (f"{name} is not there: the job's environment is ours",)
    theirs = read_conda(path)
    if lacks := what_it_lacks(theirs):
        return None, (f"{name} lacks {lacks}: the job's environment is ours",)
    return theirs, ()
