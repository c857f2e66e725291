"""The workspace, through the SDK of Azure ML: the only file that speaks to it.

Credentials are azure-identity's: ``DefaultAzureCredential`` finds a login and renews its tokens,
and nothing of it is written. The SDK's own telemetry is off.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.errors import ServiceError, UsageError

from .names import is_of_azure
from .place import Workspace
from .storage import BlobFolder

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

__all__ = ["JobState", "Service", "connect", "require_sdk"]

# Tries of one request, with pauses between them or what Retry-After says.
_TRIES, _LONGEST_PAUSE_S = 4, 30
_ENDED = {"Completed": "completed", "Failed": "failed", "Canceled": "canceled"}
_STOPPED = ("NotResponding", "Paused")
_ARTIFACTS = "azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{name}/"
_BUSY, _REFUSALS = 429, (400, 500)
_LONGEST_REASON = 400


@dataclass(frozen=True, kw_only=True)
class JobState:
    """A job as the service tells of it.

    Attributes:
        status: in the service's words: ``Queued``, ``Running``, ...
        end: ``completed``, ``failed`` or ``canceled``; empty while it goes on.
        studio_url: its page.
    """

    status: str
    end: str
    studio_url: str


def require_sdk() -> None:
    """Check that the extra is installed.

    Raises:
        UsageError: it is not.
    """
    from importlib.util import find_spec  # noqa: PLC0415 - startup time

    try:
        is_there = find_spec("azure.ai.ml") and find_spec("azure.identity")
    except ModuleNotFoundError:  # nothing below "azure"
        is_there = None
    if not is_there:
        raise UsageError(
            "Jobs of Azure ML need its SDK, which is not installed;"
            ' pip install "autotune-slm[azureml]".'
        )


def connect(workspace: Workspace, *, credential: TokenCredential | None = None) -> Service:
    """Return the workspace; nothing is asked of it yet.

    Args:
        workspace: which.
        credential: None finds a login as azure-identity does.

    Raises:
        UsageError: the SDK is not installed.
    """
    require_sdk()
    with _quiet():
        from azure.ai.ml import MLClient  # noqa: PLC0415 - the extra, and a second of import
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - same

    # Its notes about experimental classes are no news to a user of autotune.
    logging.getLogger("azure").setLevel(logging.ERROR)
    logging.getLogger("msrest").setLevel(logging.ERROR)
    credential = credential or DefaultAzureCredential()
    client = MLClient(
        credential,
        workspace.subscription_id,
        workspace.resource_group,
        workspace.workspace_name,
        enable_telemetry=False,
        show_progress=False,
        retry_total=_TRIES - 1,
        retry_backoff_max=_LONGEST_PAUSE_S,
    )
    return Service(client=client, credential=credential)


@contextmanager
def _answering(what: str) -> Iterator[None]:
    """Turn errors of the SDK into ours.

    Raises:
        ServiceError: of the kind ``login``, ``lost`` (worth another try), ``absent`` or
            ``refused``.
    """
    from azure.ai.ml.exceptions import MlException  # noqa: PLC0415 - the extra
    from azure.core.exceptions import (  # noqa: PLC0415 - the extra
        AzureError,
        ClientAuthenticationError,
        HttpResponseError,
        ResourceNotFoundError,
        ServiceRequestError,
        ServiceResponseError,
    )
    from marshmallow import ValidationError  # noqa: PLC0415 - the extra's own

    try:
        yield
    except ClientAuthenticationError as error:
        raise ServiceError(
            f"{what} needs a login that azure-identity finds (az login, or AZURE_CLIENT_ID and"
            f" its companions): {_short(error)}",
            kind="login",
        ) from error
    except ResourceNotFoundError as error:
        raise ServiceError(
            f"{what}: there is no such thing: {_short(error)}", kind="absent"
        ) from error
    except (ServiceRequestError, ServiceResponseError) as error:
        raise ServiceError(f"{what}: no answer: {_short(error)}", kind="lost") from error
    except HttpResponseError as error:
        status = error.status_code or 0
        # The server's side, or an answer that was cut off.
        is_lost = status == _BUSY or not _REFUSALS[0] <= status < _REFUSALS[1]
        raise ServiceError(
            f"{what}: Azure ML says {status}: {_short(error)}",
            kind="lost" if is_lost else "refused",
        ) from error
    except ValidationError as error:
        raise UsageError(f"The SDK of Azure ML refuses the job: {_short(error)}") from error
    except (MlException, AzureError) as error:
        raise ServiceError(f"{what}: {_short(error)}", kind="refused") from error


def _short(error: Exception) -> str:
    text = " ".join(str(getattr(error, "message", "") or error).split())
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 3]}..."


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the SDK prints off the terminal; autotune says what is worth a line."""
    with (
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of its own use of its libraries
        yield


@dataclass(frozen=True, kw_only=True)
class Service:
    """A workspace of Azure ML."""

    client: Any
    credential: Any

    def validate(self, path: Path) -> None:
        """Have the SDK read and validate the specification in ``path``; asks nobody.

        Raises:
            UsageError: what it finds.
        """
        from azure.ai.ml import load_job  # noqa: PLC0415 - the extra

        with _answering("Reading the job"), _quiet():
            result = self.client.jobs.validate(load_job(path))
        if not result.passed:
            problems = "; ".join(f"{at}: {text}" for at, text in result.error_messages.items())
            raise UsageError(f"The SDK of Azure ML refuses the job: {problems}")

    def submit(self, path: Path) -> JobState:
        """Upload what the job takes along and submit it; the same name is the same job.

        Raises:
            UsageError: the SDK refuses the specification.
            ServiceError: the service does, or does not answer.
        """
        from azure.ai.ml import load_job  # noqa: PLC0415 - the extra

        with _answering("Submitting"), _quiet():
            return _state(self.client.jobs.create_or_update(load_job(path)))

    def state(self, name: str) -> JobState:
        """Return how the job is doing.

        Raises:
            ServiceError: no such job (``absent``), or no answer (``lost``).
        """
        with _answering(f"Asking for the job {name}"), _quiet():
            return _state(self.client.jobs.get(name))

    def cancel(self, name: str) -> None:
        """Ask the service to end a job.

        Raises:
            ServiceError: as ``state``.
        """
        with _answering(f"Cancelling the job {name}"), _quiet():
            self.client.jobs.begin_cancel(name)

    def reason(self, name: str) -> str:
        """Return why a job failed, in the service's words; empty where it does not say."""
        from azure.ai.ml.exceptions import JobException  # noqa: PLC0415 - the extra

        try:
            with _quiet():
                # Of an ended job this reads its record and raises what stands there.
                self.client.jobs.stream(name)
        except JobException as error:
            return _short(error)
        except Exception:  # noqa: BLE001 - a reason is welcome, and its absence no failure
            return ""
        return ""

    def folder(self, uri: str) -> BlobFolder:
        """Return the files below an ``azureml://datastores/STORE/paths/PATH``.

        Raises:
            ServiceError: as ``state``.
        """
        from azure.storage.blob import ContainerClient  # noqa: PLC0415 - the extra

        if not is_of_azure(uri):
            raise ValueError(f"a datastore's path is of Azure ML, got {uri!r}")
        _, _, rest = uri.partition("datastores/")
        store, _, path = rest.partition("/paths/")
        with _answering(f"Asking for the datastore {store}"), _quiet():
            found = self.client.datastores.get(store, include_secrets=True)
        # Keys are only held while this object lives; a store without one takes the login.
        secrets = found.credentials
        key = getattr(secrets, "sas_token", None) or getattr(secrets, "account_key", None)
        container = ContainerClient(
            f"{found.protocol}://{found.account_name}.blob.{found.endpoint}",
            found.container_name,
            credential=key or self.credential,
            retry_total=_TRIES - 1,
            max_single_get_size=4 << 20,
            max_chunk_get_size=4 << 20,
        )
        return BlobFolder(container=container, prefix=path, answering=_answering)

    def logs(self, name: str) -> BlobFolder:
        """Return the folder with what a job and its runtime log.

        Raises:
            ServiceError: as ``state``.
        """
        return self.folder(_ARTIFACTS.format(name=name))


def _state(job: Any) -> JobState:
    status = str(getattr(job.status, "value", job.status))
    end = _ENDED.get(status, "failed" if status in _STOPPED else "")
    return JobState(status=status, end=end, studio_url=str(job.studio_url or ""))
