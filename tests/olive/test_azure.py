"""Configurations for Azure ML: gaps, the job's specification, its environment, no secrets."""

from __future__ import annotations

import copy
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from autotune.azureml import specification
from autotune.configured import run_configuration
from autotune.errors import UsageError
from autotune.olive import OlivePlan, OliveRequest, read_olive

from .conftest import NEW, Read, Write

AZURE: dict[str, Any] = copy.deepcopy(NEW) | {
    "azureml_client": {
        "subscription_id": "0000",
        "resource_group": "group",
        "workspace_name": "space",
        "keyvault_name": "vault",
    },
    "systems": {
        "cloud": {
            "type": "AzureML",
            "config": {
                "accelerators": ["gpu"],
                "hf_token": True,
                "aml_compute": "cluster",
                "aml_docker_config": {
                    "base_image": "registry/image:1",
                    "conda_file_path": "conda.yaml",
                },
            },
        }
    },
    "host": "cloud",
    "target": "cloud",
}
AZURE["data_configs"][0]["load_dataset_config"]["data_files"] = {
    "type": "azureml_datastore",
    "config": {
        "azureml_client": {"subscription_id": "0000", "workspace_name": "space"},
        "datastore_name": "store",
        "relative_path": "moods/rows.jsonl",
    },
}
AZURE["input_model"]["model_path"] = {
    "type": "azureml_registry_model",
    "config": {"name": "owner/some-model", "registry_name": "registry", "version": "11"},
}


def _job(plan: OlivePlan) -> dict[str, Any]:
    assert plan.job is not None
    return specification(plan.job, name="job", code=Path("code"))


def _sets(job: dict[str, Any]) -> list[str]:
    words = shlex.split(job["command"].partition("&&")[2])
    return [words[i + 1] for i, word in enumerate(words) if word == "--set"]


def test_a_job_is_specified_with_names_alone(read: Read, tmp_path: Path) -> None:
    plan = read(AZURE, "passes.tune.r=8")
    job = _job(plan)
    assert plan.job is not None
    assert (plan.gaps, plan.config) == ((), None)
    assert plan.job.place.workspace.workspace_name == "space"
    assert job["compute"] == "azureml:cluster"
    assert job["environment"]["image"] == "registry/image:1"
    assert job["inputs"]["data"]["path"] == "azureml://datastores/store/paths/moods/rows.jsonl"
    assert job["inputs"]["model"]["path"] == (
        "azureml://registries/registry/models/some-model/versions/11"
    )
    assert job["environment_variables"]["AUTOTUNE_KEYVAULT"] == "vault"
    assert plan.job.words[:4] == ("run", "olive.json", "--target", "cuda")
    assert "passes.tune.r=8" in _sets(job)
    assert json.loads(plan.job.files["olive.json"]) == AZURE
    # The job's own command understands its file: what lies in Azure is replaced by inputs.
    for place in ("inputs/data/rows.jsonl", "inputs/model/11"):
        assert f"--input '{place}=${{{{inputs.{place.split('/')[1]}}}}}'" in job["command"]
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).touch()
    inside = read(AZURE, *_sets(job), target="cuda")
    assert inside.config is not None
    assert inside.config.data == str(tmp_path / "inputs/data/rows.jsonl")
    assert inside.config.model == str(tmp_path / "inputs/model/11")


def test_a_configuration_for_this_machine_runs_there_with_what_lies_here(
    read: Read, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    plan = read(NEW, on="azureml:sub/group/space/cluster@gpu", target="cuda")
    job = _job(plan)
    assert (job["compute"], job["resources"]) == ("azureml:cluster", {"instance_type": "gpu"})
    paths = {name: (one["type"], one["path"]) for name, one in job["inputs"].items()}
    assert paths == {
        "data": ("uri_file", str(tmp_path / "rows.jsonl")),
        "model": ("uri_folder", str(tmp_path / "model")),
    }
    by_system = read(NEW, on="azureml:sub/group/space/cluster")
    assert by_system.job is not None
    assert by_system.job.target == "cpu"
    client = {"azureml_client": AZURE["azureml_client"]}
    by_client = read(NEW | client, on="azureml:cluster")
    assert by_client.job is not None
    assert by_client.job.place.workspace.resource_group == "group"
    with pytest.raises(UsageError, match="the runtime for cpu or cuda"):
        read(NEW, on="azureml:sub/group/space/cluster", target="directml")


def test_a_model_flag_is_an_input_where_it_is_no_name_of_a_hub(read: Read, tmp_path: Path) -> None:
    (tmp_path / "tuned").mkdir()
    on = "azureml:sub/group/space/cluster"
    here = _job(read(NEW, on=on, model=str(tmp_path / "tuned")))
    assert here["inputs"]["model"]["path"] == str(tmp_path / "tuned")
    assert "--model inputs/model/tuned" in here["command"]
    hub = _job(read(NEW, on=on, model="owner/name"))
    assert "model" not in hub["inputs"]
    assert "--model owner/name" in hub["command"]


def test_names_of_azure_may_stand_for_files_and_models(read: Read) -> None:
    model = "azureml://registries/registry/models/some-model/versions/11"
    rows = "azureml://datastores/store/paths/rows.jsonl"
    sets = (
        *("input_model.model_path=null", f"input_model.model_path={model}"),
        *("data_configs.moods.load.data_files=null", f"data_configs.moods.load.data_files={rows}"),
    )
    inputs = _job(read(AZURE, *sets))["inputs"]
    assert (inputs["model"]["path"], inputs["data"]["path"]) == (model, rows)
    with pytest.raises(UsageError, match="lies in Azure ML"):
        read(NEW, sets[1])
    with pytest.raises(UsageError, match="lies in a datastore of Azure ML"):
        read(NEW, sets[3])


CONDA = [
    ({"dependencies": ["python=3.8.13", {"pip": ["torch"]}]}, "Python 3.11 or later .*3.8.13"),
    ({"dependencies": ["python=3.12", {"pip": ["torch"]}]}, "conda.yaml lacks autotune-slm"),
    ({"dependencies": ["python=3.11", {"pip": ["autotune-slm==0.1"]}]}, ""),
]


@pytest.mark.parametrize(("content", "said"), CONDA)
def test_an_environment_in_which_we_do_not_run_is_replaced(
    content: dict[str, Any], said: str, read: Read, tmp_path: Path
) -> None:
    (tmp_path / "conda.yaml").write_text(json.dumps(content), encoding="utf-8")
    plan = read(AZURE)
    conda = _job(plan)["environment"]["conda_file"]
    if said:
        (note,) = plan.notes
        assert pytest.importorskip("re").search(said, note)
        assert "python=3.11" in conda["dependencies"]
    else:
        assert (plan.notes, conda) == ((), content)


def test_gaps_are_listed_dry_and_stop_a_run(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    request = OliveRequest(
        path=write(AZURE),
        sets=(
            "azureml_client.resource_group=Your Azure Resource Group",
            "systems.cloud.aml_compute=Your Azure Compute",
        ),
    )
    assert run_configuration(request, output=None, dry_run=True, as_json=False) == 0
    said = capsys.readouterr()
    assert "Open     azureml_client.resource_group: still says 'Your Azure Res" in said.err
    assert "Open     systems.cloud.aml_compute: still says" in said.err
    assert json.loads(said.out)["type"] == "command"
    with pytest.raises(UsageError, match=r"is not complete.*and 1 more"):
        run_configuration(request, output=None, dry_run=False, as_json=False)


def test_what_is_no_azure_field_has_no_gaps(read: Read) -> None:
    template = "Your line: {line}\nYour mood:\n{mood}"
    assert read(NEW, f"data_configs.moods.pre_process.text_template={template}").open_points == ()


def test_a_token_in_a_file_is_refused_and_never_shown(read: Read) -> None:
    for document, path in (
        (AZURE, "systems.cloud.hf_token"),
        (NEW, "input_model.load_kwargs.token"),
    ):
        plan = read(document, f"{path}=hf_SECRET")
        assert [said.place for said in plan.refused] == [path]
        assert "SECRET" not in repr(plan.account)
        assert "SECRET" not in repr(plan.job)


WRONG = [
    ("azureml_client.keyvault_name=null", "a secret of a key vault"),
    ("systems.cloud.aml_compute=null", "needs aml_compute"),
    (
        "data_configs.moods.load.data_files.azureml_client.workspace_name=elsewhere",
        "workspace_name 'elsewhere', the job in 'space'",
    ),
    ("input_model.model_path.version=null", "needs name and version"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_job_that_azure_would_refuse_is_refused_here(text: str, message: str, read: Read) -> None:
    with pytest.raises(UsageError, match=message):
        read(AZURE, text)


def test_running_here_needs_data_that_is_here(read: Read) -> None:
    with pytest.raises(UsageError, match="lies in a datastore of Azure ML"):
        read(AZURE, target="cpu", model="owner/name")


@pytest.mark.parametrize("name", ["lora", "qlora"])
def test_the_tutorials_azure_files_give_jobs(name: str, cookbook: Path) -> None:
    plan = read_olive(
        OliveRequest(path=cookbook / "docs-configs" / f"olive-config-{name}-azureml.json")
    )
    assert [gap.written for gap in plan.gaps][:2] == [
        "Your Azure Subscription ID",
        "Your Azure Resource Group",
    ]
    conda = _job(plan)["environment"]["conda_file"]
    assert conda["dependencies"][0] == "python=3.11"
    assert len(plan.gaps) == 9


def test_the_blocks_of_the_tutorials_text_give_a_job(cookbook: Path, tmp_path: Path) -> None:
    names = ("input-model-azureml-registry", "systems-azureml", "data-azureml", "engine-azureml")
    blocks = [
        (cookbook / "tutorial" / f"{name}.fragment.json").read_text("utf-8") for name in names
    ]
    passes = [
        (cookbook / "tutorial" / f"{name}.fragment.json").read_text("utf-8")
        for name in ("pass-qlora", "passes-merge-and-build")
    ]
    joined = ",".join(block.strip().rstrip(",") for block in blocks)
    inner = ",".join(block.strip().rstrip(",") for block in passes)
    path = tmp_path / "olive.json"
    path.write_text(f'{{{joined}, "passes": {{{inner}}}}}', encoding="utf-8")
    (tmp_path / "conda.yaml").write_text(
        (cookbook / "tutorial" / "conda.yaml").read_text("utf-8"), encoding="utf-8"
    )
    with pytest.raises(UsageError, match="a secret of a key vault"):
        read_olive(OliveRequest(path=path))
    plan = read_olive(OliveRequest(path=path, sets=("azureml_client.keyvault_name=vault",)))
    assert _job(plan)["inputs"]["model"]["path"] == (
        "azureml://registries/azureml-msr/models/Phi-3-mini-4k-instruct/versions/11"
    )
    assert "conda.yaml lacks Python 3.11 or later (it has python=3.8.13)" in plan.notes[0]
