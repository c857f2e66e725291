"""Names of linear layers across architectures: who asks for Phi-3's may have a Llama.

A name stands for what its layer computes. Fused layers (``qkv_proj``) stand for all of
their parts. Only names are compared; no weight is read.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune.candidate import TargetModules
from autotune.errors import UsageError

from .architectures import safetensors_shapes, weight_files

__all__ = ["LinearLayers", "linear_layers"]

_MATRIX = 2
# What each name computes: q, k, v, o of attention; gate, up, down of the MLP.
_ROLES: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("q_proj", "query", "wq", "q_lin"), frozenset({"q"})),
    **dict.fromkeys(("k_proj", "key", "wk", "k_lin"), frozenset({"k"})),
    **dict.fromkeys(("v_proj", "value", "wv", "v_lin"), frozenset({"v"})),
    **dict.fromkeys(
        ("qkv_proj", "query_key_value", "Wqkv", "c_attn", "W_pack", "wqkv"),
        frozenset({"q", "k", "v"}),
    ),
    **dict.fromkeys(("o_proj", "out_proj", "dense", "wo"), frozenset({"o"})),
    **dict.fromkeys(("gate_proj", "w1"), frozenset({"gate"})),
    **dict.fromkeys(("up_proj", "fc1", "dense_h_to_4h", "w3"), frozenset({"up"})),
    "gate_up_proj": frozenset({"gate", "up"}),
    **dict.fromkeys(("down_proj", "fc2", "dense_4h_to_h", "w2"), frozenset({"down"})),
}
_ATTENTION = frozenset({"q", "k", "v", "o"})
_GROUPS: Mapping[TargetModules, frozenset[str]] = {
    "all-linear": _ATTENTION | {"gate", "up", "down"},
    "attention": _ATTENTION,
    "mlp": frozenset({"gate", "up", "down"}),
}


@dataclass(frozen=True, kw_only=True)
class LinearLayers:
    """Names of the linear layers inside a model's blocks, the last part of each.

    Attributes:
        architecture: for messages.
        names: sorted.
    """

    architecture: str
    names: tuple[str, ...]

    def translated(self, wanted: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return this model's names for each name of any architecture.

        Raises:
            UsageError: a name that stands for no layer of this model.
        """
        return {name: self._ours(name) for name in wanted}

    def group_of(self, names: Sequence[str]) -> TargetModules:
        """Return the group that ``names``, which are this model's, are the whole of.

        Raises:
            UsageError: they are none.
        """
        groups = {group: self._of_group(roles) for group, roles in _GROUPS.items()}
        groups["all-linear"] = set(self.names)
        for group, members in groups.items():
            if set(names) == members:
                return group
        known = "; ".join(f"{group} ({', '.join(sorted(m))})" for group, m in groups.items())
        raise UsageError(
            f"Adapters are trained on a whole group of layers, got {', '.join(names)};"
            f" {self.architecture} has {known}. Name all layers of one of them."
        )

    def _ours(self, name: str) -> tuple[str, ...]:
        if name in self.names:
            return (name,)
        roles = _ROLES.get(name)
        found = tuple(ours for ours in self.names if roles and roles & _roles(ours))
        if not found:
            near = difflib.get_close_matches(name, self.names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(
                f"target_modules names linear layers, {self.architecture} has no {name!r} and"
                f" nothing that computes the same (it has {', '.join(self.names)}).{hint}"
            )
        return found

    def _of_group(self, roles: frozenset[str]) -> set[str]:
        return {name for name in self.names if _roles(name) & roles}


def _roles(name: str) -> frozenset[str]:
    return _ROLES.get(name, frozenset())


def linear_layers(model_dir: Path, *, architecture: str) -> LinearLayers:
    """Return the names of the linear layers in the blocks of the model in ``model_dir``.

    Raises:
        ModelSourceError: a weight file is damaged.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(model_dir):
        shapes |= safetensors_shapes(file)
    names = {
        key.removesuffix(".weight").rpartition(".")[2]
        for key, shape in shapes.items()
        if len(shape) == _MATRIX and key.endswith(".weight") and _is_in_block(key)
    }
    return LinearLayers(architecture=architecture, names=tuple(sorted(names)))


def _is_in_block(key: str) -> bool:
    """Whether a tensor belongs to a numbered block; embeddings and the head do not."""
    return any(part.isdigit() for part in key.split("."))
