"""LoRA layers on a frozen model: put on, saved, loaded and taken off again.

For worker processes: importing this module imports torch and peft. peft owns the
layout (names, initialisation, files); the layer here computes the same product with
fewer passes over memory and keeps float32 master weights beside a bfloat16 base.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from peft.tuners.lora import Linear as PeftLinear
from safetensors.torch import load_file
from torch import nn

from autotune.candidate import PARTS, AdapterConfig
from autotune.errors import UsageError

from .base_model import head_of
from .qat import RoundedLinear, grids_of, rounding
from .replay import own_stream

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = [
    "adapted",
    "load_adapter",
    "lora_weights",
    "quiet_peft",
    "save_adapter",
    "target_names",
]

_PARTS: dict[str, tuple[str, ...]] = {
    "all-linear": ("",),
    "attention": ("attn", "attention"),
    "mlp": ("mlp", "feed_forward", "ffn"),
}


class _LowRankProduct(torch.autograd.Function):
    """``x W' + bias + s (x A') B'`` with W frozen: no gradient of W, sums made in place."""

    @staticmethod
    def forward(  # noqa: PLR0917 - torch passes them by position
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        lora_a: torch.Tensor,
        lora_b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        a, b = lora_a.to(x.dtype), (lora_b * scaling).to(x.dtype)
        inner = rows @ a.T
        out = nn.functional.linear(rows, weight, bias).addmm_(inner, b.T)
        ctx.save_for_backward(rows, weight, a, b, inner)
        ctx.scaling = scaling
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        rows, weight, a, b, inner = ctx.saved_tensors
        grad_rows = grad.reshape(-1, grad.shape[-1])
        grad_inner = grad_rows @ b
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad_rows @ weight).addmm_(grad_inner, a).view(*grad.shape[:-1], -1)
        grad_a = (grad_inner.T @ rows).float()
        grad_b = (inner.T @ grad_rows).T.float().mul_(ctx.scaling)
        return grad_x, None, None, grad_a, grad_b, None


class _LowRankProductOn4Bit(torch.autograd.Function):
    """The same with W in 4 bits, which is rounded back for each product and not kept."""

    @staticmethod
    def forward(  # noqa: PLR0917 - torch passes them by position
        ctx: Any,
        x: torch.Tensor,
        base: nn.Linear,
        lora_a: torch.Tensor,
        lora_b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        a, b = lora_a.to(x.dtype), (lora_b * scaling).to(x.dtype)
        inner = rows @ a.T
        out: torch.Tensor = base(rows).addmm_(inner, b.T)
        ctx.save_for_backward(rows, a, b, inner)
        ctx.base, ctx.scaling = base, scaling
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        rows, a, b, inner = ctx.saved_tensors
        grad_rows = grad.reshape(-1, grad.shape[-1])
        grad_inner = grad_rows @ b
        grad_x = None
        if ctx.needs_input_grad[0]:
            weight = _rounded_back(ctx.base).to(grad.dtype)
            grad_x = (grad_rows @ weight).addmm_(grad_inner, a).view(*grad.shape[:-1], -1)
        grad_a = (grad_inner.T @ rows).float()
        grad_b = (inner.T @ grad_rows).T.float().mul_(ctx.scaling)
        return grad_x, None, grad_a, grad_b, None


def _rounded_back(base: nn.Linear) -> torch.Tensor:
    from bitsandbytes.functional import dequantize_4bit  # noqa: PLC0415 - optional

    weight: Any = base.weight
    found: torch.Tensor = dequantize_4bit(weight.data.view(-1, 1), weight.quant_state)
    return found


class FastLinear(PeftLinear):
    """peft's LoRA layer with one adapter, never merged, computed in the base's data type."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the adapted product; ``x`` is (batch, seq, in), the result (batch, seq, out)."""
        (name,) = self.active_adapters
        base, scaling = self.base_layer, self.scaling[name]
        a = cast("torch.Tensor", self.lora_A[name].weight)
        b = cast("torch.Tensor", self.lora_B[name].weight)
        dropout = self.lora_dropout[name]
        if self.training and isinstance(dropout, nn.Dropout):
            delta = nn.functional.linear(dropout(x), a.to(x.dtype))
            delta = nn.functional.linear(delta, (b * scaling).to(x.dtype))
            return cast("torch.Tensor", base(x) + delta)
        if hasattr(base.weight, "quant_state"):
            return _LowRankProductOn4Bit.apply(x, base, a, b, scaling)  # type: ignore[no-untyped-call, no-any-return]  # same
        return _LowRankProduct.apply(x, base.weight, base.bias, a, b, scaling)  # type: ignore[no-untyped-call, no-any-return]  # torch leaves apply untyped


def target_names(model: PreTrainedModel, target: str) -> list[str]:
    """Return the names of the linear layers that ``target`` means; never the head.

    The shortest names that mean them and no other: last parts where those suffice.

    Args:
        model: without adapters.
        target: ``all-linear``, ``attention``, ``mlp``, or names joined by ``+``, each the
            end of a layer's name (``q_proj``, ``layers.3.mlp.up_proj``).

    Raises:
        UsageError: the model has no such layer.
    """
    head = head_of(model)
    linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head]
    wanted = _in_part(linear, target) if target in PARTS else _named(linear, target)
    if not wanted:
        raise UsageError(
            f"target_modules {target!r} matches no linear layer of {type(model).__name__};"
            f" it has {_leaves(linear)}; use 'all-linear', or some of these."
        )
    leaves = {n.rpartition(".")[2] for n in wanted}
    unwanted = {n.rpartition(".")[2] for n in linear if n not in wanted}
    return sorted(wanted if leaves & unwanted else leaves)


def _in_part(linear: Sequence[str], part: str) -> set[str]:
    return {name for name in linear if any(word in name for word in _PARTS[part])}


def _named(linear: Sequence[str], target: str) -> set[str]:
    """Return the layers that are named; every name has to mean one."""
    found: set[str] = set()
    for word in target.split("+"):
        meant = {name for name in linear if f".{name}".endswith(f".{word}")}
        if not meant:
            raise UsageError(
                f"target_modules has {word!r}, which is no linear layer of this model; it has"
                f" {_leaves(linear)}."
            )
        found |= meant
    return found


def _leaves(linear: Sequence[str]) -> str:
    return ", ".join(sorted({name.rpartition(".")[2] for name in linear}))


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Mute the warning that peft 0.21 earns by an attribute that transformers 5.23 renamed.

    Dated 2026-11; remove with the first peft that asks for ``is_activation_checkpointing``.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield


@contextmanager
def adapted(model: PreTrainedModel, adapter: AdapterConfig) -> Iterator[PeftModel]:
    """Put a freshly initialised adapter on ``model``; take it off at the end.

    Initialisation depends on ``adapter.seed`` alone: not on the device, nor on the base's
    data type. On a GPU, method ``lora`` has a stream of its own until then. With ``qat-lora``
    all linear layers compute with rounded weights until then.

    Raises:
        UsageError: a target or a quantiser that is not known here.
    """
    grids = grids_of(model, adapter.quantiser) if adapter.quantiser else None
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha_ratio * adapter.rank,  # type: ignore[arg-type]  # a ratio, any float works
        lora_dropout=adapter.dropout,
        use_rslora=adapter.rslora,
        target_modules=target_names(model, adapter.target_modules),
        bias="none",
        task_type="CAUSAL_LM",
    )
    # 4-bit layers are nn.Linear too.
    layer = RoundedLinear if grids else FastLinear
    config._register_custom_module({nn.Linear: layer})  # noqa: SLF001 - peft's documented door for own layers
    with own_stream(model.device) if adapter.method == "lora" else nullcontext():
        with quiet_peft():
            peft_model = get_peft_model(model, config)
        _initialise(peft_model, adapter.seed)
        try:
            with rounding(model, grids) if grids else nullcontext():
                yield peft_model
        finally:
            peft_model.unload()


def _initialise(model: PeftModel, seed: int) -> None:
    """Draw A anew as peft does, on the processor in float32; B is zero.

    peft rounds what it draws to the base's data type.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, weight in lora_weights(model).items():
        if ".lora_A." in name:
            drawn = torch.empty(weight.shape)
            nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
            weight.data.copy_(drawn)


def lora_weights(model: PeftModel) -> dict[str, nn.Parameter]:
    """Return the trainable weights by name, sorted by name; all float32."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return dict(sorted(named.items()))


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors`` (float32) to ``folder``."""
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's blank model card
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # Equal trainings give equal files: peft writes a path of this machine, and a set.
    config["base_model_name_or_path"] = None
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def load_adapter(model: PeftModel, folder: Path) -> None:
    """Copy saved LoRA weights into the adapter that ``model`` has."""
    saved = load_file(folder / "adapter_model.safetensors", device=str(model.device))
    set_peft_model_state_dict(model, saved)
