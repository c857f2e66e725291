"""The job's side: inputs by their names, the run handed over with its manifest, a token by name."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from autotune.azureml import COMMAND, REQUEST, job, model_inside
from autotune.azureml.manifest import MANIFEST, Manifest, file_digest
from autotune.config import RunConfig
from autotune.errors import UsageError
from autotune.plain import to_plain

from .authority import make_authority, resolver
from .conftest import has_sdk
from .service import LOGIN, Answer, FakeAzure, reply


@pytest.fixture(autouse=True)
def at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The job's working directory, with a result's folder beside it."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_command_that_fails_fails_the_job_and_hands_over_what_there_is(tmp_path: Path) -> None:
    result = tmp_path / "result"
    (result / "old").mkdir(parents=True)
    (result / MANIFEST).write_text("of an attempt before", encoding="utf-8")
    assert job.main(["--result", str(result), "--", "run", "absent.json"]) == 2
    manifest = Manifest.read((result / MANIFEST).read_bytes())
    assert (manifest.exit_code, manifest.files) == (2, {})


def test_a_run_is_handed_over_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The interpreter is the seam: a program that writes a run as autotune does, and ends as
    # one that found nothing feasible.
    program = tmp_path / "python"
    text = "import os, sys; sys.stdout.flush(); w = sys.argv[1:]\n"
    text += "open(f'{w[-1]}/place', 'w').write(os.environ['AUTOTUNE_PLACE']) if w[2] == 'resume'"
    text += " else open(w[-1], 'w').write('{}')\nsys.exit(w[2] == 'resume')\n"
    (tmp_path / "program.py").write_text(text, encoding="utf-8")
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path}/program.py "$@"\n', "utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setenv("AUTOTUNE_PLACE", "azureml:cluster")
    monkeypatch.setenv("AZUREML_RUN_ID", "autotune-1")
    rows, model = tmp_path / "INPUT_data", tmp_path / "INPUT_model"
    rows.write_text("{}\n", encoding="utf-8")
    (model / "11").mkdir(parents=True)
    _write_request({"data": "inputs/data/rows.jsonl", "model": "inputs/model/11"})
    inputs = (f"inputs/data/rows.jsonl={rows}", f"inputs/model/11={model}")
    words = ["--result", str(tmp_path / "result"), *(w for one in inputs for w in ("--input", one))]
    assert job.main([*words, "--", "resume", "run"]) == 0
    manifest = Manifest.read((tmp_path / "result" / MANIFEST).read_bytes())
    assert manifest.exit_code == 1
    assert set(manifest.files) == {
        *("run.json", COMMAND, "place", "hardware.json", "logs/hardware.log")
    }
    for name, file in manifest.files.items():
        path = tmp_path / "result" / name
        assert (path.stat().st_size, file_digest(path)) == (file.size, file.sha256)
    assert (tmp_path / "result" / "place").read_text("utf-8") == "azureml:cluster, job autotune-1"
    config = RunConfig.load(tmp_path / "result" / "run.json")
    assert Path(config.data).read_text("utf-8") == "{}\n"
    assert Path(config.model).is_absolute()
    assert Path(config.model).resolve() == model / "11"


def _write_request(changes: dict[str, str]) -> None:
    Path(REQUEST).write_text(json.dumps(to_plain(RunConfig()) | changes), encoding="utf-8")
    Path(COMMAND).write_text('["autotune"]', encoding="utf-8")


def test_a_model_of_the_catalogue_is_found_inside_its_folder(tmp_path: Path) -> None:
    inner = tmp_path / "mlflow_model_folder" / "data" / "model"
    inner.mkdir(parents=True)
    (tmp_path / "mlflow_model_folder" / "MLmodel").touch()
    with pytest.raises(UsageError, match="has none"):
        model_inside(tmp_path)
    for name in ("config.json", "tokenizer.json"):
        (inner / name).touch()
    assert model_inside(tmp_path) == model_inside(tmp_path / "mlflow_model_folder") == inner
    assert model_inside(inner) == inner


@pytest.mark.skipif(not has_sdk(), reason="azure-identity is not installed (extra 'azureml')")
@pytest.mark.usefixtures("socket_enabled")
def test_the_hubs_token_comes_from_the_key_vault_into_the_commands_environment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = (LOGIN, "vault.vault.azure.net")
    asked: list[tuple[str, str]] = []

    class Vault(FakeAzure):
        def answer(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Answer:
            if not url.startswith("vault."):
                return super().answer(method, url, headers, body)
            asked.append((url, headers["authorization"]))
            return reply({"value": "a token"})

    certificate, context = make_authority(tmp_path, hosts)
    service = Vault()
    with service.serving(context) as port:
        monkeypatch.setattr(socket, "getaddrinfo", resolver(hosts, port))
        for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, str(certificate))
        given = {"AUTOTUNE_KEYVAULT": "vault", "AUTOTUNE_PLACE": "azureml:cluster"}
        login = {"TENANT_ID": "tenant", "CLIENT_ID": "id", "CLIENT_SECRET": "secret"}
        for name, value in login.items():
            monkeypatch.setenv(f"AZURE_{name}", value)
        environment = job._environment(given)
    assert environment == given | {"HF_TOKEN": "a token"}
    assert "HF_TOKEN" not in os.environ
    url = "vault.vault.azure.net/secrets/hf-token?api-version=7.4"
    assert asked == [(url, f"Bearer {service.tokens[-1]}")]
