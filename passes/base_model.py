"""Base models for training and merging.

For worker processes: importing this module imports torch. A model is loaded once
per worker and kept frozen; whoever adds an adapter to it takes the adapter off.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from autotune.candidate import Method
from autotune.errors import UsageError

from .compute import Compute, give_back_memory

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = [
    "decoder_of",
    "head_of",
    "load_for",
    "load_model",
    "make_room",
    "quiet_transformers",
    "set_training",
    "training_base",
]

# A base that takes more of the GPU than this does not stay there between trainings: the
# graphs that are built and measured in between need the room.
_STAYS_BELOW = 1 / 8


def quiet_transformers() -> None:
    """Keep progress bars out of logs; errors and warnings stay."""
    from transformers.utils import logging  # noqa: PLC0415 - takes seconds

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped


def load_model(path: Path, dtype: torch.dtype | Literal["auto"]) -> PreTrainedModel:
    """Return the causal language model in folder ``path``, on the CPU, for inference.

    ``auto`` is the data type that it is stored in.
    """
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - takes seconds

    quiet_transformers()
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        path, dtype=dtype, attn_implementation="sdpa", use_safetensors=True
    )
    return _frozen(model)


# One entry: a worker trains adapters of one model, and two copies could exhaust memory.
_LOADED: dict[tuple[str, Method, Compute, bool], PreTrainedModel] = {}


def training_base(
    path: Path, method: Method, compute: Compute, *, double_quant: bool = True
) -> PreTrainedModel:
    """Return the frozen base for training with ``method``; loaded once per process.

    ``double_quant`` rounds the scales of a 4-bit base too.

    Raises:
        UsageError: qlora without bitsandbytes.
    """
    key = (str(path.resolve()), method, compute, double_quant)
    if key not in _LOADED:
        _LOADED.clear()
        if method == "qlora":
            _LOADED[key] = _sped_up(_load_nf4(path, compute, double_quant=double_quant))
        elif method == "qat-lora":
            _LOADED[key] = _sped_up(_load_exact(path, compute))
        else:
            _LOADED[key] = load_for(compute, path)
    return _LOADED[key]


def load_for(compute: Compute, path: Path) -> PreTrainedModel:
    """Return the frozen model in folder ``path``, where and in what a training computes."""
    model = load_model(path, compute.dtype)
    nn.Module.to(model, compute.device)
    return _sped_up(model)


def _sped_up(model: PreTrainedModel) -> PreTrainedModel:
    from . import attention, norms  # noqa: PLC0415 - import transformers, which takes seconds

    attention.leave_masks_out(model)
    norms.replace_norms(model)
    return model


def make_room(device: torch.device) -> None:
    """Leave a GPU to others: forget a large base, and return what torch keeps for later."""
    if device.type != "cuda":
        return
    held = torch.cuda.memory_allocated(device)
    if held > _STAYS_BELOW * torch.cuda.get_device_properties(device).total_memory:
        _LOADED.clear()
    give_back_memory()


def _load_nf4(path: Path, compute: Compute, *, double_quant: bool) -> PreTrainedModel:
    try:
        import bitsandbytes  # noqa: F401, PLC0415 - asked here for a clear answer
    except ImportError as error:
        raise UsageError(
            "Method 'qlora' needs bitsandbytes, which is not installed;"
            " run: pip install 'autotune-slm[train]', or use method 'lora'."
        ) from error
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig  # noqa: PLC0415 - slow

    quiet_transformers()
    quantization = BitsAndBytesConfig(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double_quant,
        bnb_4bit_compute_dtype=compute.dtype,
    )
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=compute.dtype,
        attn_implementation="sdpa",
        use_safetensors=True,
        quantization_config=quantization,
        device_map={"": compute.device},
    )
    return _frozen(model)


def _load_exact(path: Path, compute: Compute) -> PreTrainedModel:
    """Return a base whose linear layers keep the data type that they are stored in.

    They are no factors of products here but what weights are rounded from; outputs are
    their fast dimension, as ``Grid.round_`` takes them.
    """
    model = load_model(path, "auto")
    nn.Module.to(model, compute.device)
    head = head_of(model)
    for module in model.modules():
        others = dict(module.named_parameters(recurse=False))
        if isinstance(module, nn.Linear):
            weight = others.pop("weight").detach()
            if module is not head:
                weight = weight.T.contiguous().T
            # A parameter of its own: the head's may be the embedding's, which is cast.
            module.weight = nn.Parameter(weight, requires_grad=False)
        for parameter in others.values():
            parameter.data = parameter.data.to(compute.dtype)
    return model


def _frozen(model: PreTrainedModel) -> PreTrainedModel:
    nn.Module.requires_grad_(model, requires_grad=False)
    set_training(model, is_training=False)
    return model


def head_of(model: PreTrainedModel) -> nn.Module:
    """Return the layer that makes logits."""
    head: nn.Module = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    return head


def decoder_of(model: PreTrainedModel) -> nn.Module:
    """Return the model without its head: from ids to states.

    Where only states are looked at: a head on each row's last place (``logits_to_keep=1``)
    has torch copy the head's weights for every row, which took most of a step's time.
    """
    decoder: nn.Module = model.get_decoder()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    return decoder


def set_training(model: PreTrainedModel, is_training: bool) -> None:
    """Switch dropout on or off, with 4-bit layers always in training mode.

    In evaluation mode bitsandbytes repacks 4-bit weights in place for AVX512_BF16
    (``_convert_weight_packed_for_cpu``), after which they cannot be trained on.
    """
    model.train(is_training)
    for module in model.modules():
        if type(module).__module__.startswith("bitsandbytes."):
            module.training = True
