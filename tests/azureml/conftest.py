"""A fake Azure on loopback where the SDK is installed; plain requests for the rest."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from autotune.azureml import JobRequest, Place, Workspace

from .authority import make_authority, resolver
from .service import HOSTS, FakeAzure


def has_sdk() -> bool:
    """Whether the extra 'azureml' is installed."""
    try:
        return bool(find_spec("azure.ai.ml") and find_spec("azure.identity"))
    except ModuleNotFoundError:
        return False


WORKSPACE = Workspace(subscription_id="0000", resource_group="group", workspace_name="space")


@pytest.fixture
def request_() -> JobRequest:
    """A small job: no inputs."""
    return JobRequest(
        place=Place(workspace=WORKSPACE, compute="cluster"),
        title="moods",
        words=("run", "olive.json", "--target", "cpu"),
        files={"olive.json": "{}"},
        target="cpu",
    )


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """The tests' own authority, and a server's side of TLS."""
    if not has_sdk():
        reason = "the SDK of Azure ML is not installed (extra 'azureml')"
        if os.environ.get("AUTOTUNE_REQUIRE_AZUREML") == "1":
            pytest.fail(f"{reason}; AUTOTUNE_REQUIRE_AZUREML asks for it")
        pytest.skip(reason)
    return make_authority(tmp_path_factory.mktemp("authority"), HOSTS)


@pytest.fixture
def azure(
    authority: tuple[Path, ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
    socket_enabled: None,
) -> Iterator[FakeAzure]:
    """The service at its own addresses, which lead to loopback; and a login for it."""
    del socket_enabled
    certificate, context = authority
    service = FakeAzure()
    with service.serving(context) as port:
        monkeypatch.setattr(socket, "getaddrinfo", resolver(HOSTS, port))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        for name, value in {"TENANT": "tenant", "CLIENT": "client"}.items():
            monkeypatch.setenv(f"AZURE_{name}_ID", value)
        monkeypatch.setenv("AZURE_CLIENT_SECRET", "swordfish")
        yield service
