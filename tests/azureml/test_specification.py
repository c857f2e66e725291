"""The job before it leaves: places, names, the specification, its environment, and the wheel."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune import __version__
from autotune.azureml import (
    PACKAGES,
    JobInput,
    JobRequest,
    Workspace,
    check_specification,
    connect,
    our_conda,
    parse_place,
    problem_of_name,
    problems_of,
    specification,
    write_code,
    write_wheel,
)
from autotune.errors import UsageError

from .conftest import WORKSPACE, has_sdk

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONFIG = {"subscription_id": "s", "resource_group": "g", "workspace_name": "w"}


def test_a_place_is_a_compute_of_the_nearest_workspace_file(tmp_path: Path) -> None:
    below = tmp_path / "project" / "src"
    below.mkdir(parents=True)
    (below / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    (tmp_path / ".azureml").mkdir()
    (tmp_path / ".azureml" / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    place = parse_place("azureml:arc-box@gpu.large", folder=below)
    assert (place.compute, place.instance_type) == ("arc-box", "gpu.large")
    assert vars(place.workspace) == CONFIG
    assert str(place) == "azureml:arc-box@gpu.large"
    spelled = parse_place("azureml:a/b/c/cluster", folder=below)
    assert (spelled.workspace.subscription_id, spelled.workspace.workspace_name) == ("a", "c")


WRONG_PLACES = [
    ("cluster", "--on is azureml:COMPUTE"),
    ("azureml:a/b/cluster", "--on is azureml:COMPUTE"),
    ("azureml:a//c/cluster", "--on is azureml:COMPUTE"),
    ("azureml:s/g/w/my_cluster", "letters, digits and '-'"),
    ("azureml:s/g/w/cluster@", "instance type follows"),
    ("azureml:cluster", "reads the workspace from config.json"),
]


@pytest.mark.parametrize(("text", "message"), WRONG_PLACES)
def test_a_place_in_another_form_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        parse_place(text, folder=tmp_path)


def test_half_a_workspace_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"workspace_name": "w"}', encoding="utf-8")
    with pytest.raises(UsageError, match="lacks subscription_id, resource_group"):
        parse_place("azureml:cluster", folder=tmp_path)


NAMES = [
    ("azureml://datastores/store/paths/moods/rows.jsonl", True),
    ("azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/d/paths/p", True),
    ("azureml://registries/azureml-msr/models/Phi-3-mini-4k-instruct/versions/11", True),
    ("azureml://registries/azureml/models/phi/labels/latest", True),
    ("azureml:rows:3", True),
    ("azureml:rows@latest", True),
    ("azureml:rows", False),
    ("azureml://datastores/store/moods/rows.jsonl", False),
    ("azureml://datastores/store/paths/", False),
    ("azureml://registries/azureml/models/phi", False),
]


@pytest.mark.parametrize(("name", "is_right"), NAMES)
def test_names_of_azure_have_one_of_its_forms(name: str, is_right: bool) -> None:
    assert (problem_of_name(name) == "") is is_right


@pytest.fixture
def job(request_: JobRequest, tmp_path: Path) -> dict[str, Any]:
    """A job with a data set; its code folder is there, and empty."""
    rows = JobInput(name="data", kind="uri_file", path="azureml://datastores/s/paths/rows.jsonl")
    (tmp_path / "code").mkdir()
    asked = replace(request_, inputs=(rows,))
    return specification(asked, name="autotune-1", code=tmp_path / "code")


def test_a_job_installs_what_it_brings_and_reads_inputs_by_their_own_names(
    job: dict[str, Any], request_: JobRequest
) -> None:
    assert list(problems_of(job, WORKSPACE)) == []
    write_code(request_, Path(job["code"]))
    install, _, run = job["command"].partition(" && ")
    assert install.startswith("python -m pip install --quiet --no-deps --no-index")
    assert install.rpartition(" ")[2] in {path.name for path in Path(job["code"]).iterdir()}
    assert "--input 'inputs/data/rows.jsonl=${{inputs.data}}'" in run
    assert run.endswith("-- run olive.json --target cpu")
    assert job["environment_variables"] == {"AUTOTUNE_PLACE": "azureml:cluster"}
    assert job["outputs"]["run"]["path"].endswith("/azureml/autotune-1/run/")


LET_THROUGH = [
    ({"compute": "azureml:"}, "a compute is azureml:NAME"),
    ({"command": " "}, "it has no command"),
    ({"environment": {"conda_file": {}}}, "no docker image"),
    ({"name": "a b"}, "a job's name has"),
    ({"code": "elsewhere"}, "its code folder 'elsewhere' is not there"),
    ({"inputs": {}}, r"names \$\{\{inputs.data\}\}, which it does not have"),
    ({"command": "echo ${{outputs.run}}"}, "does not use inputs.data"),
    ({"inputs": {"data": {"path": "azureml://what"}}}, "input data is not to be found"),
    ({"inputs": {"data": {"path": "rows.jsonl"}}}, "input data is not here: 'rows.jsonl'"),
    ({"environment_variables": {"HF_TOKEN": "x"}}, "HF_TOKEN looks like a secret"),
    ({"environment_variables": {"A": "hf_abcdefghijklmnop"}}, "variable A looks like a secret"),
]


@pytest.mark.parametrize(("changes", "message"), LET_THROUGH)
def test_what_the_sdk_lets_through_is_refused_here(
    changes: dict[str, Any], message: str, job: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match=message):
        check_specification(job | changes, WORKSPACE)


def test_a_job_needs_a_whole_workspace(job: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="the workspace lacks resource_group, workspace_name"):
        check_specification(job, Workspace(subscription_id="s"))


@pytest.mark.skipif(not has_sdk(), reason="the SDK of Azure ML is not installed (azureml)")
@pytest.mark.filterwarnings("ignore")
def test_the_sdk_takes_the_specification_and_gives_it_back(
    job: dict[str, Any], tmp_path: Path
) -> None:
    from azure.ai.ml import load_job  # noqa: PLC0415 - the extra

    first, second = tmp_path / "job.json", tmp_path / "job.yml"
    first.write_text(json.dumps(job), encoding="utf-8")
    service = connect(WORKSPACE)
    service.validate(first)
    loaded: Any = load_job(first)
    loaded._to_job().dump(second)
    again: Any = load_job(second)
    assert again.compute == job["compute"].removeprefix("azureml:")
    for name in ("name", "command", "environment_variables", "display_name"):
        assert getattr(again, name) == getattr(loaded, name) == job[name]
    assert again.environment.image == job["environment"]["image"]
    assert again.environment.conda_file == job["environment"]["conda_file"]
    assert again.inputs["data"].path == job["inputs"]["data"]["path"]
    assert again.outputs["run"].path == job["outputs"]["run"]["path"]
    for wrong in (
        {"colour": "x"},
        {"inputs": {"data": {"type": "nonsense", "path": "azureml:a:1"}}},
    ):
        first.write_text(json.dumps(job | wrong), encoding="utf-8")
        with pytest.raises(UsageError, match="The SDK of Azure ML refuses the job"):
            service.validate(first)


def test_an_environment_holds_what_the_project_declares_for_its_target() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    for target, other in (("cuda", "cpu"), ("cpu", "cuda")):
        python, pip = our_conda(target)["dependencies"][0], our_conda(target)["dependencies"][2]
        names = {text.split(";")[0] for text in pip["pip"]}
        assert python == "python=3.11"
        (genai,) = (one for one in extras[target] if "genai" in one)
        (others,) = (one for one in extras[other] if "genai" in one)
        assert genai in names
        assert others not in names
        assert any(one.startswith("torch>=") for one in names)
        assert not any(one.startswith(("pytest", "azure", "autotune")) for one in names)
    assert our_conda("cpu", with_identity=True)["dependencies"][2]["pip"][-1].startswith(
        "azure-identity"
    )


def test_the_wheel_is_this_autotune_whole_and_the_same_every_time(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    wheel, again = write_wheel(tmp_path), write_wheel(tmp_path / "again")
    assert wheel.read_bytes() == again.read_bytes()
    names = set(zipfile.ZipFile(wheel).namelist())
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert {f"{name.replace('.', '/')}/__init__.py" for name in listed} <= names
    assert {f"autotune.{name}" if name else "autotune" for name in PACKAGES} == set(
        PROJECT["tool"]["setuptools"]["package-dir"]
    )
    assert any(name.endswith(".jsonl") for name in names)
    assert not any("__pycache__" in name for name in names)


def test_pip_installs_the_wheel_and_it_runs_from_there(tmp_path: Path) -> None:
    wheel, place = write_wheel(tmp_path), tmp_path / "installed"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    done = subprocess.run(
        [*install, "--disable-pip-version-check", "--target", str(place), str(wheel)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    code = (
        f"import sys; sys.path.insert(0, {str(place)!r}); import autotune.targets as t;"
        " from importlib.metadata import version; print(t.__file__, version('autotune-slm'))"
    )
    found = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == [
        str(place / "autotune" / "targets" / "__init__.py"),
        __version__,
    ]
