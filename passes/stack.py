"""The stack pass: two adapters of one base, trained after one another, as a single one.

Inputs: ``first``, which was merged before ``second`` was trained (artifacts of the heal and the
finetune pass). Their sum is an adapter again, whose rank is the sum of the ranks, so that
people can put it on the base that they know.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from .contract import Artifact
from .produce import pass_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["StackPass"]

_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"
_A, _B = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True, kw_only=True)
class StackPass:
    """Put two adapters into one."""

    name: ClassVar[str] = "stack"
    pool: ClassVar[str] = "build"
    timeout_s: ClassVar[float] = 600.0
    libraries: ClassVar[tuple[str, ...]] = ()

    def key(self, inputs: Mapping[str, Artifact], versions: Mapping[str, str]) -> str:
        """Return what the result depends on."""
        return pass_key(self, inputs, versions)

    def run(self, inputs: Mapping[str, Path], workdir: Path) -> dict[str, Any]:
        """Write ``adapter/`` in peft's form; facts: ``rank`` and ``layers`` with an adapter."""
        from safetensors.numpy import save_file  # noqa: PLC0415 - not in the core

        parts = [_Part.read(inputs[name] / "adapter") for name in ("first", "second")]
        rank = sum(part.rank for part in parts)
        stacked: dict[str, NDArray[np.float32]] = {}
        layers = {name.removesuffix(_A) for part in parts for name in part.weights if _A in name}
        for layer in sorted(layers):
            stacked |= _stacked(parts, layer, rank)
        # At rank / rank the product counts as it is.
        modules = sorted({name for part in parts for name in part.config["target_modules"]})
        config = parts[1].config | {
            "r": rank,
            "lora_alpha": rank,
            "use_rslora": False,
            "target_modules": modules,
        }
        folder = workdir / "adapter"
        folder.mkdir()
        save_file(stacked, folder / _WEIGHTS, metadata={"format": "pt"})
        (folder / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        return {"rank": rank, "layers": len(layers)}


@dataclass(frozen=True, kw_only=True)
class _Part:
    config: dict[str, Any]
    weights: dict[str, NDArray[np.float32]]

    @classmethod
    def read(cls, folder: Path) -> _Part:
        from safetensors.numpy import load_file  # noqa: PLC0415 - not in the core

        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        return cls(config=config, weights=load_file(folder / _WEIGHTS))

    @property
    def rank(self) -> int:
        return int(self.config["r"])

    @property
    def scale(self) -> float:
        divisor = math.sqrt(self.rank) if self.config.get("use_rslora") else self.rank
        return float(self.config["lora_alpha"] / divisor)


def _stacked(parts: list[_Part], layer: str, rank: int) -> dict[str, NDArray[np.float32]]:
    """Return A and B of one layer, zeros where a part has no adapter on it."""
    import numpy as np  # noqa: PLC0415 - heavy imports are a pass's own

    known = next(part for part in parts if layer + _A in part.weights)
    width, height = known.weights[layer + _A].shape[1], known.weights[layer + _B].shape[0]
    a = np.zeros((rank, width), np.float32)
    b = np.zeros((height, rank), np.float32)
    start = 0
    for part in parts:
        end = start + part.rank
        if layer + _A in part.weights:
            a[start:end] = part.weights[layer + _A]
            b[:, start:end] = part.scale * part.weights[layer + _B]
        start = end
    return {layer + _A: a, layer + _B: b}
