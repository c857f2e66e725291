"""Which passes there are: names to classes, loaded only when asked for.

Other packages add theirs through the entry-point group ``autotune.passes``.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from autotune.errors import UsageError

from .contract import Pass

__all__ = ["GROUP", "pass_class", "pass_names"]

GROUP = "autotune.passes"

_BUILT_IN = {
    "build": "autotune.passes.build:BuildPass",
    "finetune": "autotune.passes.finetune:FinetunePass",
    "heal": "autotune.passes.heal:HealPass",
    "import-gguf": "autotune.passes.gguf:ImportGguf",
    "merge": "autotune.passes.merge:MergePass",
    "prune": "autotune.passes.depth:PrunePass",
    "stack": "autotune.passes.stack:StackPass",
}


def pass_names() -> tuple[str, ...]:
    """Return the names of all passes, sorted.

    Raises:
        UsageError: two packages give one name.
    """
    return tuple(sorted(_locations()))


def pass_class(name: str) -> type[Pass]:
    """Return the class of pass ``name``; imports its module.

    Raises:
        UsageError: an unknown name, with the near ones, or one that two packages give.
    """
    locations = _locations()
    if name not in locations:
        near = difflib.get_close_matches(name, locations, n=1)
        hint = (
            f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(locations))}."
        )
        raise UsageError(f"There is no pass {name!r}; {hint}")
    module, _, attribute = locations[name].partition(":")
    return cast("type[Pass]", getattr(import_module(module), attribute))


def _locations() -> dict[str, str]:
    locations = dict(_BUILT_IN)
    for entry in entry_points(group=GROUP):
        if locations.setdefault(entry.name, entry.value) != entry.value:
            raise UsageError(
                f"A pass name belongs to one class, {entry.name!r} is given by "
                f"{locations[entry.name]} and {entry.value}; uninstall one of the packages."
            )
    return locations
