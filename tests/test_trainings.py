"""Which methods a search may try: what was asked for, or what the machine has a use for."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.candidate import Method
from autotune.errors import UsageError
from autotune.passes import layer_names
from autotune.trainings import Rounding, Trainer, Trainings, offer

WITH = {"torch": "2.13.0", "bitsandbytes": "0.50.2"}
GB = 1_000_000_000
SMALL, LARGE = 135_000_000, 7 * GB
FLOATS = Rounding(known=(), reproduced=())
BOTH = Rounding(
    known=("int4-b32", "int4-b32-k_quant", "int8-b32"), reproduced=("int4-b32", "int8-b32")
)


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
        (trainer(device="cuda NVIDIA T4"), SMALL, ("lora",), "only lora's steps are replayed"),
        (trainer(device="cuda NVIDIA T4"), 3 * GB, ("lora", "qlora"), "kernels for a 4-bit base"),
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
    found = offer(Trainings(), machine, parameters, FLOATS)
    assert found.methods == methods
    assert words in found.reason


def test_what_was_asked_for_is_offered() -> None:
    for methods in (("lora",), ("qlora",), ("qlora", "lora")):
        asked: tuple[Method, ...] = methods
        assert offer(Trainings(methods=asked), trainer(), SMALL, FLOATS).methods == asked


def test_qlora_that_cannot_run_is_refused_before_anything_runs() -> None:
    with pytest.raises(UsageError, match=r"needs bitsandbytes.*autotune-slm\[train\]"):
        offer(Trainings(methods=("lora", "qlora")), trainer(has=False), SMALL, FLOATS)
    found = offer(Trainings(methods=("lora",)), trainer(has=False), SMALL, FLOATS)
    assert found.methods == ("lora",)


def test_a_quantiser_in_the_loop_is_offered_for_recipes_that_training_can_round_like() -> None:
    found = offer(Trainings(), trainer(), SMALL, BOTH)
    assert found.methods == ("lora", "qat-lora")
    assert found.quantisers == ("int4-b32", "int8-b32")
    one = offer(Trainings(quantisers=("int8-b32",)), trainer(), SMALL, BOTH)
    assert (one.methods, one.quantisers) == (("lora", "qat-lora"), ("int8-b32",))
    assert offer(Trainings(methods=("qat-lora",)), trainer(), SMALL, BOTH).methods == ("qat-lora",)


@pytest.mark.parametrize(
    ("asked", "machine", "rounding", "words"),
    [
        (Trainings(methods=("lora",)), trainer(), BOTH, "--methods leaves qat-lora out"),
        (Trainings(), trainer(), FLOATS, "no recipe rounds weights as training can"),
        (Trainings(), trainer(memory=10**8), BOTH, "only a 4-bit base fits"),
    ],
)
def test_the_offer_says_why_there_is_no_quantiser_in_the_loop(
    asked: Trainings, machine: Trainer, rounding: Rounding, words: str
) -> None:
    found = offer(asked, machine, SMALL, rounding)
    assert found.quantisers == ()
    assert "qat-lora" not in found.methods
    assert words in found.quantiser_reason


@pytest.mark.parametrize(
    ("asked", "rounding", "words"),
    [
        (
            Trainings(quantisers=("int3-b32",)),
            BOTH,
            "no recipe that runs here has; choose from int4",
        ),
        (
            Trainings(quantisers=("int4-b32-k_quant",)),
            BOTH,
            "not reproduce; choose from int4-b32, in",
        ),
        (
            Trainings(methods=("qat-lora",)),
            Rounding(known=("int4-b32-k_quant",), reproduced=()),
            "those that run here round with int4-b32-k_quant; leave it out",
        ),
    ],
)
def test_a_quantiser_that_cannot_be_in_the_loop_is_refused_with_what_can(
    asked: Trainings, rounding: Rounding, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        offer(asked, trainer(), SMALL, rounding)


def test_quantisers_without_their_method_are_refused() -> None:
    with pytest.raises(UsageError, match=r"--quantisers are for method 'qat-lora', got .*lora"):
        Trainings(methods=("lora",), quantisers=("int4-b32",))


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
