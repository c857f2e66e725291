"""A package of models for several providers, read back by onnxruntime itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from autotune.errors import OutputError, RunError, UsageError
from autotune.measured_folder import open_folder
from autotune.package import check_package, export_package
from autotune.reports import DecisionRule, build_report, write_model_folder

from .record import context, events


@pytest.fixture
def edge(tmp_path: Path, tiny_built_dir: Path, classification_rule: DecisionRule) -> Path:
    folder = tmp_path / "edge"
    report = build_report(context(kind="classification"), events())
    write_model_folder(
        folder,
        built_dir=tiny_built_dir,
        adapter_dir=None,
        rule=classification_rule,
        report=report,
    )
    return folder


def _other(folder: Path, name: str, **changes: object) -> Path:
    """Return a copy whose description says otherwise; its sums would tell, so they go."""
    copy = folder.with_name(name)
    shutil.copytree(folder, copy)
    (copy / "SHA256SUMS").unlink()
    told = json.loads((copy / "autotune.json").read_text("utf-8"))
    for key, value in changes.items():
        told[key].update(value)
    (copy / "autotune.json").write_text(json.dumps(told), encoding="utf-8")
    return copy


def test_onnxruntime_finds_the_variant_of_its_provider_and_each_is_whole(
    edge: Path, tmp_path: Path
) -> None:
    cloud = _other(edge, "cloud", recipe={"provider": "cuda"})
    package = tmp_path / "tones"
    said = export_package([edge, cloud], output=package)
    ours, theirs = (open_folder(folder).description for folder in (edge, cloud))
    assert ours is not None
    assert theirs is not None
    names = [ours.recipe.name, theirs.recipe.name]
    if said.startswith("not read back"):
        pytest.skip(said)
    assert said == f"onnxruntime read it: {', '.join(names)}, and made a session of {names[0]}"
    assert open_folder(package / "model" / names[0]).checked_files > 5
    component = json.loads((package / "model" / "component.json").read_text("utf-8"))
    variant = component["variants"][names[1]]
    assert variant["ep"] == "CUDAExecutionProvider"
    assert variant["additional_metadata"]["autotune"]["device"] == theirs.device
    assert f"`model/{names[1]}` | CUDAExecutionProvider" in (package / "README.md").read_text()
    with pytest.raises(OutputError, match="exists"):
        export_package([edge, cloud], output=package)
    (package / "model" / names[1]).rename(package / "model" / "elsewhere")
    with pytest.raises(RunError, match="does not read the package"):
        check_package(package)


def test_models_that_cannot_be_chosen_between_are_refused(edge: Path, tmp_path: Path) -> None:
    asked = _other(edge, "asked", recipe={"provider": "cuda"}, task={"template": "{a}{b}"})
    foreign = tmp_path / "foreign"
    shutil.copytree(edge, foreign, ignore=shutil.ignore_patterns("autotune.json", "SHA256SUMS"))
    for folders, words in (
        ([edge, edge], "one model per execution provider"),
        ([edge, asked], "answer the same questions"),
        ([foreign], "has no autotune.json"),
        ([_other(edge, "odd", recipe={"provider": "abacus"})], "'abacus', which onnxruntime calls"),
    ):
        with pytest.raises(UsageError, match=words):
            export_package(folders, output=tmp_path / "none")
    assert not (tmp_path / "none").exists()
