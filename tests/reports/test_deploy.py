"""The deploy folder: whole or not at all, checkable, and free of paths of this machine."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from huggingface_hub import ModelCard

from autotune.errors import OutputError, RunError, UsageError
from autotune.reports import (
    DecisionRule,
    LayersKept,
    build_report,
    json_schema,
    load_hardware_report,
    load_model,
    write_model_folder,
)

from .conftest import LABELS
from .hardware_record import report as hardware_report
from .record import ADAPTER, CHOSE_NONE, INT4, context, events

REPORT = build_report(context(), events())


@pytest.fixture
def rule() -> DecisionRule:
    """A rule whose token ids belong to no tokenizer: nothing here runs the model."""
    return DecisionRule(
        kind="classification",
        template="{{{who}}}: {phrase} -> {tone}!",
        literals=("{", "}: ", " -> ", "!"),
        fields=("who", "phrase", "tone"),
        labels=("no", "yes"),
        label_ids=((1, 2, 0), (1, 3, 0)),
        nodes=((1,), ()),
        eos_ids=(0,),
    )


@pytest.fixture
def built_dir(tmp_path: Path) -> Path:
    """Files as a build leaves them in the store; the weights are large enough to be linked."""
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "genai_config.json").write_text("{}")
    (folder / "model.onnx.data").write_bytes(bytes(1 << 20))
    (folder / "manifest.json").write_text('{"key": "of the store"}')
    (folder / "extra").mkdir()
    (folder / "extra" / "vocab.txt").write_text("a")
    return folder


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_real_folder_is_whole_and_its_sums_are_right(
    deploy: Callable[[DecisionRule], Path], classification_rule: DecisionRule
) -> None:
    folder = deploy(classification_rule)
    files = _files(folder)
    assert files >= {
        "README.md",
        "SHA256SUMS",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "autotune.json",
        "genai_config.json",
        "model.onnx",
        "run.py",
        "tokenizer.json",
    }
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert set(sums) == files - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert "adapter/README.md" not in files


def test_nothing_in_the_folder_names_a_path_of_this_machine(
    deploy: Callable[[DecisionRule], Path],
    classification_rule: DecisionRule,
    tiny_model_dir: Path,
    adapter_dir: Path,
) -> None:
    assert str(tiny_model_dir) in (adapter_dir / "adapter_config.json").read_text()
    folder = deploy(classification_rule)
    for path in folder.rglob("*"):
        if path.suffix in (".json", ".md", ".py"):
            assert str(tiny_model_dir.parent) not in path.read_text(), path.name


def test_the_description_holds_the_choice_and_fits_its_schema(
    deploy: Callable[[DecisionRule], Path], classification_rule: DecisionRule
) -> None:
    folder = deploy(classification_rule)
    plain = json.loads((folder / "autotune.json").read_text())
    jsonschema.Draft202012Validator(json_schema("model-1.0")).validate(plain)
    description = load_model(folder)
    assert (description.adapter, description.recipe) == (ADAPTER, INT4)
    assert description.task.labels == LABELS
    assert description.task.prompt == ("### Text: ", "phrase", "\n### Tone: ")
    assert description.metrics["accuracy"].split == "test"
    assert description.constraints == REPORT.constraints
    assert description.command[-1] == "***"


def test_the_prompt_is_texts_and_fields_in_turn_and_nodes_go_depth_first(
    tmp_path: Path, built_dir: Path, rule: DecisionRule
) -> None:
    folder = tmp_path / "model"
    write_model_folder(folder, built_dir=built_dir, adapter_dir=None, rule=rule, report=REPORT)
    task = load_model(folder).task
    assert task.prompt == ("{", "who", "}: ", "phrase", " -> ")
    assert (task.fields, task.suffix) == (("who", "phrase"), "!")
    assert task.nodes == ((), (1,))


def test_weights_are_linked_and_what_people_edit_is_copied(
    tmp_path: Path, built_dir: Path, rule: DecisionRule
) -> None:
    folder, license_path = tmp_path / "model", tmp_path / "LICENSE-2.0.txt"
    license_path.write_text("Apache")
    write_model_folder(
        folder,
        built_dir=built_dir,
        adapter_dir=None,
        rule=rule,
        report=REPORT,
        license_path=license_path,
        hardware=hardware_report(),
    )
    assert load_hardware_report(folder / "hardware.json") == hardware_report()
    assert _files(folder) == {
        "LICENSE",
        "README.md",
        "SHA256SUMS",
        "autotune.json",
        "eval_results.json",
        "extra/vocab.txt",
        "genai_config.json",
        "hardware.json",
        "model.onnx.data",
        "provenance.json",
        "run.py",
    }
    assert (folder / "model.onnx.data").samefile(built_dir / "model.onnx.data")
    (folder / "genai_config.json").write_text("edited")
    assert (built_dir / "genai_config.json").read_text() == "{}"


def test_where_links_fail_weights_are_copied(
    tmp_path: Path, built_dir: Path, rule: DecisionRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    folder = tmp_path / "model"
    write_model_folder(folder, built_dir=built_dir, adapter_dir=None, rule=rule, report=REPORT)
    copy, original = folder / "model.onnx.data", built_dir / "model.onnx.data"
    assert copy.read_bytes() == original.read_bytes()
    assert not copy.samefile(original)


def test_an_existing_folder_is_never_touched(
    tmp_path: Path, built_dir: Path, rule: DecisionRule
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(OutputError, match="exists; choose another --output"):
        write_model_folder(folder, built_dir=built_dir, adapter_dir=None, rule=rule, report=REPORT)
    assert list(folder.iterdir()) == []


def test_pickled_adapters_are_refused_and_nothing_is_left_behind(
    tmp_path: Path, built_dir: Path, rule: DecisionRule
) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.bin").write_bytes(b"pickle")
    output = tmp_path / "output"
    output.mkdir()
    with pytest.raises(RunError, match=r"\*\.safetensors"):
        write_model_folder(
            output / "model", built_dir=built_dir, adapter_dir=adapter, rule=rule, report=REPORT
        )
    assert list(output.iterdir()) == []


def test_a_folder_that_was_not_built_is_refused(tmp_path: Path, rule: DecisionRule) -> None:
    with pytest.raises(RunError, match=r"genai_config\.json"):
        write_model_folder(
            tmp_path / "model", built_dir=tmp_path, adapter_dir=None, rule=rule, report=REPORT
        )


def test_a_missing_output_folder_is_named(
    tmp_path: Path, built_dir: Path, rule: DecisionRule
) -> None:
    with pytest.raises(OutputError, match=r"nowhere.*could not be written"):
        write_model_folder(
            tmp_path / "nowhere" / "model",
            built_dir=built_dir,
            adapter_dir=None,
            rule=rule,
            report=REPORT,
        )


def test_no_folder_is_written_for_a_report_without_a_choice(
    tmp_path: Path, built_dir: Path, rule: DecisionRule
) -> None:
    report = build_report(context(decision=CHOSE_NONE), events())
    with pytest.raises(ValueError, match="the report has none"):
        write_model_folder(
            tmp_path / "model", built_dir=built_dir, adapter_dir=None, rule=rule, report=report
        )
    assert not (tmp_path / "model").exists()


def test_the_model_card_is_one_that_the_hub_reads(
    deploy: Callable[[DecisionRule], Path], classification_rule: DecisionRule
) -> None:
    card = ModelCard.load(deploy(classification_rule) / "README.md")
    assert card.data.to_dict() == {
        "license": "apache-2.0",
        "library_name": "onnxruntime-genai",
        "base_model": "owner/tiny",
        "base_model_relation": "finetune",
        "pipeline_tag": "text-classification",
        "tags": ["onnx", "onnxruntime-genai", "autotune", "lora", "int4"],
    }
    for line in (
        "| Accuracy (test split) | 0.925 [0.895, 0.955] (n = 160) | 0.260 [0.210, 0.310]",
        "| latency.p95 <= 100 ms | pass |",
        "pip install onnxruntime-genai==0.18.0",
        "python run.py phrase=...",
    ):
        assert line in card.content


def test_a_cut_model_says_which_layers_it_has_and_how_its_adapter_is_put_on(
    tmp_path: Path, built_dir: Path, rule: DecisionRule, adapter_dir: Path
) -> None:
    layers = LayersKept(kept=(0, 1, 2, 6, 9), of=10, rule="influence", reason="they turn little")
    folder = tmp_path / "model"
    write_model_folder(
        folder,
        built_dir=built_dir,
        adapter_dir=adapter_dir,
        rule=rule,
        report=REPORT,
        layers_kept=layers,
    )
    assert load_model(folder).layers_kept == layers
    told = [
        json.loads((folder / name).read_text())
        for name in ("adapter/base_layers.json", "autotune.json", "provenance.json")
    ]
    assert told[0] == told[1]["layers_kept"] == told[2]["layers_kept"]
    assert told[0]["kept"] == [0, 1, 2, 6, 9]
    jsonschema.Draft202012Validator(json_schema("provenance-1.0")).validate(told[2])
    card = (folder / "README.md").read_text()
    assert "cut to 5 of 10 layers, tuned" in card
    assert "layers: 5 of 10 layers: 0-2, 6, 9 (they turn little)" in card
    assert "kept = [0, 1, 2, 6, 9]" in card
    untrained = replace(REPORT, chosen=REPORT.baseline)
    write_model_folder(
        tmp_path / "untrained",
        built_dir=built_dir,
        adapter_dir=None,
        rule=rule,
        report=untrained,
        layers_kept=layers,
    )
    card = (tmp_path / "untrained" / "README.md").read_text()
    assert "5 of 10 layers" in card
    assert "adapter" not in card
    assert not (tmp_path / "untrained" / "adapter").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"literals": ("a",)}, "one literal more than fields"),
        ({"labels": ("no",)}, "every label has its tokens"),
        ({"nodes": ()}, "labels come with nodes"),
        ({"max_new_tokens": 3}, "labels come with nodes"),
    ],
)
def test_a_rule_that_cannot_decide_is_refused(
    rule: DecisionRule, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        replace(rule, **change)  # type: ignore[arg-type]  # wrong on purpose


def test_a_damaged_description_is_refused(tmp_path: Path, built_dir: Path) -> None:
    shutil.copytree(built_dir, tmp_path / "model")
    with pytest.raises(UsageError, match=r"autotune\.json"):
        load_model(tmp_path / "model")
