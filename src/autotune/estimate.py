"""What a run will cost before anything was measured: time, disk and memory, with the basis.

The reference figures are those of a 135M-parameter model on two AVX512-BF16
cores; they are scaled by model size, cores and instruction set. A GPU that trains
is assumed to be a small one. The planner replaces every estimate by what it sees.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autotune.candidate import Algorithm, Precision, Recipe

__all__ = ["Estimates", "Estimator", "assumed_gflops", "bf16_speedup", "free_disk_bytes"]

_REFERENCE_PARAMETERS = 135e6
_REFERENCE_GFLOPS = 164.0  # fp32 matrix product, two cores
# Half of the fp32 peak at 2.5 GHz: 2 operations x lanes x units x clock.
_GFLOPS_PER_CORE = (("avx512f", 80.0), ("avx2", 40.0), ("asimd", 20.0), ("neon", 20.0))
_GFLOPS_OTHER = 10.0
_REFERENCE_TOKENS_PER_S = 290.0  # LoRA on all linear layers, fp32, batches of 16
# AMX and AMD's AVX512_BF16 multiply bf16 at least four times as fast as AVX-512 does fp32 (EPYC:
# 497 against 113 GFLOP/s on a core); Intel's AVX512_BF16 is no faster on some (86 against 155).
# What a training has of it: 700 to 820 tokens/s on EPYC, 480 to 710 with AMX.
_BF16_SPEEDUP_AMD = 2.5
_BF16_SPEEDUP_AMX = 2.2
_TRAINING_START_S = 8.0  # torch, the base, the loss on the validation rows
# A training on a GPU: 4 operations per weight and token (forwards, and backwards to the
# adapters) at half of what the smallest with bfloat16 reach, and what a token's share of a
# step takes to ask for: 25 ms over 16 rows of 25 tokens, which no GPU makes shorter.
_GPU_FLOPS = 10e12
_GPU_ASKING_S = 0.025 / 400
_REQUEST_S = 0.04  # 25 prompt tokens; int4 to fp32 took 25 to 50 ms
_PROCESS_S = 0.5  # until a built model has answered once in a new process
_REQUESTS_PER_BLOCK = 40  # timed ones and the warm-up
# Bytes per weight of the built graph, with the embedding that stays wider in int4.
_BYTES_PER_WEIGHT: Mapping[Precision, float] = {
    Precision.FP32: 4.04,
    Precision.FP16: 2.02,
    Precision.BF16: 2.02,
    Precision.INT8: 2.0,
    Precision.INT4: 0.87,
}
_CHECKPOINT_BYTES_PER_WEIGHT = 2.0
# What stays of a source in the store: the checkpoint, and the download that it came from.
_SOURCE_BYTES_PER_WEIGHT = 3.3
# An adapter of rank 32 with AdamW's moments, as a rung leaves it.
_RUNG_BYTES_PER_WEIGHT = 0.9
# Of a run that finishes three trainings: rungs of those and of the ones that it gave up.
_FINISHED = 3
_RUNGS_PER_FINISHED = 7 / 3
_BUILD_S: Mapping[Algorithm | None, float] = {
    Algorithm.K_QUANT: 28.0,
    Algorithm.K_QUANT_MIXED: 30.0,
}
_BUILD_OTHER_S = 5.5
_FIRST_BUILD_S = 9.0  # over a later one: the builder's import, the source's conversion
# Peaks of two worker processes, seen at 135M and 362M weights (docs/LOG.md); the one that trained
# keeps its base while the other one merges and builds. Per trained token: what is kept of a
# batch for the gradients.
_TRAINER_BYTES = 0.9e9
_TRAINER_BYTES_PER_WEIGHT = 1.0  # beside the base
_TRAINED_TOKEN_BYTES_PER_WEIGHT = 0.005
_BUILDER_BYTES = 1.8e9
_BUILDER_BYTES_PER_WEIGHT = 8.0
_BUILDER_BYTES_PER_WEIGHT_K_QUANT = 15.0  # 2.4 GB for 135M weights, where plain int4 took 1.5


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """A run's expected cost.

    Attributes:
        tokens_per_s: training speed.
        epochs: passes over the training data that fit the budget.
        training_s: one full training.
        stage_s: prior cost per stage, as the planner's settings want them.
        disk_bytes: what the store will grow by.
        memory_bytes: peak of all processes together.
        basis: where the figures come from, for people.
        weights_bytes: of a checkpoint.
        training_bytes: of one training with its model and build.
        cut_bytes: what the store will grow by on top where the run cuts the model.
    """

    tokens_per_s: float
    epochs: float
    training_s: float
    stage_s: dict[str, float]
    disk_bytes: float
    memory_bytes: float
    basis: str
    weights_bytes: float = 0.0
    training_bytes: float = 0.0
    cut_bytes: float = 0.0

    def with_cuts(self, shares: Sequence[float]) -> Estimates:
        """Return the same for a run that may cut the model to ``shares`` of its layers.

        Each cut is a checkpoint in the store, healed another one; of its graphs, those of the
        few recipes that the census picks stand for as much again.
        """
        return replace(self, cut_bytes=3 * sum(shares) * self.weights_bytes)

    def census_s(self, recipes: Sequence[Recipe], *, rounds: int, share: float) -> float:
        """Return seconds to build, score and time the untrained model with ``recipes``.

        Args:
            recipes: ways to build it.
            rounds: blocks of requests that each is timed in.
            share: of the validation rows that an untrained model is scored on.
        """
        stages = self.stage_s
        builds = stages["first build"] + sum(stages[f"build:{one.name}"] for one in recipes)
        return builds + len(recipes) * (share * stages["score"] + rounds * stages["measure"])

    def of_one_training(self, epochs: float) -> Estimates:
        """Return the same for a run with a single training of ``epochs`` passes."""
        passes_s = (self.training_s - _TRAINING_START_S) / self.epochs * epochs
        seconds = _TRAINING_START_S + passes_s
        return replace(
            self,
            epochs=epochs,
            training_s=seconds,
            stage_s={**self.stage_s, "finetune": seconds},
            disk_bytes=self.disk_bytes - (_FINISHED - 1) * self.training_bytes,
        )

    def measured_elsewhere(self) -> Estimates:
        """Return the same for a run that has its measurements from another machine."""
        return replace(self, stage_s={**self.stage_s, "measure": 0.0})


def assumed_gflops(isa: Sequence[str], cores: float) -> float:
    """Return a matrix-product rate in GFLOP/s (fp32) from the instruction set and the cores.

    A table and not a measurement on purpose: the length of a training follows from it,
    and the same request must give the same trainings however busy the machine is.
    """
    per_core = next((rate for name, rate in _GFLOPS_PER_CORE if name in isa), _GFLOPS_OTHER)
    return per_core * max(1.0, cores)


def bf16_speedup(isa: Sequence[str], model: str) -> float:
    """Return how much faster than in float32 a training in bfloat16 is on a processor.

    Args:
        isa: instruction sets that it has.
        model: its marketing name.

    Returns:
        1.0 where products in bfloat16 do not clearly beat float32.
    """
    if "amx_bf16" in isa:
        return _BF16_SPEEDUP_AMX
    return _BF16_SPEEDUP_AMD if "avx512_bf16" in isa and "AMD" in model else 1.0


def free_disk_bytes(path: Path) -> int:
    """Return the free bytes of the file system that will hold ``path``."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """Estimates for one model and one data set on one machine.

    Attributes:
        parameters: weights of the model.
        train_tokens: of one pass over the training rows, padding left out.
        scored_rows: rows of the validation split.
        gflops: ``assumed_gflops`` of the machine.
        bf16_speedup: ``bf16_speedup`` of the machine.
        batch_tokens: of the largest batch of training rows.
        trains_on: ``cpu``, or a GPU (``autotune.passes.training_device``).
    """

    parameters: int
    train_tokens: int
    scored_rows: int
    gflops: float
    bf16_speedup: float
    batch_tokens: int
    trains_on: str = "cpu"

    # One training may take this share of the budget: three are started, two finished,
    # and census, builds and confirmation need about half.
    _training_share = 0.16
    _most_epochs = 3.0
    _fewest_epochs = 0.3

    def estimate(
        self, recipes: Sequence[Recipe], budget_s: float | None, *, epochs: float | None = None
    ) -> Estimates:
        """Return what a run over ``recipes`` will cost; without ``epochs`` the budget decides."""
        speed = self._tokens_per_s()
        epoch_s = self.train_tokens / speed
        if epochs is None:
            epochs = self._epochs(budget_s, epoch_s)
        return Estimates(
            tokens_per_s=speed,
            epochs=epochs,
            training_s=_TRAINING_START_S + epochs * epoch_s,
            stage_s=self._stage_s(recipes, _TRAINING_START_S + epochs * epoch_s),
            disk_bytes=self._census_bytes(recipes) + _FINISHED * self._training_bytes(recipes),
            memory_bytes=self._memory_bytes(recipes),
            weights_bytes=_CHECKPOINT_BYTES_PER_WEIGHT * self.parameters,
            training_bytes=self._training_bytes(recipes),
            basis=(
                f"{self.parameters / 1e6:.0f}M weights, {self.gflops:.0f} GFLOP/s fp32 assumed"
                f" for its cores, {self._training_basis()}"
            ),
        )

    def _epochs(self, budget_s: float | None, epoch_s: float) -> float:
        if budget_s is None:
            return self._most_epochs
        fitting = self._training_share * budget_s / epoch_s
        return min(self._most_epochs, max(self._fewest_epochs, round(fitting, 1)))

    def _training_basis(self) -> str:
        if self.trains_on != "cpu":
            return f"training on {self.trains_on} at {_GPU_FLOPS / 1e12:.0f} TFLOP/s assumed"
        return f"{'bf16' if self.bf16_speedup > 1 else 'fp32'} training"

    def _tokens_per_s(self) -> float:
        if self.trains_on != "cpu":
            return 1 / (4 * self.parameters / _GPU_FLOPS + _GPU_ASKING_S)
        return _REFERENCE_TOKENS_PER_S * self._scale() * self.bf16_speedup

    def _scale(self) -> float:
        """Return how much faster than the reference one pass over a token is."""
        return _REFERENCE_PARAMETERS / self.parameters * self.gflops / _REFERENCE_GFLOPS

    def _stage_s(self, recipes: Sequence[Recipe], training_s: float) -> dict[str, float]:
        size = self.parameters / _REFERENCE_PARAMETERS
        request_s = _REQUEST_S / self._scale()
        stages = {
            "finetune": training_s,
            "merge": 3.0 * size,
            "first build": _FIRST_BUILD_S * size,
            "build": _BUILD_OTHER_S * size,
            "score": _PROCESS_S + self.scored_rows * request_s,
            "measure": _PROCESS_S + _REQUESTS_PER_BLOCK * request_s,
        }
        for recipe in recipes:
            stages[f"build:{recipe.name}"] = _BUILD_S.get(recipe.algorithm, _BUILD_OTHER_S) * size
        return stages

    def _census_bytes(self, recipes: Sequence[Recipe]) -> float:
        built = sum(_BYTES_PER_WEIGHT[recipe.precision] for recipe in recipes)
        return (_SOURCE_BYTES_PER_WEIGHT + built) * self.parameters

    def _training_bytes(self, recipes: Sequence[Recipe]) -> float:
        """Return what a training leaves with its merged model, built with one of the recipes."""
        built = sum(_BYTES_PER_WEIGHT[recipe.precision] for recipe in recipes) / len(recipes)
        rungs = _RUNGS_PER_FINISHED * _RUNG_BYTES_PER_WEIGHT
        return (rungs + _CHECKPOINT_BYTES_PER_WEIGHT + built) * self.parameters

    def _memory_bytes(self, recipes: Sequence[Recipe]) -> float:
        slow = {Algorithm.K_QUANT, Algorithm.K_QUANT_MIXED}
        has_k_quant = any(recipe.algorithm in slow for recipe in recipes)
        builder = _BUILDER_BYTES_PER_WEIGHT_K_QUANT if has_k_quant else _BUILDER_BYTES_PER_WEIGHT
        trainer = _TRAINER_BYTES_PER_WEIGHT + (2.0 if self.bf16_speedup > 1 else 4.0)
        if self.trains_on == "cpu":
            trainer += _TRAINED_TOKEN_BYTES_PER_WEIGHT * self.batch_tokens
        return _TRAINER_BYTES + _BUILDER_BYTES + (trainer + builder) * self.parameters
