"""A cut model is drawn to the whole one; what healed it and what tuned it ship as one adapter."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="extra 'train' is not installed")
pytest.importorskip("transformers", reason="extra 'train' is not installed")

import torch
from peft import PeftModel

from autotune.candidate import AdapterConfig
from autotune.errors import UsageError
from autotune.passes import (
    FinetunePass,
    HealPass,
    MergePass,
    PrunePass,
    StackPass,
    pass_class,
)
from tests.tiny_model import make_tiny_model

from .training_data import write_training_data

base_model, examples, lora = (
    import_module(f"autotune.passes.{name}") for name in ("base_model", "examples", "lora")
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The whole model, its cut, what heals the cut, and the healed model."""
    root = tmp_path_factory.mktemp("heal")
    found = {"whole": make_tiny_model(root / "whole", layers=4)}
    found["data"] = write_training_data(root / "data")
    for name in ("cut", "healing", "healed"):
        found[name] = root / name
        found[name].mkdir()
    facts = PrunePass(layers=3).run({"model": found["whole"], "data": found["data"]}, found["cut"])
    inputs = {"model": found["cut"], "whole": found["whole"], "data": found["data"]}
    healing = HealPass(kept=tuple(facts["kept"]), epochs=8).run(inputs, found["healing"])
    (root / "facts.json").write_text(json.dumps(healing), encoding="utf-8")
    found["facts"] = root / "facts.json"
    MergePass().run({"model": found["cut"], "adapter": found["healing"]}, found["healed"])
    return found


def _logits(model: Any, folders: dict[str, Path]) -> torch.Tensor:
    rows, _ = examples.read_examples(folders["data"] / "train.json")
    with torch.no_grad():
        found = [model(torch.tensor([row.ids]), use_cache=False).logits[0] for row in rows[:12]]
    return torch.cat(found).float()


def test_healing_brings_the_cut_model_nearer_to_the_whole_one(folders: dict[str, Path]) -> None:
    facts = json.loads(folders["facts"].read_text(encoding="utf-8"))
    assert facts["distance"] < 0.9 * facts["distance_before"]
    assert facts["steps"] == 24  # 44 rows by 16, eight times
    whole, cut, healed = (
        _logits(base_model.load_model(folders[name], torch.float32), folders)
        for name in ("whole", "cut", "healed")
    )
    assert (healed - whole).norm() < 0.95 * (cut - whole).norm()


def test_the_shipped_adapter_makes_the_same_of_the_cut_model(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    adapter = AdapterConfig(rank=4, epochs=2.0, target_modules="attention", rslora=True)
    for name in ("tuning", "tuned", "stacked"):
        (tmp_path / name).mkdir()
    inputs = {"model": folders["healed"], "data": folders["data"]}
    FinetunePass(adapter=adapter).run(inputs, tmp_path / "tuning")
    facts = StackPass().run(
        {"first": folders["healing"], "second": tmp_path / "tuning"}, tmp_path / "stacked"
    )
    assert facts["rank"] == 64 + 4
    MergePass().run(
        {"model": folders["healed"], "adapter": tmp_path / "tuning"}, tmp_path / "tuned"
    )
    wanted = _logits(base_model.load_model(tmp_path / "tuned", torch.float32), folders)
    with lora.quiet_peft():
        base = base_model.load_model(folders["cut"], torch.float32)
        stacked = PeftModel.from_pretrained(base, tmp_path / "stacked" / "adapter")
    torch.testing.assert_close(_logits(stacked, folders), wanted, rtol=1e-3, atol=1e-4)


def test_healing_needs_a_length_and_is_found_by_name() -> None:
    with pytest.raises(UsageError, match="epochs must be greater than zero, got 0"):
        HealPass(kept=(0, 1), epochs=0)
    assert pass_class("heal") is HealPass
    assert pass_class("stack") is StackPass


def test_many_rows_are_not_all_looked_at() -> None:
    adapter = HealPass(kept=(0, 1), epochs=3)._adapter(100_000)
    assert round(adapter.epochs * 100_000 / adapter.batch_size) == 512
