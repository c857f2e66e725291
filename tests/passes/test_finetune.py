"""Training on the tiny model: exact continuation, honest losses, an untouched base."""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="extra 'train' is not installed")
pytest.importorskip("peft", reason="extra 'train' is not installed")

import torch
from peft import PeftModel

from autotune.candidate import AdapterConfig
from autotune.errors import DivergedError, UsageError
from autotune.passes import FinetunePass, MergePass

from .training_data import write_training_data

# Modules behind the folder's front door.
answer_loss, base_model, compute, examples, lora = (
    import_module(f"autotune.passes.{name}")
    for name in ("answer_loss", "base_model", "compute", "examples", "lora")
)

NEEDS_BITSANDBYTES = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)
ADAPTER = AdapterConfig(rank=4, learning_rate=5e-3, epochs=2.5, batch_size=8, seed=3)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def inputs(tiny_model_dir: Path, data_dir: Path) -> dict[str, Path]:
    return {"model": tiny_model_dir, "data": data_dir}


def train(
    folder: Path, inputs: dict[str, Path], adapter: AdapterConfig = ADAPTER, fraction: float = 1.0
) -> dict[str, Any]:
    folder.mkdir()
    return FinetunePass(adapter=adapter, fraction=fraction).run(inputs, folder)


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_training_in_three_parts_equals_one_in_a_single_run_bit_by_bit(
    tmp_path: Path, inputs: dict[str, Path], dropout: float
) -> None:
    adapter = AdapterConfig(
        rank=4, learning_rate=5e-3, epochs=2.5, batch_size=8, dropout=dropout, weight_decay=0.01
    )
    whole = train(tmp_path / "whole", inputs, adapter)
    train(tmp_path / "first", inputs, adapter, 1 / 3)
    train(tmp_path / "second", inputs | {"checkpoint": tmp_path / "first"}, adapter, 2 / 3)
    last = train(tmp_path / "last", inputs | {"checkpoint": tmp_path / "second"}, adapter)
    assert hashes(tmp_path / "last") == hashes(tmp_path / "whole")
    assert hashes(tmp_path / "second") != hashes(tmp_path / "whole")
    assert last["losses"] == whole["losses"]
    assert last["probe_nll"] == whole["probe_nll"]
    assert last["tokens"] < whole["tokens"]


def test_training_learns_and_reports_what_it_did(tmp_path: Path, inputs: dict[str, Path]) -> None:
    facts = train(
        tmp_path / "out", inputs, AdapterConfig(learning_rate=1e-2, epochs=8, batch_size=8)
    )
    assert statistics.fmean(facts["losses"][-5:]) < facts["losses"][0] / 3
    assert facts["steps"] == facts["total_steps"] == len(facts["losses"]) == 48
    rows, _ = examples.read_examples(inputs["data"] / "train.json")
    assert facts["tokens"] == 8 * sum(len(example.ids) for example in rows)
    assert facts["tokens_per_s"] > 0
    assert facts["dtype"] in {"float32", "bfloat16"}
    assert "GFLOP/s" in facts["dtype_reason"] or facts["device"] == "cuda"
    assert json.loads(json.dumps(facts)) == facts


def test_the_adapter_says_the_same_in_peft_alone(tmp_path: Path, inputs: dict[str, Path]) -> None:
    facts = train(tmp_path / "out", inputs)
    base = base_model.load_model(inputs["model"], torch.float32)
    with lora.quiet_peft():
        PeftModel.from_pretrained(base, tmp_path / "out" / "adapter")
    _, probe = examples.read_examples(inputs["data"] / "train.json")
    losses = []
    for row in probe:  # the slow and obvious way: one row, every position, no padding
        logits = base(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
        answer = range(row.answer_start, len(row.ids))
        losses.append(-sum(logits[i - 1, row.ids[i]].item() for i in answer))
    tolerance = 1e-4 if facts["dtype"] == "float32" else 0.05
    assert facts["probe_nll"] == pytest.approx(statistics.fmean(losses), rel=tolerance)


@pytest.mark.parametrize("method", ["lora", pytest.param("qlora", marks=NEEDS_BITSANDBYTES)])
def test_the_fast_layer_and_peft_s_own_give_one_loss_and_one_gradient(
    inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, method: Any
) -> None:
    rows, _ = examples.read_examples(inputs["data"] / "train.json")
    adapter = replace(ADAPTER, method=method)
    on_cpu = compute.Compute(device="cpu", dtype=torch.float32, reason="the test asks for it")
    base = base_model.training_base(inputs["model"], method, on_cpu)
    base_model.set_training(base, is_training=True)

    def loss_and_gradients() -> tuple[float, list[torch.Tensor]]:
        with lora.adapted(base, adapter) as model:
            weights = lora.lora_weights(model)
            for number, weight in enumerate(weights.values()):  # B starts at zero
                torch.manual_seed(number)
                torch.nn.init.normal_(weight, std=0.05)
            loss = answer_loss.answer_losses(base, rows[:8]).mean()
            torch.autograd.backward(loss)
            found = [w.grad.clone() for w in weights.values() if w.grad is not None]
            assert len(found) == len(weights)
            return loss.item(), found

    loss, gradients = loss_and_gradients()
    monkeypatch.setattr(lora.LoraConfig, "_register_custom_module", lambda *_: None)
    slow_loss, slow_gradients = loss_and_gradients()
    assert loss == pytest.approx(slow_loss, rel=1e-5)
    for mine, theirs in zip(gradients, slow_gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_the_base_is_the_same_after_a_training_and_carries_no_adapter(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    used = compute.training_compute()
    base = base_model.training_base(inputs["model"], "lora", used)
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    train(tmp_path / "out", inputs)
    assert base_model.training_base(inputs["model"], "lora", used) is base
    assert base.state_dict().keys() == before.keys()
    assert all(torch.equal(base.state_dict()[name], before[name]) for name in before)


def test_a_training_that_blows_up_says_so(tmp_path: Path, inputs: dict[str, Path]) -> None:
    wild = AdapterConfig(rank=4, learning_rate=1e30, epochs=2, batch_size=8)
    with pytest.raises(DivergedError, match="lower learning rate"):
        train(tmp_path / "out", inputs, wild)
    sane = train(tmp_path / "sane", inputs)
    assert sane["losses"][0] < 20


def test_a_checkpoint_of_another_training_is_refused(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    train(tmp_path / "first", inputs, ADAPTER, 0.5)
    other = AdapterConfig(rank=4, learning_rate=1e-3, epochs=2.5, batch_size=8, seed=3)
    for adapter, fraction in ((other, 1.0), (ADAPTER, 0.2)):
        folder = tmp_path / f"out{fraction}"
        with pytest.raises(UsageError, match="checkpoint"):
            train(folder, inputs | {"checkpoint": tmp_path / "first"}, adapter, fraction)


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5])
def test_a_fraction_lies_above_zero_and_up_to_one(fraction: float) -> None:
    with pytest.raises(UsageError, match="fraction"):
        FinetunePass(adapter=ADAPTER, fraction=fraction)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("attention", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("mlp", {"gate_proj", "up_proj", "down_proj"}),
        ("q_proj+v_proj", {"q_proj", "v_proj"}),
        ("mlp.up_proj", {"up_proj"}),
        ("layers.1.mlp.up_proj", {"model.layers.1.mlp.up_proj"}),
    ],
)
def test_target_modules_are_told_apart(
    tiny_model_dir: Path, target: Any, expected: set[str]
) -> None:
    model = base_model.load_model(tiny_model_dir, torch.float32)
    assert set(lora.target_names(model, target)) == expected
    leaves = {name.rpartition(".")[2] for name in expected}
    assert set(lora.target_names(model, "all-linear")) > leaves


@pytest.mark.parametrize("target", ["query", "q_proj+lm_head", "proj"])
def test_a_name_that_matches_nothing_lists_what_there_is(tiny_model_dir: Path, target: str) -> None:
    model = base_model.load_model(tiny_model_dir, torch.float32)
    with pytest.raises(UsageError, match="down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj"):
        lora.target_names(model, target)


def test_rank_stable_scaling_divides_by_the_root_of_the_rank(inputs: dict[str, Path]) -> None:
    base = base_model.load_model(inputs["model"], torch.float32)
    scales = []
    for is_stable in (False, True):
        with lora.adapted(base, replace(ADAPTER, rank=16, rslora=is_stable)) as model:
            layers = [m for m in model.modules() if isinstance(m, lora.FastLinear)]
            scales.append({layer.scaling["default"] for layer in layers})
    assert scales == [{2.0}, {8.0}]


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "linear", "clip_norm": None},
        {"steps": 9, "schedule": "constant", "rslora": True},
        {"target_modules": "q_proj+v_proj", "clip_norm": 0.1},
    ],
)
def test_options_hold_over_a_stop_in_between(
    tmp_path: Path, inputs: dict[str, Path], options: dict[str, Any]
) -> None:
    adapter = replace(ADAPTER, **options)
    whole = train(tmp_path / "whole", inputs, adapter)
    train(tmp_path / "first", inputs, adapter, 0.4)
    train(tmp_path / "last", inputs | {"checkpoint": tmp_path / "first"}, adapter)
    assert hashes(tmp_path / "last") == hashes(tmp_path / "whole")
    usual = train(tmp_path / "usual", inputs)
    assert whole["steps"] == (adapter.steps or usual["steps"])
    assert whole["losses"][-1] != usual["losses"][-1]
    artifacts = {"model": inputs["model"], "adapter": tmp_path / "last"}
    (tmp_path / "merged").mkdir()
    merged = MergePass().run(artifacts, tmp_path / "merged")
    assert 0 < merged["logit_difference"]["float32"] < 1e-3


def test_the_loss_of_a_row_does_not_depend_on_its_neighbours(inputs: dict[str, Path]) -> None:
    rows, _ = examples.read_examples(inputs["data"] / "train.json")
    base = base_model.load_model(inputs["model"], torch.float32)
    together = answer_loss.row_losses(base, rows)
    alone = [answer_loss.row_losses(base, [example])[0] for example in rows]
    assert together == pytest.approx(alone, rel=1e-4)


def test_adapter_files_name_no_machine(tmp_path: Path, inputs: dict[str, Path]) -> None:
    train(tmp_path / "out", inputs, ADAPTER, 0.1)
    config = (tmp_path / "out" / "adapter" / "adapter_config.json").read_text()
    assert str(inputs["model"]) not in config
    assert json.loads(config)["r"] == 4
    names = sorted(file.name for file in (tmp_path / "out" / "adapter").iterdir())
    assert names == ["adapter_config.json", "adapter_model.safetensors"]


def test_qlora_without_bitsandbytes_names_the_extra(
    tmp_path: Path, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    fresh = tmp_path / "model"  # not the one that the process may have loaded already
    shutil.copytree(inputs["model"], fresh)
    with pytest.raises(UsageError, match=r"autotune-slm\[train\]"):
        train(tmp_path / "out", inputs | {"model": fresh}, AdapterConfig(method="qlora"))


@NEEDS_BITSANDBYTES
def test_qlora_learns_and_continues_exactly(tmp_path: Path, inputs: dict[str, Path]) -> None:
    adapter = AdapterConfig(
        method="qlora", rank=4, learning_rate=1e-2, epochs=4, batch_size=8, merge_base="dequantized"
    )
    whole = train(tmp_path / "whole", inputs, adapter)
    train(tmp_path / "first", inputs, adapter, 0.4)
    train(tmp_path / "last", inputs | {"checkpoint": tmp_path / "first"}, adapter)
    assert statistics.fmean(whole["losses"][-4:]) < whole["losses"][0] / 2
    assert hashes(tmp_path / "last") == hashes(tmp_path / "whole")
