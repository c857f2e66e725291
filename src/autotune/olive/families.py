"""All rules by family, and which family reads a pass."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from autotune.errors import UsageError

from .rule import Family, Rule
from .rules_engine import ENGINE_RULES, SYSTEM_RULES
from .rules_model import CLIENT_RULES, DATA_RULES, MODEL_RULES, TOP_RULES
from .rules_passes import (
    BUILD_RULES,
    CONVERT_RULES,
    EXPORT_RULES,
    LORA_RULES,
    MERGE_RULES,
    QLORA_RULES,
)

__all__ = ["FAMILIES", "RULES", "family_of_pass"]

RULES: Mapping[Family, tuple[Rule, ...]] = {
    Family.TOP: TOP_RULES,
    Family.CLIENT: CLIENT_RULES,
    Family.MODEL: MODEL_RULES,
    Family.DATA: DATA_RULES,
    Family.SYSTEM: SYSTEM_RULES,
    Family.ENGINE: ENGINE_RULES,
    Family.LORA: LORA_RULES,
    Family.QLORA: QLORA_RULES,
    Family.MERGE: MERGE_RULES,
    Family.BUILD: BUILD_RULES,
    Family.CONVERT: CONVERT_RULES,
    Family.EXPORT: EXPORT_RULES,
}

# By the key that a part stands under; passes go by their type.
FAMILIES: Mapping[str, Family] = {
    "": Family.TOP,
    "azureml_client": Family.CLIENT,
    "input_model": Family.MODEL,
    "data_configs": Family.DATA,
    "systems": Family.SYSTEM,
    "engine": Family.ENGINE,
}

_PASSES: Mapping[str, Family] = {
    "LoRA": Family.LORA,
    "QLoRA": Family.QLORA,
    "MergeAdapterWeights": Family.MERGE,
    "ModelBuilder": Family.BUILD,
    "OnnxConversion": Family.CONVERT,
    "GenAIModelExporter": Family.EXPORT,
}


def family_of_pass(kind: Any, *, place: str) -> Family:
    """Return the rules of a pass type; case does not matter, as in Olive.

    Raises:
        UsageError: a pass that is not run here, with the nearest name.
    """
    by_lower = {name.lower(): family for name, family in _PASSES.items()}
    if isinstance(kind, str) and kind.lower() in by_lower:
        return by_lower[kind.lower()]
    near = difflib.get_close_matches(str(kind).lower(), by_lower, n=1)
    names = {name.lower(): name for name in _PASSES}
    hint = f"; did you mean {names[near[0]]!r}?" if near else f" (they are {', '.join(_PASSES)})."
    raise UsageError(f"{place} names no pass that is run here, got {kind!r}{hint}")
