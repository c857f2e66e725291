"""Which recipes a provider can run, with the reason and source of every refusal.

The builder makes graphs that no runtime loads (fp16 for CPU, fp32 for DirectML) and
ignores options it does not know, so nothing is built that is refused here or in the
provider's file in ``families``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from autotune.candidate import Algorithm, Head, Precision, Recipe

from .contract import Architecture, Refusal
from .families.family import OPTIONS, VALID
from .registry import graphs_by_provider
from .rounding import rounding_reason

__all__ = ["check", "recipes", "stand_in", "types_to_prove"]

_FP32, _FP16, _BF16 = Precision.FP32, Precision.FP16, Precision.BF16
_INT8, _INT4 = Precision.INT8, Precision.INT4

# Architectures whose activations leave the range of fp16; the builder warns of it.
_FP16_OVERFLOWS = ("Gemma2ForCausalLM", "Gemma3ForCausalLM")
# 512 gave all-zero output without a word (onnxruntime#28551).
_BLOCK_SIZES = (16, 32, 64, 128, 256)
_BLOCK_SOURCE = "https://github.com/microsoft/onnxruntime/issues/28551"


def check(recipe: Recipe, architecture: Architecture) -> Refusal | None:
    """Return why ``recipe`` is left out for models of ``architecture``; None if it is not."""
    for rule in (_provider_reason, _architecture_reason, _option_reason, rounding_reason):
        found = rule(recipe, architecture)
        if found is not None:
            reason, source = found
            return Refusal(recipe=recipe, reason=reason, source=source)
    return None


def recipes(
    provider: str, architecture: Architecture, *, refused_types: Mapping[str, str] | None = None
) -> tuple[list[Recipe], list[Refusal]]:
    """Return what to try on ``provider``, and what was left out with the reason.

    The order is fastest expected first, and among the slow to build last: k_quant takes
    five to ten times as long to build as plain rounding, fp32 runs slowest.

    Args:
        provider: in the builder's spelling.
        architecture: of the model.
        refused_types: data types that the device does not compute in, with its words
            (``Proof.refused_types``).
    """
    refused = refused_types or {}
    kept, left_out = [], []
    for proposed in _proposals(provider):
        recipe = _for_device(proposed, refused)
        refusal = check(recipe, architecture) or _device_refusal(recipe, refused)
        if refusal is None:
            kept.append(recipe)
        else:
            left_out.append(refusal)
    return kept, left_out


def types_to_prove(provider: str) -> tuple[str, ...]:
    """Return the data types of activations that a device of ``provider`` may lack.

    Half precision is what graphs for accelerators have; bf16 where recipes have it.
    """
    if provider == "cpu":
        return ()
    graphs = graphs_by_provider().get(provider)
    has_bf16 = graphs is not None and _BF16 in graphs.precisions
    return (str(_FP16), str(_BF16)) if has_bf16 else (str(_FP16),)


def stand_in(recipe: Recipe, provider: str = "cpu") -> Recipe:
    """Return the recipe of ``provider`` that rounds weights as ``recipe`` does.

    For judging answers where the graph itself cannot run. Quantised weights are the very
    same; half precision becomes fp32, which says nothing of what the halving costs.
    """
    halves = (_FP16, _BF16)
    precision = _FP32 if recipe.precision in halves else recipe.precision
    return replace(
        recipe, provider=provider, precision=precision, activations=None, cuda_graph=False
    )


def _activations(provider: str) -> Precision | None:
    """Return the data type of activations that can be asked for beside the precision's own."""
    graphs = graphs_by_provider().get(provider)
    return None if graphs is None else graphs.activations


def _computes_in(recipe: Recipe) -> Precision:
    """Return the data type of the activations (the builder's rule, source: VALID)."""
    if recipe.activations is not None:
        return recipe.activations
    if recipe.precision not in (_INT8, _INT4):
        return recipe.precision
    return _FP32 if recipe.provider == "cpu" else _FP16


def _for_device(recipe: Recipe, refused: Mapping[str, str]) -> Recipe:
    """Return ``recipe`` with other activations where the device needs them and they exist."""
    other = _activations(recipe.provider)
    is_float = recipe.precision not in (_INT8, _INT4)
    if other is None or is_float or _computes_in(recipe) not in refused:
        return recipe
    return replace(recipe, activations=other)


def _device_refusal(recipe: Recipe, refused: Mapping[str, str]) -> Refusal | None:
    words = refused.get(_computes_in(recipe))
    if words is None:
        return None
    reason = f"this device does not compute in {_computes_in(recipe)}: {words}"
    return Refusal(recipe=recipe, reason=reason, source="a node that was run on it")


def _proposals(provider: str) -> Sequence[Recipe]:
    """Return the recipes worth a thought: the usable ones and those that people ask for."""
    graphs = graphs_by_provider().get(provider)
    level = 0 if graphs is None else graphs.accuracy_level

    def int4(block: int, algorithm: Algorithm = Algorithm.DEFAULT, compute: int = level) -> Recipe:
        return Recipe(
            provider=provider,
            precision=_INT4,
            block_size=block,
            algorithm=algorithm,
            accuracy_level=compute,
        )

    plain = [int4(128), int4(32), int4(16)]
    mixed = int4(32, Algorithm.K_QUANT_MIXED)
    if provider == "cpu":
        # The same bits as k_quant_mixed, as fast and as exact, and built in a fifth of the time
        # (docs/recipes.md); a training can have its rounding in the loop.
        rounded = replace(mixed, algorithm=Algorithm.RTN, mixed=True, symmetric=False)
        plain.append(replace(rounded, head=Head.INT8))
    plain += [
        Recipe(provider=provider, precision=_INT8, block_size=block, accuracy_level=level)
        for block in (128, 32)
    ]
    if provider == "cpu":
        # Computing int4 products in fp32 keeps models with massive activations intact
        # (https://github.com/microsoft/onnxruntime/issues/29849), at a third of the speed.
        plain.append(int4(32, compute=1))
    floats = [Recipe(provider=provider, precision=p) for p in (_FP16, _BF16)]
    if graphs is not None and graphs.are_recorded:
        # What small models spend most of a token's time on is launching kernels.
        floats += [replace(recipe, cuda_graph=True) for recipe in (plain[1], floats[0])]
    last = [] if provider == "cpu" else [mixed]
    return [*plain, *floats, *last, Recipe(provider=provider, precision=_FP32)]


_Reason = tuple[str, str]


def _provider_reason(recipe: Recipe, _architecture: Architecture) -> _Reason | None:
    known = graphs_by_provider()
    if recipe.provider not in known:
        names = ", ".join(known)
        return f"the builder knows no provider {recipe.provider!r}, only {names}", VALID
    graphs = known[recipe.provider]
    if recipe.precision in graphs.precisions:
        return None
    for one in graphs.refused:
        if one.precision is recipe.precision:
            return one.reason, one.source
    valid = ", ".join(graphs.precisions)
    return f"{recipe.provider} runs {valid}, not {recipe.precision}", VALID


def _architecture_reason(recipe: Recipe, architecture: Architecture) -> _Reason | None:
    if recipe.precision is _FP16 and architecture.name in _FP16_OVERFLOWS:
        return f"{architecture.name} loses accuracy in fp16; use bf16", VALID
    if architecture.name == "PhiMoEForCausalLM" and recipe.provider != "cuda":
        return "the builder exports PhiMoEForCausalLM for cuda in int4 only", VALID
    if recipe.layers not in (None, architecture.layers):
        reason = f"the model has {architecture.layers} layers; fewer are asked for with --layers"
        return reason, OPTIONS
    return None


def _option_reason(recipe: Recipe, _architecture: Architecture) -> _Reason | None:
    if recipe.activations is not None:
        is_float = recipe.precision not in (_INT4, _INT8)
        if is_float or recipe.activations is not _activations(recipe.provider):
            reason = f"the builder has no {recipe.activations} activations for"
            return f"{reason} {recipe.precision} on {recipe.provider}", OPTIONS
    known = graphs_by_provider()
    if recipe.cuda_graph and not (recipe.provider in known and known[recipe.provider].are_recorded):
        able = ", ".join(name for name, graphs in known.items() if graphs.are_recorded)
        return f"CUDA graphs are for {able}, not for {recipe.provider}", OPTIONS
    if recipe.precision not in (_INT4, _INT8):
        return None
    if recipe.block_size not in _BLOCK_SIZES:
        sizes = ", ".join(map(str, _BLOCK_SIZES))
        return f"block_size is one of {sizes}, not {recipe.block_size!r}", _BLOCK_SOURCE
    if recipe.accuracy_level not in range(5):
        return f"accuracy_level is 0 to 4, not {recipe.accuracy_level!r}", OPTIONS
    return None
