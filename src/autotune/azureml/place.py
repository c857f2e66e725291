"""Where a job runs: a compute of an Azure ML workspace, in the words of ``--on``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autotune.errors import UsageError

__all__ = ["Place", "Workspace", "find_workspace", "parse_place"]

_FORM = "azureml:COMPUTE, or azureml:SUBSCRIPTION/GROUP/WORKSPACE/COMPUTE"
# What the service allows as names, https://learn.microsoft.com/azure/azure-resource-manager/
# management/resource-name-rules (Microsoft.MachineLearningServices).
_COMPUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,31}")
_INSTANCE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
# Where the SDK looks for a workspace's file, and the studio's download has its name.
_FILES = ("config.json", ".azureml/config.json", "aml_config/config.json")


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """An Azure ML workspace; its fields are empty where a configuration leaves them out."""

    subscription_id: str = ""
    resource_group: str = ""
    workspace_name: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the fields that are not given."""
        return tuple(name for name, value in vars(self).items() if not value)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A compute of a workspace.

    Attributes:
        workspace: where it is.
        compute: name of a cluster, of an instance, or of an Arc-attached Kubernetes cluster.
        instance_type: of a Kubernetes cluster; empty is its default.
    """

    workspace: Workspace
    compute: str
    instance_type: str = ""

    def __str__(self) -> str:
        kind = f"@{self.instance_type}" if self.instance_type else ""
        return f"azureml:{self.compute}{kind}"


def parse_place(text: str, *, folder: Path, workspace: Workspace | None = None) -> Place:
    """Return the place that ``--on`` names.

    Args:
        text: ``azureml:COMPUTE`` or ``azureml:SUBSCRIPTION/GROUP/WORKSPACE/COMPUTE``, with
            ``@INSTANCE_TYPE`` behind for a Kubernetes cluster.
        folder: where the search for the workspace's ``config.json`` begins.
        workspace: of a short form, where a configuration names one.

    Raises:
        UsageError: another form, a name that no compute can have, or no workspace.
    """
    scheme, _, rest = text.partition(":")
    path, has_instance, instance_type = rest.partition("@")
    *spelled, compute = path.split("/")
    if scheme != "azureml" or len(spelled) not in (0, 3) or not all(spelled):
        raise UsageError(f"--on is {_FORM}, got {text!r}.")
    if not _COMPUTE.fullmatch(compute):
        raise UsageError(
            f"A compute's name has letters, digits and '-' (2 to 32, a letter first), got"
            f" {compute!r}; `az ml compute list` names yours."
        )
    if has_instance and not _INSTANCE.fullmatch(instance_type):
        raise UsageError(f"An instance type follows '@', got {instance_type!r}.")
    if spelled:
        subscription, group, name = spelled
        workspace = Workspace(
            subscription_id=subscription, resource_group=group, workspace_name=name
        )
    else:
        workspace = workspace or find_workspace(folder)
    return Place(workspace=workspace, compute=compute, instance_type=instance_type)


def find_workspace(folder: Path) -> Workspace:
    """Return the workspace of the nearest ``config.json``, in ``folder`` or above it.

    Raises:
        UsageError: there is none, or it does not name a workspace.
    """
    for path in _candidates(folder.absolute()):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError:
            continue
        except ValueError as error:
            raise UsageError(f"{str(path)!r} is no JSON document ({error}).") from None
        if not isinstance(content, dict) or "workspace_name" not in content:
            continue  # a model's config.json, for example
        workspace = Workspace(
            **{name: str(content.get(name, "")) for name in vars(Workspace())},
        )
        if workspace.missing:
            raise UsageError(f"{str(path)!r} lacks {', '.join(workspace.missing)}.")
        return workspace
    raise UsageError(
        "--on azureml:COMPUTE reads the workspace from config.json (the studio's 'Download"
        f" config file'), which is neither in {str(folder.absolute())!r} nor above; put it there,"
        " or spell the workspace out: azureml:SUBSCRIPTION/GROUP/WORKSPACE/COMPUTE."
    )


def _candidates(folder: Path) -> Iterator[Path]:
    for one in (folder, *folder.parents):
        yield from (one / name for name in _FILES)
