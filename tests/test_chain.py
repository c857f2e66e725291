"""A chain that is fixed: what it may be, which recipe it means, what its search space is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotune.candidate import AdapterConfig, Algorithm, Head, Precision
from autotune.chain import BuildChoice, Chain, FixedTraining
from autotune.chained import OpenedChain, chosen_recipe
from autotune.errors import UnsupportedRecipeError, UsageError
from autotune.estimate import Estimates
from autotune.search import SearchSpace
from autotune.targets import Architecture, recipes_for

ARCHITECTURE = Architecture(
    name="LlamaForCausalLM",
    layers=2,
    hidden_size=64,
    vocab_size=300,
    tied_embeddings=True,
    context_length=512,
    parameters=10_000,
)
CPU = tuple(recipes_for("cpu", ARCHITECTURE)[0])
CUDA = tuple(recipes_for("cuda", ARCHITECTURE)[0])
TRAINING = FixedTraining(adapter=AdapterConfig())
INT4 = BuildChoice(precision=Precision.INT4)


def _choice(**options: object) -> BuildChoice:
    return replace(INT4, **options)  # type: ignore[arg-type]  # options of the table below


CHOICES = [
    (INT4, "cpu", "cpu-int4-b32"),
    (INT4, "cuda", "cuda-int4-b32-acc0"),
    (_choice(block_size=64), "cpu", "cpu-int4-b64"),
    (_choice(accuracy_level=1), "cpu", "cpu-int4-b32-acc1"),
    (_choice(algorithm=Algorithm.K_QUANT), "cpu", "cpu-int4-b32-k_quant"),
    (
        _choice(algorithm=Algorithm.RTN, head=Head.INT8, symmetric=False),
        "cpu",
        "cpu-int4-b32-rtn-asym-head8",
    ),
    (_choice(precision=Precision.INT8), "cpu", "cpu-int8-b32"),
    (_choice(precision=Precision.FP32), "cpu", "cpu-fp32"),
    (_choice(precision=Precision.FP16), "cuda", "cuda-fp16"),
    (_choice(precision=Precision.FP16, cuda_graph=True), "cuda", "cuda-fp16-graph"),
]


@pytest.mark.parametrize(("build", "provider", "name"), CHOICES)
def test_what_is_not_given_is_the_builders_default(
    build: BuildChoice, provider: str, name: str
) -> None:
    assert chosen_recipe(build, provider, (*CPU, *CUDA), ARCHITECTURE).name == name


WRONG = [
    (_choice(precision=Precision.FP16), "cpu", "cpu-fp16.*fails at its first run"),
    (_choice(block_size=512), "cpu", "block_size is one of 16"),
    (_choice(cuda_graph=True), "cpu", "CUDA graphs are for cuda"),
    (_choice(symmetric=False), "cpu", "cpu-int4-b32-asym.*the graph builds but does not load"),
]


@pytest.mark.parametrize(("build", "provider", "message"), WRONG)
def test_what_a_provider_does_not_run_is_refused_with_the_reason(
    build: BuildChoice, provider: str, message: str
) -> None:
    with pytest.raises(UnsupportedRecipeError, match=message):
        chosen_recipe(build, provider, (*CPU, *CUDA), ARCHITECTURE)


def test_a_fixed_build_is_one_recipe_a_provider_and_first_of_all_where_opened() -> None:
    fixed, refused = OpenedChain(build=INT4).choose((*CPU, *CUDA), (), ARCHITECTURE)
    assert ([one.name for one in fixed], refused) == (["cpu-int4-b32", "cuda-int4-b32-acc0"], ())
    opened, _ = OpenedChain(build=INT4, is_opened=True).choose(CPU, (), ARCHITECTURE)
    assert (opened[0].name, set(opened)) == ("cpu-int4-b32", set(CPU))
    assert OpenedChain().choose(CPU, (), ARCHITECTURE) == (CPU, ())


def test_a_fixed_training_is_estimated_by_its_steps() -> None:
    estimates = Estimates(
        tokens_per_s=100.0,
        epochs=2.0,
        training_s=68.0,
        stage_s={"finetune": 68.0, "merge": 3.0},
        disk_bytes=5e9,
        training_bytes=1e9,
        memory_bytes=0,
        basis="",
    )
    chain = OpenedChain(adapter=AdapterConfig(steps=30, batch_size=4), n_examples=20)
    found = chain.estimated(estimates)  # six passes of five steps, 30 s each, after 8 s
    assert (found.epochs, found.training_s, found.stage_s["finetune"]) == (6.0, 188.0, 188.0)
    assert found.stage_s["merge"] == 3.0
    assert found.disk_bytes == 3e9  # one training in the place of three


CHAINS = [
    (None, None, False, "trains or builds"),
    (None, INT4, True, "merged after its training"),
    (TRAINING, INT4, False, "merge the adapter before the build"),
]


@pytest.mark.parametrize(("training", "build", "merges", "message"), CHAINS)
def test_a_chain_that_makes_no_sense_is_refused(
    training: FixedTraining | None, build: BuildChoice | None, *, merges: bool, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Chain(training=training, build=build, merges=merges)


def test_only_whole_chains_can_be_scored() -> None:
    assert Chain(training=TRAINING, merges=True, build=INT4).is_whole
    assert not Chain(training=TRAINING, merges=True).is_whole
    assert not Chain(build=INT4).is_whole


ADAPTERS = [
    AdapterConfig(),
    AdapterConfig(rank=3, alpha_ratio=0.7, learning_rate=0.3, steps=9, clip_norm=None),
    AdapterConfig(method="qlora", merge_base="dequantized", double_quant=False, dropout=0.1),
    AdapterConfig(target_modules="o_proj+q_proj", schedule="linear", rslora=True, weight_decay=0.1),
]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_space_of_one_config_holds_nothing_else(adapter: AdapterConfig) -> None:
    space = SearchSpace.only(adapter)
    assert (space.size, list(space.grid()), space.dimensions()) == (1, [adapter], ())
    assert space.draw(7) == adapter
