"""Configurations in two schemas: what they come to, and what is wrong with some of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from autotune.candidate import AdapterConfig, Precision
from autotune.chain import BuildChoice, Corpus, Strategy
from autotune.config import RunConfig
from autotune.configured import import_configuration, run_configuration
from autotune.errors import UsageError
from autotune.olive import OliveRequest, Verdict, read_olive
from autotune.plain import from_plain, to_plain

from .conftest import NEW, OLD, TEMPLATE, Read, Write


def test_both_schemas_come_to_the_same_run(read: Read) -> None:
    new, old = read(NEW), read(OLD)
    assert new.config == old.config
    config = new.config
    assert config is not None
    assert config.chain is not None
    assert config.chain.training is not None
    assert config.chain.training.adapter == AdapterConfig(
        rank=4,
        alpha_ratio=2.0,
        learning_rate=0.002,
        batch_size=2,
        seed=7,
        epochs=1.0,
        steps=3,
        schedule="constant",
        warmup=0.0,
    )
    assert config.trainings.methods == ("lora",)
    assert config.chain.training.modules == ("qkv_proj", "o_proj")
    assert config.chain.build == BuildChoice(precision=Precision.FP32)
    assert config.chain.merges
    assert config.corpus == Corpus(strategy=Strategy.JOIN, max_tokens=48)
    assert (config.target, config.held_out, config.seed) == ("cpu", 0.5, 7)
    assert (config.template, config.max_trials, config.budget_s) == (TEMPLATE, 1, None)
    assert Path(config.data).name == "rows.jsonl"


def test_yaml_is_read_like_json(read: Read, tmp_path: Path) -> None:
    import yaml  # noqa: PLC0415 - of this test alone

    expected = read(NEW).config
    path = tmp_path / "olive.yaml"
    text = yaml.safe_dump(NEW, sort_keys=False).replace(
        "0.002", "2e-3"
    )  # YAML 1.1 reads that as text
    path.write_text(text, encoding="utf-8")
    assert "2e-3" in text
    assert read_olive(OliveRequest(path=path)).config == expected


def test_a_run_configuration_survives_its_file(read: Read, tmp_path: Path) -> None:
    config = read(NEW).config
    assert config is not None
    config.save(tmp_path / "run.json")
    assert RunConfig.load(tmp_path / "run.json") == config


def test_a_data_configuration_is_called_by_its_key_or_its_name(read: Read) -> None:
    assert read(OLD, "passes.tune.train_data_config=moods_of_lines").config == read(OLD).config


def test_what_import_writes_is_the_run(write: Write, tmp_path: Path) -> None:
    request = OliveRequest(path=write(NEW))
    out = tmp_path / "run.json"
    assert import_configuration(request, output=out) == 0
    assert RunConfig.load(out) == read_olive(request).config
    with pytest.raises(UsageError, match="File exists"):
        import_configuration(request, output=out)


def test_paths_are_looked_up_beside_the_file_and_then_here(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    (here / "model").mkdir(parents=True)
    (here / "other.jsonl").write_text("{}", encoding="utf-8")
    monkeypatch.chdir(here)
    source = "data_configs.moods.load_dataset_config.data_files"
    config = read(NEW, f"{source}=other.jsonl").config
    assert config is not None
    assert config.data == str(here / "other.jsonl")
    assert config.model == str(here / "model")
    (tmp_path / "other.jsonl").write_text("{}", encoding="utf-8")
    (tmp_path / "model").mkdir()
    config = read(NEW, f"{source}=other.jsonl").config
    assert config is not None
    assert (config.data, config.model) == (str(tmp_path / "other.jsonl"), str(tmp_path / "model"))
    with pytest.raises(UsageError, match=r"'gone.jsonl', which is neither in"):
        read(NEW, f"{source}=gone.jsonl")


def test_a_model_in_mlflows_layout_is_found_inside(read: Read, tmp_path: Path) -> None:
    inside = tmp_path / "model" / "data" / "model"
    inside.mkdir(parents=True)
    (tmp_path / "model" / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    (inside / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="MLflow model holds a folder"):
        read(NEW)
    (inside / "tokenizer.json").write_text("{}", encoding="utf-8")
    config = read(NEW).config
    assert config is not None
    assert config.model == str(inside)


def test_flags_take_the_place_of_model_and_system(read: Read) -> None:
    plan = read(NEW, model="pypi:some-model==1.0", target="webgpu")
    assert plan.config is not None
    assert (plan.config.model, plan.config.target) == ("pypi:some-model==1.0", "webgpu")
    said = {said.place: said for said in plan.account}
    assert said["input_model.model_path"].verdict is Verdict.MAPPED
    assert "--model" in said["input_model.model_path"].says
    assert "--target webgpu" in said["host"].says


def test_set_replaces_a_field_in_either_spelling_and_null_takes_it_out(read: Read) -> None:
    for spelling in ("r", "lora_r", "config.lora_r", "config.r"):
        for document in (NEW, OLD):
            plan = read(document, f"passes.tune.{spelling}=2")
            assert plan.config is not None
            assert plan.config.chain is not None
            assert plan.config.chain.training is not None
            assert plan.config.chain.training.adapter.rank == 2
    plan = read(OLD, "passes.tune.r=null")
    (note,) = plan.notes
    assert note.startswith("passes.tune leaves to Olive's defaults: r = 64, weight_decay = 0.0,")


def test_a_negative_number_of_steps_is_none(read: Read) -> None:
    config = read(NEW, "passes.tune.training_args.max_steps=-1").config
    assert config is not None
    assert config.chain is not None
    assert config.chain.training is not None
    assert config.chain.training.adapter.steps is None
    assert config.chain.training.adapter.epochs == 3.0


def test_steps_may_be_left_out(read: Read) -> None:
    trained = read(NEW, "passes.make=null").config
    assert trained is not None
    assert trained.chain is not None
    assert (trained.chain.build, trained.chain.is_whole) == (None, False)
    built = read(NEW, "passes.tune=null", "passes.fold=null").config
    assert built is not None
    assert built.chain is not None
    assert (built.chain.training, built.data) == (None, "")
    assert built.chain.build == BuildChoice(precision=Precision.FP32)


def test_exporters_of_early_files_become_the_builder(read: Read) -> None:
    document = copy.deepcopy(OLD)
    del document["passes"]["fold"]
    document["passes"]["make"] = {
        "type": "OnnxConversion",
        "config": {"merge_adapter_weights": True, "target_opset": 14, "torch_dtype": "float16"},
    }
    plan = read(document)
    assert plan.config is not None
    assert plan.config.chain is not None
    assert plan.config.chain.build == BuildChoice(precision=Precision.FP16)
    assert plan.config.chain.merges
    document["passes"]["export"] = {"type": "GenAIModelExporter", "config": {"precision": "int4"}}
    plan = read(document)
    assert plan.config is not None
    assert plan.config.chain is not None
    assert plan.config.chain.build == BuildChoice(precision=Precision.INT4)


def test_a_search_begins_at_the_values_of_the_file(read: Read) -> None:
    for plan in (read(NEW, is_search=True), read(NEW, "search_strategy.execution_order=joint")):
        assert plan.config is not None
        assert plan.config.chain is not None
        assert plan.config.chain.is_opened
        assert (plan.config.budget_s, plan.config.max_trials) == (3600.0, None)


def _changed(*path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(NEW)
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return document


_TWICE = copy.deepcopy(NEW["data_configs"]) * 2

WRONG: list[tuple[dict[str, Any], str]] = [
    (_changed("passes", "tune", "type", value="LoRa"), ""),
    (_changed("passes", "tune", "type", value="LoRAA"), "names no pass that is run here.*'LoRA'"),
    (_changed("passes", "tune", "type", value="Gptq"), "'Gptq'.*they are LoRA, QLoRA"),
    (_changed("passes", "tune", "rank_", value=4), "passes.tune.rank_ is no field of passes.NAME"),
    (_changed("passes", "tune", "lora_alhpa", value=4), "did you mean 'lora_alpha'"),
    (
        _changed("passes", "tune", "training_args", "max_step", value=4),
        "max_step is no field.*did you mean 'training_args.max_steps'",
    ),
    (_changed("pases", value={}), "no 'pases' at its top level; did you mean 'passes'"),
    (_changed("data_configs", value=_TWICE), "Two data configurations have the name 'moods'"),
    (_changed("passes", "tune", "lora_r", value=8), "passes.tune.r and passes.tune.lora_r mean"),
    (_changed("passes", "tune", "r", value="four"), 'passes.tune.r is a whole number, got "four"'),
    (_changed("passes", "tune", "r", value=0), "passes.tune.r is at least 1, got 0"),
    (_changed("passes", "tune", "eval_dataset_size", value=2), r"in \(0, 1\), got 2"),
    (_changed("passes", "tune", "train_data_config", value="mods"), "'mods'.*did you mean 'moods'"),
    (_changed("target", value="there"), "names the system 'there', there are here"),
    (_changed("execution_providers", value=["CUDAExecutionProvider"]), "leave one of them out"),
    (
        _changed("systems", "here", "accelerators", value=[{"device": "gpu",
                 "execution_providers": ["CPUExecutionProvider"]}]),
        "which does not run on it",
    ),
    (_changed("systems", "here", "accelerators", value=["cpu", "gpu"]), "lists 2"),
    (_changed("passes", value={}), "has none; add for example"),
    (
        _changed("passes", "fold", value={"type": "ModelBuilder", "precision": "int4"}),
        "both build",
    ),
    (_changed("passes", "tune", value=[{}, {}]), "lists 2 alternatives"),
    (_changed("passes", "fold", value=None), "merge the adapter before the build"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "message"), WRONG[1:])
def test_what_is_wrong_ends_before_anything_runs(
    document: dict[str, Any], message: str, read: Read
) -> None:
    with pytest.raises(UsageError, match=message):
        read(document)


def test_case_of_a_pass_type_does_not_matter(read: Read) -> None:
    assert read(WRONG[0][0]).config == read(NEW).config


def test_host_and_target_are_one_place(read: Read) -> None:
    document = _changed("systems", "there", value=NEW["systems"]["here"])
    document["host"] = "there"
    with pytest.raises(UsageError, match=r"engine.host is 'there' and engine.target 'here'"):
        read(document)


SETS = [
    ("passes.tune.r", "PATH=VALUE"),
    ("passes.tone.r=4", "has no 'tone'.*did you mean 'tune'"),
    ("passes.tune.lora_dropout_=null", "takes a field out.*did you mean 'lora_dropout'"),
    ("passes.tune=3", "names no field"),
]


@pytest.mark.parametrize(("text", "message"), SETS)
def test_a_set_that_leads_nowhere_is_refused(text: str, message: str, read: Read) -> None:
    with pytest.raises(UsageError, match=message):
        read(NEW, text)


FILES = [
    ("olive.json", '{"a": 1, "a": 2}', "the key 'a' stands twice"),
    ("olive.yaml", "passes:\n  x: {type: LoRA, type: QLoRA}\n", "the key 'type' stands twice"),
    ("olive.json", '{"a": 1,}', "is broken: .*line 1"),
    ("olive.yaml", "a: [", "is broken"),
    ("olive.json", "[]", "is an object with input_model"),
]


@pytest.mark.parametrize(("name", "text", "message"), FILES)
def test_a_file_that_is_no_configuration_says_why(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        read_olive(OliveRequest(path=path))
    with pytest.raises(UsageError, match="cannot be read"):
        read_olive(OliveRequest(path=tmp_path / "absent.json"))


def test_code_of_a_repository_needs_our_own_flag_as_well(read: Read, write: Write) -> None:
    trusting = "input_model.load_kwargs.trust_remote_code=true"
    plan = read(NEW, trusting)
    assert plan.config is not None
    assert not plan.config.trust_remote_code
    assert "give --trust-remote-code as well" in plan.open_points[0]
    request = OliveRequest(path=write(NEW), sets=(trusting,))
    with pytest.raises(UsageError, match=r"is not complete: .*--trust-remote-code"):
        run_configuration(request, output=None, dry_run=False, as_json=False)
    plan = read(NEW, trusting, trust_remote_code=True)
    assert plan.open_points == ()
    assert plan.config is not None
    assert plan.config.trust_remote_code
    # The word is about the file's model; another one is not meant by it.
    assert read(NEW, trusting, model="owner/name").open_points == ()


def test_a_script_that_is_absent_is_named(read: Read, tmp_path: Path) -> None:
    plan = read(NEW, "input_model.model_script=mine.py")
    (point,) = plan.open_points
    assert point.startswith("input_model.model_script: there is no such file; take it out")
    (tmp_path / "mine.py").write_text("raise SystemExit", encoding="utf-8")
    assert read(NEW, "input_model.model_script=mine.py").open_points == ()


def test_a_refused_field_ends_a_run_with_the_way_out(write: Write) -> None:
    request = OliveRequest(path=write(NEW), sets=("passes.tune.modules_to_save=lm_head",))
    with pytest.raises(UsageError, match=r"modules_to_save = .* is refused: .*--set .*=null"):
        run_configuration(request, output=None, dry_run=True, as_json=False)


def test_limits_of_a_search_need_one(read: Read) -> None:
    with pytest.raises(UsageError, match="add --search"):
        read(NEW, max_trials=3)
    with pytest.raises(UsageError, match="add the pass that is missing"):
        read(NEW, "passes.make=null", is_search=True)


def test_configurations_are_plain_data(read: Read) -> None:
    config = read(NEW).config
    assert from_plain(RunConfig, json.loads(json.dumps(to_plain(config)))) == config
