"""The base of a training computes what the model does, with or without masks."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="extra 'train' is not installed")

import torch

from autotune.candidate import AdapterConfig

base_model, compute, examples, fit, lora = (
    import_module(f"autotune.passes.{n}")
    for n in ("base_model", "compute", "examples", "fit", "lora")
)

ON_CPU = compute.Compute(device="cpu", dtype=torch.float32, reason="the test asks for it")
IDS = torch.arange(3 * 17).reshape(3, 17) % 290


def test_causal_attention_needs_no_mask(tiny_model_dir: Path) -> None:
    usual = base_model.load_model(tiny_model_dir, torch.float32)
    base = base_model.training_base(tiny_model_dir, "lora", ON_CPU)
    assert base.config._attn_implementation != usual.config._attn_implementation
    with torch.no_grad():
        found, expected = (m(input_ids=IDS, use_cache=False).logits for m in (base, usual))
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("length", [1, 5, 128, 129])
def test_gradients_of_short_rows_are_those_of_long_ones(tiny_model_dir: Path, length: int) -> None:
    """Short rows take plain products in the place of the fused kernel."""
    usual = base_model.load_model(tiny_model_dir, torch.float32)
    base = base_model.training_base(tiny_model_dir, "lora", ON_CPU)
    ids = torch.arange(2 * length).reshape(2, length) % 290
    embedded = usual.get_input_embeddings()(ids)
    gradients = []
    for model in (base, usual):
        inputs = embedded.detach().clone().requires_grad_()
        model(inputs_embeds=inputs, use_cache=False).logits[:, -1].sum().backward()
        gradients.append(inputs.grad)
    found, expected = gradients
    assert expected.abs().max() > 1e-3
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()))


def test_attention_to_a_window_keeps_its_mask(tiny_model_dir: Path, tmp_path: Path) -> None:
    """Mistral is Llama with a window: each token sees the last few only."""
    folder = tmp_path / "windowed"
    shutil.copytree(tiny_model_dir, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config | {"sliding_window": 4}))
    usual = base_model.load_model(folder, torch.float32)
    base = base_model.training_base(folder, "lora", ON_CPU)
    with torch.no_grad():
        found, expected = (m(input_ids=IDS, use_cache=False).logits for m in (base, usual))
        everything = base_model.load_model(tiny_model_dir, torch.float32)(input_ids=IDS).logits
    assert torch.equal(found, expected)
    assert not torch.allclose(found, everything)


def test_a_base_goes_when_another_takes_its_place(inputs: dict[str, Path]) -> None:
    """Planning for memory once kept the graph that it had counted, and with it the base."""
    rows, _ = examples.read_examples(inputs["data"] / "train.json")
    base = base_model.training_base(inputs["model"], "lora", ON_CPU)
    with lora.adapted(base, AdapterConfig(rank=4)):
        fit.plan_fit(base, rows, batch_size=8)
    gone = weakref.ref(base)
    weights = weakref.ref(base.model.layers[0].mlp.up_proj.weight)
    del base
    base_model.training_base(inputs["model"], "qat-lora", ON_CPU)
    gc.collect()
    assert gone() is None
    assert weights() is None
