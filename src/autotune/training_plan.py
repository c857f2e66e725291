"""Which trainings a run may do and how long they are: request, model and machine put together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from autotune.candidate import Recipe
from autotune.config import RunConfig
from autotune.depths import DepthOffer
from autotune.estimate import Estimates, Estimator, assumed_gflops, bf16_speedup
from autotune.passes import ModelSource, has_grid, layer_names, why_not_mixed
from autotune.search import SearchSpace
from autotune.targets import Machine, read_accelerators
from autotune.task import TrainingExample
from autotune.trainings import Offer, Rounding, Trainer, Trainings, offer

__all__ = ["offered_methods", "offered_space", "reproduced", "run_estimates"]

# lora_alpha over rank; the portfolio takes 2, the sampler may halve it.
_ALPHA_RATIOS = (1.0, 2.0)


def run_estimates(
    config: RunConfig,
    source: ModelSource,
    examples: Sequence[TrainingExample],
    *,
    n_scored: int,
    recipes: tuple[Recipe, ...],
    machine: Machine,
    trains_on: str,
) -> Estimates:
    """Return what a run will cost here.

    Args:
        config: the request.
        source: the model.
        examples: what a pass over the data trains on.
        n_scored: rows of the validation split.
        recipes: what may be built.
        machine: facts of this one.
        trains_on: as ``training_device`` says it.
    """
    isa = machine.processor.isa.value or ()
    estimator = Estimator(
        parameters=source.architecture.parameters,
        train_tokens=sum(len(example.ids) for example in examples),
        scored_rows=n_scored,
        gflops=assumed_gflops(isa, machine.processor.usable_cores.value or 1.0),
        bf16_speedup=bf16_speedup(isa, machine.processor.model.value or ""),
        batch_tokens=_batch_size(config) * max(len(example.ids) for example in examples),
        trains_on=trains_on,
    )
    epochs = _epochs(config.trainings, len(examples))
    return estimator.estimate(recipes, config.budget_s, epochs=epochs)


def _batch_size(config: RunConfig) -> int:
    training = config.chain.training if config.chain else None
    return training.adapter.batch_size if training else SearchSpace().batch_sizes[0]


def _epochs(trainings: Trainings, rows: int) -> float | None:
    """Return how many passes were asked for, None where the budget decides."""
    if trainings.steps is None:
        return trainings.epochs
    return trainings.steps / math.ceil(rows / SearchSpace().batch_sizes[0])


def offered_methods(
    config: RunConfig,
    source: ModelSource,
    machine: Machine,
    versions: Mapping[str, str],
    *,
    recipes: Sequence[Recipe],
) -> Offer:
    """Return the methods that may be tried, and why.

    Raises:
        UsageError: one that was asked for cannot run.
    """
    trains_on = versions["training-device"]
    if trains_on == "cpu":
        n_bytes = machine.memory.limit_bytes.value or machine.memory.total_bytes.value
    else:  # torch trains on the first one
        gpus = read_accelerators().nvidia.value or ()
        n_bytes = next((gpu.memory_bytes.value for gpu in gpus), None)
    trainer = Trainer(device=trains_on, memory_bytes=n_bytes, versions=versions)
    known = tuple(filter(None, dict.fromkeys(recipe.quantiser for recipe in recipes)))
    rounding = Rounding(known=known, reproduced=reproduced(known, source))
    return offer(config.trainings, trainer, source.architecture.parameters, rounding)


def reproduced(quantisers: Sequence[str], source: ModelSource) -> tuple[str, ...]:
    """Return those of ``quantisers`` whose rounding of this model training can do."""
    names, layers = layer_names(source.artifact.path), source.architecture.layers
    return tuple(q for q in quantisers if has_grid(q) and not why_not_mixed(q, names, layers))


def offered_space(
    config: RunConfig, offered: Offer, depths: DepthOffer, *, epochs: float
) -> SearchSpace:
    """Return the adapter configs that may be tried; ``epochs`` is how long each is trained."""
    asked = config.trainings
    return SearchSpace(
        methods=offered.methods,
        alpha_ratios=_ALPHA_RATIOS,
        epochs=(epochs,),
        target_modules=asked.target_modules,
        merge_bases=asked.merge_bases,
        quantisers=offered.quantisers,
        layers=(None, *depths.layers),
        seed=config.seed,
        rslora=asked.rslora,
        double_quant=asked.double_quant,
        schedule=asked.schedule,
        steps=asked.steps,
        clip_norm=asked.clip_norm,
    )
