"""Which methods a search may try: what was asked for, or what the machine has a use for."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.candidate import Method
from autotune.errors import UsageError
from autotune.passes import layer_names
from autotune.trainings import Trainer, Trainings, offer

WITH = {"torch": "2.13.0", "bitsandbytes": "0.50.2"}
GB = 1_000_000_000
SMALL, LARGE = 135_000_000, 7 * GB


def trainer(*, device: str = "cpu", memory: int | None = 24 * GB, has: bool = True) -> Trainer:
    versions = WITH if has else {"torch": "2.13.0"}
    return Trainer(device=device, memory_bytes=memory, versions=versions)


@pytest.mark.parametrize(
    ("machine", "parameters", "methods", "words"),
    [
        (trainer(), SMALL, ("lora",), "1.3 times as long"),
        (trainer(memory=None), SMALL, ("lora",), "1.3 times as long"),
        (trainer(memory=1 * GB), SMALL, ("lora", "qlora"), "540 MB of 1 GB in 32 bits"),
        (trainer(), LARGE, ("qlora",), "28 GB of 24 GB in 32 bits, so only 4 bits fit"),
        (trainer(has=False), LARGE, ("lora",), "bitsandbytes, which is not installed"),
        (trainer(device="cuda NVIDIA T4"), SMALL, ("lora", "qlora"), "kernels for a 4-bit base"),
        (
            trainer(device="cuda NVIDIA T4", memory=16 * GB),
            LARGE,
            ("lora", "qlora"),
            "14 GB of 16 GB in 16 bits",
        ),
        (trainer(device="cuda NVIDIA T4", memory=8 * GB), LARGE, ("qlora",), "only 4 bits fit"),
        (trainer(device="cuda NVIDIA T4", has=False), SMALL, ("lora",), "not installed"),
    ],
)
def test_qlora_is_offered_where_it_has_something_to_give(
    machine: Trainer, parameters: int, methods: tuple[Method, ...], words: str
) -> None:
    found = offer(Trainings(), machine, parameters)
    assert found.methods == methods
    assert words in found.reason


def test_what_was_asked_for_is_offered() -> None:
    for methods in (("lora",), ("qlora",), ("qlora", "lora")):
        asked: tuple[Method, ...] = methods
        assert offer(Trainings(methods=asked), trainer(), SMALL).methods == asked


def test_qlora_that_cannot_run_is_refused_before_anything_runs() -> None:
    with pytest.raises(UsageError, match=r"needs bitsandbytes.*autotune-slm\[train\]"):
        offer(Trainings(methods=("lora", "qlora")), trainer(has=False), SMALL)
    assert offer(Trainings(methods=("lora",)), trainer(has=False), SMALL).methods == ("lora",)


LAYERS = ("model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj")


def test_names_of_layers_are_looked_up_before_anything_runs() -> None:
    Trainings(target_modules=("attention", "q_proj", "q_proj+mlp.up_proj")).check_modules(LAYERS)
    with pytest.raises(UsageError, match=r"'k_proj', which is no layer.* it has q_proj, up_proj"):
        Trainings(target_modules=("mlp", "q_proj+k_proj")).check_modules(LAYERS)


def test_a_training_has_one_length() -> None:
    with pytest.raises(UsageError, match="--epochs and --steps both"):
        Trainings(epochs=2.0, steps=100)
    with pytest.raises(UsageError, match="epochs must be finite"):
        Trainings(epochs=0.0)


def test_the_layers_of_a_model_are_read_from_its_headers(tiny_model_dir: Path) -> None:
    found = {name.rpartition(".")[2] for name in layer_names(tiny_model_dir)}
    assert found == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    }
