"""Names by which Azure ML calls data and models, and what is wrong with one."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["is_of_azure", "problem_of_name"]

_ONE = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_WORKSPACE = rf"subscriptions/[^/]+/resource[gG]roups/[^/]+/workspaces/{_ONE}/"
# Short and long form of a datastore's, and those of a registry, a workspace and an asset.
# https://learn.microsoft.com/azure/machine-learning/reference-yaml-core-syntax
_FORMS: Mapping[str, re.Pattern[str]] = {
    "azureml://datastores/STORE/paths/PATH": re.compile(
        rf"azureml://({_WORKSPACE})?datastores/{_ONE}/paths/.+"
    ),
    "azureml://registries/REGISTRY/models/MODEL/versions/N": re.compile(
        rf"azureml://registries/{_ONE}/(models|data)/{_ONE}/(versions|labels)/{_ONE}"
    ),
    "azureml:NAME:VERSION": re.compile(rf"azureml:{_ONE}(:{_ONE}|@{_ONE})"),
}


def is_of_azure(name: str) -> bool:
    """Whether a name is one of Azure ML's, which only a job there can read.

    >>> is_of_azure("azureml://registries/azureml/models/phi/versions/1"), is_of_azure("azure/phi")
    (True, False)
    """
    return name.startswith("azureml:")


def problem_of_name(name: str) -> str:
    """Return what is wrong with a name of Azure ML's; empty where it has one of its forms.

    >>> problem_of_name("azureml://datastores/store/paths/moods/rows.jsonl")
    ''
    >>> problem_of_name("azureml://datastores/store/rows.jsonl")[:41]
    'names of Azure ML are azureml://datastore'
    """
    if any(form.fullmatch(name) for form in _FORMS.values()):
        return ""
    return f"names of Azure ML are {', '.join(_FORMS)}; got {name!r}"
