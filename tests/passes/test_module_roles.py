"""Names of layers: another architecture's stand for what they compute."""

from __future__ import annotations

import pytest

from autotune.errors import UsageError
from autotune.passes import translated

LLAMA = [
    *(f"model.layers.{n}.self_attn.{part}_proj" for n in (0, 1) for part in "qkvo"),
    *(f"model.layers.{n}.mlp.{part}_proj" for n in (0, 1) for part in ("gate", "up", "down")),
]
PHI3 = [
    *("model.layers.0.self_attn.qkv_proj", "model.layers.0.self_attn.o_proj"),
    *("model.layers.0.mlp.gate_up_proj", "model.layers.0.mlp.down_proj"),
]
PHI2 = [
    *("model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.dense"),
    *("model.layers.0.mlp.fc1", "model.layers.0.mlp.fc2"),
]

CASES = [
    ("qkv_proj", LLAMA, ("k_proj", "q_proj", "v_proj")),
    ("o_proj", LLAMA, ("o_proj",)),
    ("gate_up_proj", LLAMA, ("gate_proj", "up_proj")),
    ("fc2", LLAMA, ("down_proj",)),
    ("q_proj", PHI3, ("qkv_proj",)),
    ("up_proj", PHI3, ("gate_up_proj",)),
    ("o_proj", PHI2, ("dense",)),
    ("dense", PHI2, ("dense",)),
    ("down_proj", PHI2, ("fc2",)),
]


@pytest.mark.parametrize(("name", "layers", "ours"), CASES)
def test_a_name_stands_for_the_layers_that_compute_the_same(
    name: str, layers: list[str], ours: tuple[str, ...]
) -> None:
    assert translated([name], layers, "some model") == {name: ours}


@pytest.mark.parametrize(
    ("name", "message"),
    [("router", "computes the same"), ("kproj", "did you mean 'k_proj'")],
)
def test_a_name_that_stands_for_nothing_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"Some has no '{name}'.*{message}"):
        translated([name], LLAMA, "Some")
