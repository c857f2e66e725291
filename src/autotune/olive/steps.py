"""Passes as a chain: train as given, merge, build as given."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from autotune.candidate import PARTS, AdapterConfig, Algorithm, Head, Precision, Schedule
from autotune.chain import BuildChoice, Chain, FixedTraining
from autotune.errors import UsageError

from .rule import Family
from .spelling import Part

__all__ = ["chain_of", "defaults_said", "trained_by"]

# Olive 0.13's own where a field is absent; the rest are those of transformers 5.
_DEFAULTS: Mapping[str, Any] = {
    "r": 64,
    "alpha": 16.0,
    "lora_dropout": 0.0,
    "training_args.per_device_train_batch_size": 8,
    "training_args.gradient_accumulation_steps": 1,
    "training_args.learning_rate": 2e-4,
    "training_args.num_train_epochs": 3.0,
    "training_args.weight_decay": 0.0,
    "training_args.seed": 42,
    "training_args.lr_scheduler_type": "constant",
    "training_args.max_grad_norm": 1.0,
}
_QLORA_DEFAULTS: Mapping[str, Any] = {"double_quant": False}
_WARMUP = 0.03  # where the rate falls afterwards
_SCHEDULES: Mapping[str, Schedule] = {
    "constant": "constant",
    "constant_with_warmup": "constant",
    "cosine": "cosine",
    "linear": "linear",
}
_DTYPES = {"float32": Precision.FP32, "float16": Precision.FP16, "bfloat16": Precision.BF16}
_LAST = "_last"  # of the builder's algorithms that keep eight bits for the head
_TRAINED = (Family.LORA, Family.QLORA)
_BUILT = (Family.CONVERT, Family.EXPORT, Family.BUILD)
_ORDER = (*_TRAINED, Family.MERGE, *_BUILT)


def trained_by(passes: Sequence[Part]) -> Part | None:
    """Return the pass that trains.

    Raises:
        UsageError: there is more than one.
    """
    found = [part for part in passes if part.family in _TRAINED]
    if len(found) > 1:
        raise UsageError(
            f"{found[0].place} and {found[1].place} both train; leave one of them out"
            f" (--set {found[1].place}=null)."
        )
    return found[0] if found else None


def chain_of(passes: Sequence[Part], *, is_opened: bool) -> Chain:
    """Return the chain that the passes are.

    Raises:
        UsageError: steps twice, in another order, or values out of range.
    """
    _check_order(passes)
    training = trained_by(passes)
    merges = any(
        part.family is Family.MERGE or part.get("merge_adapter_weights") for part in passes
    )
    return Chain(
        training=_training(training) if training else None,
        merges=merges and training is not None,
        build=_build([part for part in passes if part.family in _BUILT]),
        is_opened=is_opened,
    )


def _check_order(passes: Sequence[Part]) -> None:
    ranks = [_ORDER.index(part.family) for part in passes]
    if ranks != sorted(ranks):
        names = ", ".join(part.name for part in passes)
        raise UsageError(f"A chain trains, merges and builds in this order, passes are {names}.")
    merges = [part for part in passes if part.family is Family.MERGE]
    if merges and trained_by(passes) is None:
        raise UsageError(
            f"{merges[0].place} merges an adapter and no pass trains one; add a pass of the type"
            f" LoRA, or leave it out (--set {merges[0].place}=null)."
        )


def _defaults(part: Part) -> Mapping[str, Any]:
    return {**_DEFAULTS, **(_QLORA_DEFAULTS if part.family is Family.QLORA else {})}


def _given(part: Part, name: str) -> Any:
    return part.get(name, _defaults(part).get(name))


def _steps(part: Part) -> int | None:
    """Return the steps of the training; transformers writes -1 for none given."""
    steps: int | None = part.get("training_args.max_steps")
    return None if steps is None or steps < 0 else steps


def defaults_said(part: Part) -> str:
    """Return what a training pass leaves to Olive's defaults, for people; may be empty."""
    has_steps = _steps(part) is not None
    absent = [
        f"{name.rpartition('.')[2]} = {json.dumps(value)}"
        for name, value in _defaults(part).items()
        if name not in part.fields and not (has_steps and name.endswith("num_train_epochs"))
    ]
    return f"{part.place} leaves to Olive's defaults: {', '.join(absent)}" if absent else ""


def _training(part: Part) -> FixedTraining:
    modules: tuple[str, ...] = part.get("target_modules", ())
    is_part = len(modules) == 1 and modules[0] in PARTS
    steps = _steps(part)
    rank, is_qlora = _given(part, "r"), part.family is Family.QLORA
    if rank < 1:
        raise UsageError(f"{part.fields['r'].place} is at least 1, got {rank!r}.")
    adapter = AdapterConfig(
        method="qlora" if is_qlora else "lora",
        rank=rank,
        alpha_ratio=_given(part, "alpha") / rank,
        learning_rate=_given(part, "training_args.learning_rate"),
        # What steps take the place of: one value, so that equal trainings have one name.
        epochs=_given(part, "training_args.num_train_epochs") if steps is None else 1.0,
        batch_size=_given(part, "training_args.per_device_train_batch_size")
        * _given(part, "training_args.gradient_accumulation_steps"),
        warmup=_warmup(part, steps),
        dropout=_given(part, "lora_dropout"),
        weight_decay=_given(part, "training_args.weight_decay"),
        target_modules=modules[0] if is_part else "all-linear",
        merge_base="dequantized" if is_qlora else "full",
        seed=_given(part, "training_args.seed"),
        rslora=part.get("use_rslora", False),
        double_quant=_given(part, "double_quant") if is_qlora else True,
        schedule=_SCHEDULES[_given(part, "training_args.lr_scheduler_type")],
        steps=steps,
        clip_norm=_given(part, "training_args.max_grad_norm") or None,
    )
    return FixedTraining(adapter=adapter, modules=() if is_part else modules)


def _warmup(part: Part, steps: int | None) -> float:
    """Return the share of the steps with a rising rate; a constant rate has none by default."""
    ratio, count = part.get("training_args.warmup_ratio"), part.get("training_args.warmup_steps")
    if count is None:
        is_flat = _given(part, "training_args.lr_scheduler_type") == "constant"
        return float((0.0 if is_flat else _WARMUP) if ratio is None else ratio)
    place = part.fields["training_args.warmup_steps"].place
    if ratio is not None:
        raise UsageError(f"{place} and warmup_ratio say the same; leave one of them out.")
    if steps is None:
        raise UsageError(
            f"{place} needs max_steps to be a share of; give warmup_ratio in its place."
        )
    return float(count) / steps


def _build(parts: Sequence[Part]) -> BuildChoice | None:
    if not parts:
        return None
    named = [part for part in parts if part.get("precision")]
    if len(named) > 1:
        raise UsageError(
            f"{named[0].place} and {named[1].place} both build; leave one of them out"
            f" (--set {named[1].place}=null)."
        )
    if not named:
        given = [part.get("torch_dtype") for part in parts if part.get("torch_dtype")]
        if not given and not any(part.family is Family.CONVERT for part in parts):
            raise UsageError(f"{parts[0].place} needs a precision: fp32, fp16, bf16, int8 or int4.")
        return BuildChoice(precision=_DTYPES[given[0]] if given else Precision.FP32)
    part = named[0]
    algorithm = part.get("int4_algo_config") or ""
    rounding = algorithm.removesuffix(_LAST)
    return BuildChoice(
        precision=Precision(part.get("precision")),
        block_size=part.get("int4_block_size"),
        algorithm=Algorithm(rounding) if rounding else None,
        accuracy_level=part.get("int4_accuracy_level"),
        head=Head.INT8 if algorithm.endswith(_LAST) else None,
        symmetric=part.get("int4_is_symmetric") is not False,
        cuda_graph=bool(part.get("enable_cuda_graph", False)),
    )
