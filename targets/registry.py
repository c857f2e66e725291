"""The target families there are: names, spellings, what to install.

Built-in families and those that other distributions offer (entry points of the
group ``autotune.targets``, each a ``Family``) stand in one table. A family in the
table says nothing about this machine; ``detect`` does.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

from autotune.errors import UsageError

from .contract import Target
from .families import BUILT_IN
from .families.family import Family, Graphs, Proof

__all__ = [
    "ENTRY_POINTS",
    "families",
    "family_named",
    "graphs_by_provider",
    "is_for_this_platform",
    "load_target",
]

ENTRY_POINTS = "autotune.targets"


def families() -> dict[str, Family]:
    """Return all known families by name, built-in ones first.

    Raises:
        UsageError: two distributions offer the same name, or something else than a Family.
    """
    import importlib.metadata  # noqa: PLC0415 - a third of this package's import time

    found = {family.name: family for family in BUILT_IN}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        family = entry.load()
        if not isinstance(family, Family):
            raise UsageError(
                f"The entry point {entry.value!r} of group {ENTRY_POINTS!r} must be a "
                f"targets.Family, got {family!r}; remove or mend the package that offers it."
            )
        _add(found, family, entry.value)
    return found


def _add(found: dict[str, Family], family: Family, origin: str) -> None:
    if family.name in found:
        raise UsageError(
            f"Two packages offer the target {family.name!r}, one of them {origin!r}; "
            "uninstall one of them."
        )
    found[family.name] = family


@cache
def graphs_by_provider() -> dict[str, Graphs]:
    """Return what can be built, by provider in the builder's spelling; read once a process.

    Raises:
        UsageError: as ``families``.
    """
    found: dict[str, Graphs] = {}
    for family in families().values():
        if family.graphs is not None:
            found.setdefault(family.provider, family.graphs)
    return found


def family_named(name: str, known: Iterable[Family] | None = None) -> Family:
    """Return the family of the user's word ``name``.

    Raises:
        UsageError: no such family; near matches and all names are listed.
    """
    table = families() if known is None else {family.name: family for family in known}
    if name in table:
        return table[name]
    # The builder's spelling (dml) is a near match that no edit distance finds.
    spelled = [one.name for one in table.values() if one.provider.lower() == name.lower()]
    near = spelled or difflib.get_close_matches(name.lower(), table, n=2)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "use one of these."
    raise UsageError(f"There is no target {name!r} (known: auto, {', '.join(table)}); {hint}")


def load_target(family: Family, *, interpreter: str, proof: Proof) -> Target:
    """Return the target object of a proven family."""
    module, _, name = family.target.partition(":")
    factory: Any = getattr(importlib.import_module(module), name)
    target: Target = factory(family=family, interpreter=interpreter, proof=proof)
    return target


def is_for_this_platform(family: Family, platform_name: str = sys.platform) -> bool:
    """Say whether the family exists on this operating system at all."""
    return platform_name in family.platforms
