"""Azure ML as far as a job needs it, on loopback: what the SDK asks, over TLS.

Written from what azure-ai-ml 1.35 and azure-identity 1.27 send: login, workspace, code,
environment, datastores, blobs, jobs and run history. A test says how a job goes on, and which
request is answered badly.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

__all__ = ["HOSTS", "Answer", "FakeAzure", "FakeJob", "Fault", "drop", "reply"]

LOGIN, ARM = "login.microsoftonline.com", "management.azure.com"
HISTORY, BLOBS = "eastus.api.azureml.ms", "account.blob.core.windows.net"
HOSTS = (LOGIN, ARM, HISTORY, BLOBS)
SCOPE = "/subscriptions/0000/resourceGroups/group/providers"
WORKSPACE = f"{SCOPE}/Microsoft.MachineLearningServices/workspaces/space"
_DATED = {"ETag": '"1"', "Last-Modified": "Thu, 26 Nov 2026 00:00:00 GMT"}
_STORES = {"workspaceblobstore": "blobs", "workspaceartifactstore": "artifacts"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer: what is said, or how the connection ends."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    is_dropped: bool = False
    cut_at: int | None = None


@dataclass(kw_only=True)
class Fault:
    """Answers requests that match, so many times, instead of the service."""

    method: str
    path: str
    answer: Answer
    times: int = 1

    def takes(self, method: str, path: str) -> bool:
        if self.times < 1 or method != self.method or not re.search(self.path, path):
            return False
        self.times -= 1
        return True


def reply(content: Any, status: int = 200, **headers: str) -> Answer:
    """Return a JSON answer."""
    kind = {"Content-Type": "application/json"}
    return Answer(status=status, body=json.dumps(content).encode(), headers=kind | headers)


def drop() -> Answer:
    """Return no answer: the connection is closed."""
    return Answer(is_dropped=True)


def _error(status: int, code: str, message: str) -> Answer:
    return reply({"error": {"code": code, "message": message}}, status)


@dataclass(kw_only=True)
class FakeJob:
    """A job: what was asked for, and how it goes on; the last status stays."""

    name: str
    asked: dict[str, Any]
    statuses: list[str]
    was_cancelled: bool = False
    has_ended: bool = False

    @property
    def status(self) -> str:
        return "Canceled" if self.was_cancelled else self.statuses[0]


@dataclass(kw_only=True)
class FakeAzure:
    """The service.

    Attributes:
        script: statuses of the next jobs, one more at every look.
        on_end: fills in what a job leaves, when it ends.
        token_life_s: of the tokens that are handed out, in the client's eyes.
        faults: requests that are answered badly.
    """

    script: list[str] = field(default_factory=lambda: ["Queued", "Running", "Completed"])
    on_end: Callable[[FakeAzure, FakeJob], None] = lambda _service, _job: None
    on_look: Callable[[FakeAzure, FakeJob], None] = lambda _service, _job: None
    token_life_s: int = 3600
    reason: str = ""
    faults: list[Fault] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    jobs: dict[str, FakeJob] = field(default_factory=dict)
    environments: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    revoked: set[str] = field(default_factory=set)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def asked(self, method: str, pattern: str) -> int:
        """Return how often such a request came."""
        return sum(m == method and bool(re.search(pattern, p)) for m, p in self.requests)

    def answer(  # noqa: PLR0911 - a table of what is answered
        self, method: str, url: str, headers: dict[str, str], body: bytes
    ) -> Answer:
        """Return the answer to a request; ``url`` begins with the host."""
        self.requests.append((method, url))
        for fault in self.faults:
            if fault.takes(method, url):
                return fault.answer
        host, _, rest = url.partition("/")
        parts = urlsplit(f"/{rest}")
        if host == LOGIN:
            return self._login(parts.path)
        if host == BLOBS:
            query = {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
            if not ("authorization" in headers or "sig" in query):
                return Answer(status=403, headers={"x-ms-error-code": "NoAuthentication"})
            return self._blob(method, unquote(parts.path), query, headers, body)
        if host == HISTORY and parts.path == "/discovery":  # asked without a login
            return reply(dict.fromkeys(("api", "history"), f"https://{HISTORY}"))
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.tokens or token in self.revoked:
            return _error(401, "ExpiredAuthenticationToken", "The access token has expired.")
        if host == HISTORY:
            return self._history(parts.path)
        return self._workspace(method, parts.path, json.loads(body or b"{}"))

    def _login(self, path: str) -> Answer:
        base = f"https://{LOGIN}/tenant"
        if not path.endswith("/token"):
            return reply(
                {
                    "issuer": f"{base}/v2.0",
                    "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{base}/oauth2/v2.0/token",
                }
            )
        self.tokens.append(secrets.token_hex(16))
        return reply(
            {
                "token_type": "Bearer",
                "expires_in": self.token_life_s,
                "access_token": self.tokens[-1],
            }
        )

    def _workspace(  # noqa: PLR0911 - same
        self, method: str, path: str, content: dict[str, Any]
    ) -> Answer:
        kind, _, name = path.removeprefix(WORKSPACE).strip("/").partition("/")
        whole = {"id": path, "name": name.rpartition("/")[2]} | content
        if path == WORKSPACE:
            found = {"discoveryUrl": f"https://{HISTORY}/discovery", "workspaceId": "w"}
            return reply({"id": path, "name": "space", "location": "eastus", "properties": found})
        if kind == "datastores":
            return self._datastore(name)
        if kind == "jobs":
            return self._job(method, name, whole)
        if kind == "codes" and name.endswith("/startPendingUpload"):
            uri = f"https://{BLOBS}/code-{name.partition('/')[0]}"
            sas = {"credentialType": "SAS", "sasUri": f"{uri}?sig=s&se=2030"}
            place = {"blobUri": uri, "storageAccountArmId": "a", "credential": sas}
            return reply({"blobReferenceForConsumption": place})
        if kind == "codes" and method == "GET":
            return reply({"value": []})
        if kind in ("codes", "environments") and method == "PUT":
            if kind == "environments":
                self.environments.append(content["properties"])
            return reply(whole, 201)
        return _error(404, "NotFound", f"nothing at {path}")

    def _datastore(self, name: str) -> Answer:
        if name.endswith("/listSecrets"):
            return reply({"secretsType": "Sas", "sasToken": "sig=s&se=2030"})
        if name not in _STORES:
            return _error(404, "NotFound", f"no datastore {name}")
        store = {
            "datastoreType": "AzureBlob",
            "accountName": BLOBS.partition(".")[0],
            "containerName": _STORES[name],
            "endpoint": "core.windows.net",
            "protocol": "https",
            "credentials": {"credentialsType": "Sas"},
        }
        path = f"{WORKSPACE}/datastores/{name}"
        return reply({"id": path, "name": name, "properties": store})

    def _job(self, method: str, name: str, whole: dict[str, Any]) -> Answer:
        if name.endswith("/cancel"):
            self.jobs[name.removesuffix("/cancel")].was_cancelled = True
            return Answer(status=200)
        if method == "PUT":
            self.jobs.setdefault(
                name, FakeJob(name=name, asked=whole["properties"], statuses=[*self.script])
            )
        job = self.jobs.get(name)
        if job is None:
            return _error(404, "NotFound", f"no job {name}")
        if method == "GET":
            self.on_look(self, job)
            if len(job.statuses) > 1:
                job.statuses.pop(0)
        if job.status in ("Completed", "Failed", "Canceled") and not job.has_ended:
            job.has_ended = True
            self.on_end(self, job)
        studio = {"endpoint": f"https://ml.azure.com/runs/{name}", "jobServiceType": "Studio"}
        told = job.asked | {"status": job.status, "services": {"Studio": studio}}
        body = {"id": f"{WORKSPACE}/jobs/{name}", "name": name, "properties": told}
        return reply(body, 201 if method == "PUT" else 200)

    def _history(self, path: str) -> Answer:
        name = path.split("/")[-2]
        job = self.jobs[name]
        error = {"error": {"code": "UserError", "message": self.reason}}
        return reply({"runId": name, "status": job.status, "error": error, "logFiles": {}})

    def _blob(  # noqa: PLR0911 - same
        self,
        method: str,
        path: str,
        query: dict[str, str],
        headers: dict[str, str],
        body: bytes,
    ) -> Answer:
        name = path.strip("/")
        if query.get("comp") == "list":
            return self._listing(name, query.get("prefix", ""))
        if method == "PUT" and query.get("comp") == "metadata":
            prefix = "x-ms-meta-"
            self.metadata[name] = {
                k.removeprefix(prefix): v for k, v in headers.items() if k.startswith(prefix)
            }
            return Answer(status=200, headers=_DATED)
        if method == "PUT":
            self.blobs[name] = body
            return Answer(status=201, headers=_DATED)
        if name not in self.blobs:
            return Answer(status=404, headers={"x-ms-error-code": "BlobNotFound"})
        content, facts = self.blobs[name], {"x-ms-blob-type": "BlockBlob", **_DATED}
        facts |= {f"x-ms-meta-{k}": v for k, v in self.metadata.get(name, {}).items()}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("x-ms-range", ""))
        if method == "HEAD" or asked is None:
            return Answer(body=content, headers=facts)
        first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        if first >= len(content):
            return Answer(status=416, headers={"x-ms-error-code": "InvalidRange"})
        facts["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return Answer(status=206, body=content[first : last + 1], headers=facts)

    def _listing(self, container: str, prefix: str) -> Answer:
        start = f"{container}/"
        found = "".join(
            f"<Blob><Name>{escape(name.removeprefix(start))}</Name><Properties>"
            f"<Content-Length>{len(content)}</Content-Length><BlobType>BlockBlob</BlobType>"
            "</Properties></Blob>"
            for name, content in sorted(self.blobs.items())
            if name.startswith(start + prefix)
        )
        text = f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>{found}</Blobs>'
        kind = {"Content-Type": "application/xml"}
        return Answer(body=f"{text}<NextMarker/></EnumerationResults>".encode(), headers=kind)

    @contextmanager
    def serving(self, context: Any) -> Iterator[int]:
        """Listen on loopback, over TLS; gives the port."""
        server = _Server(("127.0.0.1", 0), _handler(self))
        # The handshake is the handler's: in accept(), one slow client would stop all others.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients go away in these tests."""


def _handler(service: FakeAzure) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20
        wbufsize = -1  # headers and body in one packet: no waiting for an acknowledgement

        def setup(self) -> None:
            self.request.settimeout(self.timeout)
            self.request.do_handshake()
            super().setup()

        def _go(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = service.answer(self.command, headers["host"] + self.path, headers, body)
            if answer.is_dropped:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[: answer.cut_at])
            self.wfile.flush()
            if answer.cut_at is not None:
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_HEAD = _go  # noqa: N815 - names that the base looks for

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
