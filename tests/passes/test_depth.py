"""A cut model is the whole one without some layers, which are chosen on the user's rows."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="extra 'train' is not installed")
pytest.importorskip("transformers", reason="extra 'train' is not installed")

import torch
from safetensors.torch import load_file

from autotune.errors import ModelSourceError, UnsupportedRecipeError
from autotune.passes import (
    EXPORTABLE,
    PrunePass,
    check_cut,
    pass_class,
    read_architecture,
    why_not_cut,
)
from tests.tiny_model import make_tiny_model

from .model_files import CONFIG, SHAPES, write_model, write_safetensors
from .training_data import write_training_data

# Modules behind the folder's front door.
base_model, cutting, examples, layer_choice = (
    import_module(f"autotune.passes.{name}")
    for name in ("base_model", "cutting", "examples", "layer_choice")
)
LAYERS = 6


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of six layers; the third hardly does anything, the fourth nearly as little."""
    folder = make_tiny_model(tmp_path_factory.mktemp("deep"), layers=LAYERS)
    model = base_model.load_model(folder, torch.float32)
    with torch.no_grad():
        for number, share in ((2, 1e-3), (3, 1e-2)):
            layer = model.model.layers[number]
            layer.self_attn.o_proj.weight.mul_(share)
            layer.mlp.down_proj.weight.mul_(share)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def inputs(deep: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"model": deep, "data": write_training_data(tmp_path_factory.mktemp("data"))}


def cut(inputs: dict[str, Path], folder: Path, **parameters: Any) -> dict[str, Any]:
    folder.mkdir()
    return PrunePass(**parameters).run(inputs, folder)


def test_the_cut_folder_is_the_whole_model_without_those_layers(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    facts = cut(inputs, tmp_path / "cut", layers=4, rule="before-last-two")
    assert facts["kept"] == [0, 1, 4, 5]
    assert facts["removed"] == [2, 3]
    assert facts["influences"] is None
    found = base_model.load_model(tmp_path / "cut", torch.float32)
    assert found.config.num_hidden_layers == 4
    assert [layer.self_attn.layer_idx for layer in found.model.layers] == [0, 1, 2, 3]
    whole = base_model.load_model(inputs["model"], torch.float32)
    ids = torch.tensor([[5, 6, 7, 200, 299]])
    before = whole(input_ids=ids, use_cache=False).logits
    layers = whole.model.layers
    whole.model.layers = torch.nn.ModuleList([layers[number] for number in (0, 1, 4, 5)])
    wanted = whole(input_ids=ids, use_cache=False).logits
    torch.testing.assert_close(found(input_ids=ids).logits, wanted, rtol=0, atol=0)
    assert (before - wanted).abs().max() > 1e-3
    # The embeddings stay tied: there is no second copy of them on disk.
    assert "lm_head.weight" not in load_file(tmp_path / "cut" / "model.safetensors")
    per_layer = (facts["parameters_before"] - facts["parameters"]) / 2
    assert facts["parameters"] == read_architecture(tmp_path / "cut").parameters
    assert facts["parameters_before"] == read_architecture(inputs["model"]).parameters
    assert per_layer == sum(p.numel() for p in whole.model.layers[0].parameters())
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (inputs["model"] / name).read_bytes()


def test_the_layers_that_do_least_go(inputs: dict[str, Path], tmp_path: Path) -> None:
    facts = cut(inputs, tmp_path / "cut", layers=5)
    assert facts["rule"] == "influence"
    assert facts["removed"] == [2]
    assert facts["rows"] == 32
    assert facts["influences"][2] == min(facts["influences"]) < 1e-3
    assert facts["influences"][3] < 0.5 * min(facts["influences"][i] for i in (0, 1, 4, 5))
    facts = cut(inputs, tmp_path / "more", layers=4)
    assert facts["removed"] == [2, 3]


def test_influence_is_what_the_states_of_transformers_say(inputs: dict[str, Path]) -> None:
    """One row at a time, without padding; transformers' last state is normed and left out."""
    rows, _ = examples.read_examples(inputs["data"] / "train.json")
    model = base_model.load_model(inputs["model"], torch.float32)
    assert len({len(row.ids) for row in rows[:20]}) > 4
    turns: list[list[float]] = [[] for _ in range(LAYERS - 1)]
    for row in rows[:20]:
        ids = torch.tensor([row.ids])
        states = model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states
        for number, turned in enumerate(turns):
            cosine = torch.nn.functional.cosine_similarity(
                states[number], states[number + 1], dim=-1
            )
            turned.extend((1 - cosine[0]).tolist())
    found = layer_choice.influences_of(model, rows[:20])
    assert len(found) == LAYERS
    assert found[:-1] == pytest.approx([sum(one) / len(one) for one in turns], abs=1e-4)


@pytest.mark.parametrize("layers", [-1, 0, 1, LAYERS, LAYERS + 1])
def test_depths_that_are_none_are_refused(layers: int, deep: Path) -> None:
    with pytest.raises(UnsupportedRecipeError, match="from 2 to 5 of 6 layers"):
        check_cut(deep, layers)


def test_every_architecture_can_be_cut_or_says_why_not() -> None:
    whole = {name for name in EXPORTABLE if why_not_cut({"architectures": [name]})}
    assert whole == {
        "Gemma3ForCausalLM",
        "GptOssForCausalLM",
        "GraniteMoeHybridForCausalLM",
        "Lfm2ForCausalLM",
        "Lfm2MoeForCausalLM",
        "Phi3SmallForCausalLM",
    }
    assert "share keys and values" in why_not_cut(
        {"architectures": ["LlamaForCausalLM"], "num_kv_shared_layers": 2}
    )


def test_a_model_that_keeps_its_layers_is_refused_before_torch_is_asked(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", architectures=["GptOssForCausalLM"])
    with pytest.raises(UnsupportedRecipeError, match="the builder gives sliding windows"):
        PrunePass(layers=2).run({"model": model}, tmp_path)


def test_shards_and_values_per_layer_are_cut_alike(tmp_path: Path) -> None:
    kinds = ["sliding_attention", "full_attention"] * 2
    model = write_model(
        tmp_path / "model",
        architectures=["Gemma2ForCausalLM"],
        model_type="gemma2",
        num_hidden_layers=4,
    )
    (model / "model.safetensors").unlink()
    names = {f"model.layers.{n}.mlp.down_proj.weight": (64, 32 + n) for n in range(4)}
    weight_map = {}
    for number, (name, shape) in enumerate((SHAPES | names).items()):
        file = f"model-{number % 2}.safetensors"
        weight_map[name] = file
        shapes = {n: (SHAPES | names)[n] for n, f in weight_map.items() if f == file} | {
            name: shape
        }
        write_safetensors(model / file, shapes)
    index = {"metadata": {}, "weight_map": weight_map}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "cut").mkdir()
    cutting.write_cut(model, tmp_path / "cut", kept=(0, 1, 3))
    config = json.loads((tmp_path / "cut" / "config.json").read_text())
    assert config["layer_types"] == [kinds[0], kinds[1], kinds[3]]
    assert config["num_hidden_layers"] == 3
    index = json.loads((tmp_path / "cut" / "model.safetensors.index.json").read_text())
    found = {}
    for name, file in index["weight_map"].items():
        found[name] = tuple(load_file(tmp_path / "cut" / file)[name].shape)
    assert found == SHAPES | {
        f"model.layers.{new}.mlp.down_proj.weight": (64, 32 + old)
        for new, old in enumerate((0, 1, 3))
    }
    assert index["metadata"]["total_size"] == sum(
        4 * rows * (columns[0] if columns else 1) for rows, *columns in found.values()
    )


def test_weights_that_are_not_numbered_as_configured_are_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", model_type="llama", **CONFIG | {"num_hidden_layers": 3})
    with pytest.raises(ModelSourceError, match="have 0 numbers where the configuration says 3"):
        cutting.write_cut(model, tmp_path, kept=(0, 2))


def test_the_pass_is_registered() -> None:
    assert pass_class("prune") is PrunePass
