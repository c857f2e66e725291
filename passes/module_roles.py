"""Names of linear layers across architectures: who asks for Phi-3's may have a Llama.

A name stands for what its layer computes. Fused layers (``qkv_proj``) stand for all of
their parts. Only names are compared; no weight is read.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from autotune.errors import UsageError

__all__ = ["translated"]

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


def translated(
    wanted: Iterable[str], layers: Sequence[str], architecture: str
) -> dict[str, tuple[str, ...]]:
    """Return a model's own names for each name of any architecture.

    Args:
        wanted: last parts of names of layers.
        layers: full names of the model's matrices, as ``layer_names`` returns them.
        architecture: the model's, for messages.

    Raises:
        UsageError: a name that stands for no layer of this model.
    """
    ours = sorted({layer.rpartition(".")[2] for layer in layers})
    return {name: _meant(name, ours, architecture) for name in wanted}


def _meant(name: str, ours: Sequence[str], architecture: str) -> tuple[str, ...]:
    if name in ours:
        return (name,)
    roles = _ROLES.get(name, frozenset())
    found = tuple(one for one in ours if roles & _ROLES.get(one, frozenset()))
    if not found:
        near = difflib.get_close_matches(name, ours, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UsageError(
            f"target_modules names linear layers, {architecture} has no {name!r} and nothing that"
            f" computes the same (it has {', '.join(ours)}){hint}"
        )
    return found
