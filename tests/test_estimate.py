"""Estimates before anything was measured: which way they go, and what they rest on."""

from __future__ import annotations

from dataclasses import replace

from autotune.candidate import Precision, Recipe
from autotune.estimate import Estimator, has_fast_bf16

RECIPES = (Recipe(provider="cpu", precision=Precision.FP32),)
CPU = Estimator(
    parameters=135_000_000, train_tokens=50_000, scored_rows=200, gflops=160.0, has_bf16=False
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
    assert asked.training_s == 5.0 * CPU.train_tokens / CPU.estimate(RECIPES, None).tokens_per_s


def test_bfloat16_counts_where_its_products_are_fast() -> None:
    assert has_fast_bf16(("avx512f", "avx512_bf16"), "AMD EPYC")
    assert has_fast_bf16(("amx_bf16",), "Intel(R) Xeon(R) Processor")
    assert not has_fast_bf16(("avx512f", "avx512_bf16"), "Intel(R) Xeon(R) Processor")
    assert not has_fast_bf16(("avx2",), "AMD EPYC")
    slow, fast = (replace(CPU, has_bf16=has).estimate(RECIPES, 720.0) for has in (False, True))
    assert fast.tokens_per_s > 2 * slow.tokens_per_s
    assert fast.epochs > slow.epochs
