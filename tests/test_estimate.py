"""Estimates before anything was measured: which way they go, and what they rest on."""

from __future__ import annotations

from dataclasses import replace

from autotune.candidate import Algorithm, Precision, Recipe
from autotune.estimate import Estimator, bf16_speedup

RECIPES = (Recipe(provider="cpu", precision=Precision.FP32),)
CPU = Estimator(
    parameters=135_000_000,
    train_tokens=50_000,
    scored_rows=200,
    gflops=160.0,
    bf16_speedup=1.0,
    batch_tokens=600,
)
GPU = replace(CPU, trains_on="cuda NVIDIA H100 80GB HBM3")


def test_a_gpu_trains_faster_and_so_sees_more_of_the_data() -> None:
    on_cpu, on_gpu = (one.estimate(RECIPES, budget_s=720.0) for one in (CPU, GPU))
    assert on_gpu.tokens_per_s > 10 * on_cpu.tokens_per_s
    assert on_gpu.epochs > on_cpu.epochs
    assert on_gpu.training_s < on_cpu.training_s
    assert on_gpu.stage_s["score"] == on_cpu.stage_s["score"]
    assert "NVIDIA H100" in on_gpu.basis
    assert "training" in on_cpu.basis


def test_a_larger_model_trains_slower_on_either() -> None:
    for one in (CPU, GPU):
        large = replace(one, parameters=1_700_000_000)
        assert large.estimate(RECIPES, None).tokens_per_s < one.estimate(RECIPES, None).tokens_per_s


def test_a_length_that_was_asked_for_is_not_cut_to_the_budget() -> None:
    free, asked = CPU.estimate(RECIPES, 300.0), CPU.estimate(RECIPES, 300.0, epochs=5.0)
    assert free.epochs < 3.0 < asked.epochs == 5.0
    # and what a training takes before its first step
    assert asked.training_s > 5.0 * CPU.train_tokens / CPU.estimate(RECIPES, None).tokens_per_s


def test_bfloat16_counts_where_its_products_are_fast() -> None:
    assert bf16_speedup(("avx512f", "avx512_bf16"), "AMD EPYC") > 2
    assert bf16_speedup(("amx_bf16",), "Intel(R) Xeon(R) Processor") > 2
    assert bf16_speedup(("avx512f", "avx512_bf16"), "Intel(R) Xeon(R) Processor") == 1.0
    assert bf16_speedup(("avx2",), "AMD EPYC") == 1.0
    slow, fast = (replace(CPU, bf16_speedup=by).estimate(RECIPES, 720.0) for by in (1.0, 2.5))
    assert fast.tokens_per_s == 2.5 * slow.tokens_per_s
    assert fast.epochs > slow.epochs
    assert fast.memory_bytes < slow.memory_bytes


# What runs of the demo took whose plan this has to tell within a factor of 1.5: two cores of a
# Xeon with AMX and of an EPYC, and a larger model of random weights (docs/LOG.md).
_DEMO = replace(CPU, train_tokens=16_800, scored_rows=184, batch_tokens=16 * 38)
_CENSUS = tuple(
    Recipe(
        provider="cpu",
        precision=precision,
        block_size=block_size,
        algorithm=Algorithm.DEFAULT if precision is Precision.INT4 else None,
        accuracy_level=level,
    )
    for precision, block_size, level in (
        *((Precision.INT4, size, 4) for size in (16, 32, 128)),
        *((Precision.INT4, 32, level) for level in (1, 2)),
        *((Precision.INT8, size, 4) for size in (32, 128)),
    )
)


def within(estimate: float, least: float, most: float) -> bool:
    """Whether a factor of 1.5 lies between ``estimate`` and both ends of what was seen."""
    return most / 1.5 <= estimate <= least * 1.5


def test_the_demo_on_a_xeon_took_what_is_told() -> None:
    found = replace(_DEMO, bf16_speedup=bf16_speedup(("amx_bf16",), "Intel")).estimate(
        (*_CENSUS, *RECIPES), 720.0
    )
    assert within(found.census_s((*_CENSUS, *RECIPES), rounds=2, share=64 / 184), 85.0, 108.0)
    assert within(found.training_s, 81.0, 130.0)
    assert within(found.memory_bytes, 4.8e9, 5.7e9)
    assert within(found.disk_bytes, 4.3e9, 4.6e9)


def test_a_larger_model_took_what_is_told() -> None:
    larger = replace(_DEMO, parameters=362_000_000, bf16_speedup=2.2)
    found = larger.estimate(_CENSUS[:1], 720.0)
    assert within(found.tokens_per_s, 265.0, 265.0)
    assert within(found.memory_bytes, 7.4e9, 7.5e9)
