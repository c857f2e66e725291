"""The prune pass: a model folder becomes one with fewer layers, chosen on the user's data.

Inputs: ``model`` (Hugging Face folder) and, for rules that look at rows, ``data``
(``train.json``). What is left is not tuned to the gap: training the cut model is what
heals it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from autotune.errors import UnsupportedRecipeError

from .architectures import read_architecture, read_json
from .contract import Artifact
from .examples import read_examples
from .produce import pass_key
from .stopwatch import StopWatch

__all__ = ["MINIMUM_LAYERS", "CutRule", "PrunePass", "before_last_two", "check_cut", "why_not_cut"]

CutRule = Literal["influence", "before-last-two"]

# The first layer and the last, which no rule cuts.
MINIMUM_LAYERS = 2
# Rows that a rule looks at; of a mean over their tokens, more rows move the third digit.
_ROWS = 32

_BY_NUMBER = "{} by a layer's number, which a cut changes"
# Why an architecture that can be exported keeps all of its layers.
_WHOLE: Mapping[str, str] = {
    "GptOssForCausalLM": _BY_NUMBER.format("the builder gives sliding windows"),
    "GraniteMoeHybridForCausalLM": "its layers are of two kinds, attention and Mamba",
    "Gemma3ForCausalLM": "the builder fails on it, so that no cut could be tried",
    "Lfm2ForCausalLM": "its layers are of two kinds, attention and convolution",
    "Lfm2MoeForCausalLM": "its layers are of two kinds, attention and convolution",
    "Phi3SmallForCausalLM": _BY_NUMBER.format("its attention is dense or sparse"),
}
# Fields of a configuration that make layers use the keys and values of another.
_SHARING = ("num_kv_shared_layers", "use_cla")


def why_not_cut(config: Mapping[str, Any]) -> str:
    """Return why layers of this model cannot be dropped; empty where they can.

    Args:
        config: content of its ``config.json``.
    """
    name = (config.get("architectures") or [""])[0]
    if name in _WHOLE:
        return f"{name} keeps all its layers: {_WHOLE[name]}"
    sharing = [field for field in _SHARING if config.get(field)]
    if sharing:
        return f"its layers share keys and values ({sharing[0]})"
    return ""


def check_cut(model_dir: Path, layers: int) -> None:
    """Check that the model can be cut to ``layers``, from its configuration alone.

    Raises:
        UnsupportedRecipeError: its architecture keeps its layers, or the number is none
            between 2 and one less than it has.
        ModelSourceError: the folder holds no model that can be exported.
    """
    config = read_json(model_dir / "config.json")
    reason = why_not_cut(config)
    if reason:
        raise UnsupportedRecipeError(
            f"{layers} layers cannot be kept: {reason}; leave the depth as it is."
        )
    found = read_architecture(model_dir).layers
    if not MINIMUM_LAYERS <= layers < found:
        raise UnsupportedRecipeError(
            f"A cut model keeps its first and its last layer and lacks at least one, so from"
            f" {MINIMUM_LAYERS} to {found - 1} of {found} layers; got {layers!r}."
        )


def before_last_two(layers: int, *, of: int) -> tuple[int, ...]:
    """Return the layers kept by a cut of one piece just before the last two.

    >>> before_last_two(4, of=7)
    (0, 1, 5, 6)
    >>> before_last_two(2, of=7)
    (0, 6)
    """
    last = 1 if layers == MINIMUM_LAYERS else 2
    return (*range(layers - last), *range(of - last, of))


@dataclass(frozen=True, kw_only=True)
class PrunePass:
    """Keep ``layers`` of the model's layers.

    Attributes:
        layers: how many are kept, from 2 to one less than the model has.
        rule: which. ``influence`` cuts the layers that turn the states of tokens of
            training rows least (Men et al., arXiv 2403.03853), ``before-last-two`` one
            piece there and needs no data.
    """

    name: ClassVar[str] = "prune"
    pool: ClassVar[str] = "train"
    timeout_s: ClassVar[float] = 3600.0
    libraries: ClassVar[tuple[str, ...]] = (
        "torch",
        "transformers",
        "device-class",
        "training-device",
    )

    layers: int
    rule: CutRule = "influence"

    def key(self, inputs: Mapping[str, Artifact], versions: Mapping[str, str]) -> str:
        """Return what the result depends on."""
        return pass_key(self, inputs, versions)

    def run(self, inputs: Mapping[str, Path], workdir: Path) -> dict[str, Any]:
        """Write the cut model to ``workdir``: a Hugging Face folder like the one it came from.

        Returns:
            Facts: ``layers`` and ``kept`` (their numbers in the model), ``removed``,
            ``rule`` with its ``reason``, ``influences`` (of every layer of the whole model:
            1 - mean cosine similarity of a token's state before and after it; None where
            no rows were looked at), ``rows`` looked at, ``parameters`` after and
            ``parameters_before``, ``seconds`` per part.

        Raises:
            UnsupportedRecipeError: as ``check_cut``.
            DataError: unusable rows.
        """
        model = inputs["model"]
        check_cut(model, self.layers)
        whole = read_architecture(model)
        watch = StopWatch()
        from . import cutting, layer_choice  # noqa: PLC0415 - imports torch

        watch.lap("import")
        if self.rule == "before-last-two":
            kept = before_last_two(self.layers, of=whole.layers)
            reason, influences, rows = "one piece before the last two layers", None, []
        else:
            examples, _ = read_examples(inputs["data"] / "train.json")
            rows = examples[:: max(1, len(examples) // _ROWS)][:_ROWS]
            influences = layer_choice.read_influences(model, rows)
            kept = layer_choice.least_influential_cut(influences, self.layers)
            most = max(influences[i] for i in range(whole.layers) if i not in kept)
            reason = f"those cut turn states by {most:.3f} (1 - cosine) or less, {len(rows)} rows"
        watch.lap("choose")
        cutting.write_cut(model, workdir, kept=kept)
        watch.lap("write")
        return {
            "layers": self.layers,
            "kept": list(kept),
            "removed": [i for i in range(whole.layers) if i not in kept],
            "rule": self.rule,
            "reason": reason,
            "influences": influences,
            "rows": len(rows),
            "parameters": read_architecture(workdir).parameters,
            "parameters_before": whole.parameters,
            "seconds": watch.seconds,
        }
