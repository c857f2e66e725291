"""The ways of training that ``bench.recipes`` compares, and what is built from each."""

from __future__ import annotations

from dataclasses import dataclass, replace

from autotune.candidate import AdapterConfig, Recipe, read_recipe

__all__ = ["ARMS", "FP32", "Arm"]

ADAPTER = AdapterConfig(rank=16, alpha_ratio=2.0, learning_rate=1e-3, batch_size=16)
FP32, B32, B128, K_QUANT, K_QUANT_MIXED, BEST = (
    read_recipe(f"cpu-{name}")
    for name in (
        *("fp32", "int4-b32", "int4-b128", "int4-b32-k_quant", "int4-b32-k_quant_mixed"),
        "int4-b32-rtn-mixed-asym-head8",
    )
)
BETTER = (K_QUANT, K_QUANT_MIXED, BEST)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A way to train and what is built from it.

    Attributes:
        quantiser: in the loop; of ``qa-lora`` that of the frozen base; None for plain LoRA.
        recipes: to build.
        is_grouped: the adapter is QA-LoRA's.
        stretch: its epochs over those of the others.
    """

    quantiser: str | None
    recipes: tuple[Recipe, ...]
    is_grouped: bool = False
    stretch: float = 1.0

    def adapter(self, *, seed: int, epochs: float) -> AdapterConfig:
        """Return what to train."""
        made = replace(ADAPTER, seed=seed, epochs=self.stretch * epochs)
        if self.quantiser is None or self.is_grouped:
            return made
        return replace(made, method="qat-lora", quantiser=self.quantiser)


ARMS = {
    "lora": Arm(quantiser=None, recipes=(FP32, B32, B128, *BETTER)),
    "qat-b32": Arm(quantiser="int4-b32", recipes=(FP32, B32, B128)),
    "qat-b128": Arm(quantiser="int4-b128", recipes=(FP32, B32, B128)),
    # With the rounding, about 1.45 times the time of LoRA.
    "qat-b128-longer": Arm(quantiser="int4-b128", recipes=(B128,), stretch=1.25),
    "qat-best": Arm(quantiser=BEST.quantiser, recipes=(FP32, BEST)),
    "qa-lora": Arm(quantiser="int4-b32", recipes=(FP32,), is_grouped=True),
}
