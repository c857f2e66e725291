"""Merged weights say what base and adapter say together, or the pass fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="extra 'train' is not installed")
pytest.importorskip("peft", reason="extra 'train' is not installed")

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from autotune.candidate import AdapterConfig, MergeBase
from autotune.errors import DivergedError, MergeError
from autotune.passes import FinetunePass, MergePass

from .training_data import write_training_data

# Modules behind the folder's front door.
base_model, compute, lora, merging, stopwatch = (
    import_module(f"autotune.passes.{name}")
    for name in ("base_model", "compute", "lora", "merging", "stopwatch")
)


@pytest.fixture(scope="module")
def trained(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of the finetune pass."""
    out = tmp_path_factory.mktemp("trained")
    data = write_training_data(tmp_path_factory.mktemp("data"))
    adapter = AdapterConfig(rank=4, learning_rate=5e-3, epochs=3, batch_size=8)
    FinetunePass(adapter=adapter).run({"model": tiny_model_dir, "data": data}, out)
    return out


def test_the_merged_folder_loads_and_equals_base_with_adapter(
    tiny_model_dir: Path, trained: Path, tmp_path: Path
) -> None:
    facts = MergePass().run({"model": tiny_model_dir, "adapter": trained}, tmp_path)
    assert facts["dtype"] == "float32"
    assert 0 < facts["logit_difference"]["float32"] < 2e-4
    ids = torch.tensor([[5, 6, 7, 200, 299]])
    merged = base_model.load_model(tmp_path, torch.float32)(input_ids=ids).logits
    base = base_model.load_model(tiny_model_dir, torch.float32)
    plain = base(input_ids=ids).logits
    with lora.quiet_peft():
        PeftModel.from_pretrained(base, trained / "adapter")
    adapted = base(input_ids=ids).logits
    torch.testing.assert_close(merged, adapted, rtol=1e-4, atol=1e-4)
    assert (merged - plain).abs().max() > 0.5


def test_every_file_without_weights_is_carried_over(
    tiny_model_dir: Path, trained: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for file in tiny_model_dir.iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    (source / "LICENSE").write_text("terms")
    (source / "pytorch_model.bin").write_bytes(b"old weights")
    out = tmp_path / "out"
    out.mkdir()
    MergePass().run({"model": source, "adapter": trained}, out)
    assert {file.name for file in out.iterdir()} == {
        *("config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json", "LICENSE"),
    }
    assert "quantization_config" not in json.loads((out / "config.json").read_text())


def test_a_bfloat16_source_is_stored_so_only_while_its_logits_hold(
    tiny_model_dir: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    base_model.load_model(tiny_model_dir, torch.bfloat16).save_pretrained(source)
    for tolerance, expected in ((1.0, "bfloat16"), (1e-9, "float32")):
        monkeypatch.setattr(merging, "_ROUNDED", tolerance)
        out = tmp_path / expected
        out.mkdir()
        facts = MergePass().run({"model": source, "adapter": trained}, out)
        assert facts["dtype"] == expected
        assert json.loads((out / "config.json").read_text())["dtype"] == expected
        assert 0 < facts["logit_difference"]["bfloat16"] < 0.2


@pytest.mark.parametrize("scale", [1e30, float("nan")], ids=["all the same", "not finite"])
def test_an_adapter_that_left_no_model_is_a_diverged_training(
    tiny_model_dir: Path, trained: Path, tmp_path: Path, scale: float
) -> None:
    # Weights so large that every norm divides them by infinity: all logits are zero.
    adapter = tmp_path / "adapter"
    shutil.copytree(trained, adapter)
    path = adapter / "adapter" / "adapter_model.safetensors"
    save_file({name: weight * scale for name, weight in load_file(path).items()}, path)
    with pytest.raises(DivergedError, match="use a lower learning rate"):
        MergePass().run({"model": tiny_model_dir, "adapter": adapter}, tmp_path)


def scaled(model: PeftModel) -> object:
    for module in model.modules():
        if isinstance(module, lora.PeftLinear):
            module.scaling["default"] *= 1.01
    return merging.fold(model)


def one_layer_missing(model: PeftModel) -> object:
    layer: Any = next(m for n, m in model.named_modules() if n.endswith("layers.1.mlp.down_proj"))
    layer.scaling["default"] = 0.0
    return merging.fold(model)


def nothing_added(model: PeftModel) -> object:
    return model.unload()


def not_finite(model: PeftModel) -> object:
    merged = merging.fold(model)
    next(merged.parameters()).data[0, 0] = float("nan")
    return merged


@pytest.mark.parametrize("wrong", [scaled, one_layer_missing, nothing_added, not_finite])
def test_a_wrong_merge_is_caught(
    tiny_model_dir: Path, trained: Path, wrong: Callable[[PeftModel], object]
) -> None:
    with pytest.raises(MergeError, match="logits of base"):
        merging.merge_checked(
            tiny_model_dir,
            trained / "adapter",
            merge_base="full",
            watch=stopwatch.StopWatch(),
            fold_with=wrong,
        )


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.parametrize("double_quant", [True, False])
def test_a_dequantized_base_is_what_qlora_trained_on(
    tiny_model_dir: Path, tmp_path: Path, double_quant: bool
) -> None:
    data = write_training_data(tmp_path / "data")
    adapter = AdapterConfig(
        method="qlora",
        rank=4,
        learning_rate=5e-3,
        epochs=3,
        batch_size=8,
        merge_base="dequantized",
        double_quant=double_quant,
    )
    (tmp_path / "trained").mkdir()
    inputs = {"model": tiny_model_dir, "data": data}
    FinetunePass(adapter=adapter).run(inputs, tmp_path / "trained")
    used = compute.training_compute()
    base = base_model.training_base(tiny_model_dir, "qlora", used, double_quant=double_quant)
    ids = merging.probe_ids(300, first=0)
    with lora.adapted(base, adapter) as model, torch.no_grad():
        lora.load_adapter(model, tmp_path / "trained" / "adapter")
        trained_on = base(input_ids=ids).logits.float()
    distances = {}
    bases: tuple[MergeBase, ...] = ("full", "dequantized")
    for merge_base in bases:
        out = tmp_path / merge_base
        out.mkdir()
        merge = MergePass(merge_base=merge_base)
        merge.run({"model": tiny_model_dir, "adapter": tmp_path / "trained"}, out)
        with torch.no_grad():
            found = base_model.load_model(out, torch.float32)(input_ids=ids).logits
        distances[merge_base] = ((found - trained_on).std() / trained_on.std()).item()
    assert distances["dequantized"] < 0.1 * distances["full"]
