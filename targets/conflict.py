"""Packages of onnxruntime that exclude each other, and the commands that mend it.

All flavours write the same module directory. With two installed, whichever was
unpacked last wins and the other's providers vanish without an error
(https://github.com/microsoft/onnxruntime/issues/26996).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Conflict", "find_conflicts"]


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Distributions in one interpreter that own the same module.

    Attributes:
        module: the directory that all of them write.
        distributions: their names.
        keep: the one that the commands keep.
        commands: shell commands that leave ``keep`` alone and whole.
    """

    module: str
    distributions: tuple[str, ...]
    keep: str
    commands: tuple[str, ...]


def find_conflicts(
    *,
    owners: Mapping[str, Sequence[str]],
    versions: Mapping[str, str],
    interpreter: str,
    wanted: Sequence[str] = (),
) -> list[Conflict]:
    """Return the modules that more than one distribution owns.

    Args:
        owners: distributions by module, from ``capabilities``.
        versions: by distribution, from ``capabilities``.
        interpreter: whose pip the commands call.
        wanted: distributions to keep where they are among the owners; without one, the
            most special flavour is kept, because the plain one often came along with
            another package unasked.
    """
    return [
        _conflict(module, tuple(names), versions, interpreter, wanted)
        for module, names in owners.items()
        if len(names) > 1
    ]


def _conflict(
    module: str,
    names: tuple[str, ...],
    versions: Mapping[str, str],
    interpreter: str,
    wanted: Sequence[str],
) -> Conflict:
    # Flavours are listed plain one first.
    keep = next((name for name in wanted if name in names), names[-1])
    pip = f"{shlex.quote(interpreter)} -m pip"
    return Conflict(
        module=module,
        distributions=names,
        keep=keep,
        commands=(
            f"{pip} uninstall -y {' '.join(names)}",
            # Uninstalling one removed files of the other: reinstall, without what pulled both in.
            f"{pip} install --no-deps {keep}=={versions[keep]}",
        ),
    )
