"""Base models for training and merging, and what this machine computes them in.

For worker processes: importing this module imports torch. A model is loaded once
per worker and kept frozen; whoever adds an adapter to it takes the adapter off.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from autotune.candidate import Method
from autotune.errors import UsageError
from autotune.targets import usable_cores

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = [
    "Compute",
    "checkpoint_compute",
    "head_of",
    "load_model",
    "quiet_transformers",
    "set_training",
    "training_base",
    "training_compute",
    "use_all_cores",
]

# bfloat16 rounds coarser, so it has to be clearly faster; real ratios lie far from this.
_WORTHWHILE = 1.3


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Device and data type of the frozen weights, and why they were chosen."""

    device: str
    dtype: torch.dtype
    reason: str

    @property
    def dtype_name(self) -> str:
        """``float32``, ``bfloat16``."""
        return str(self.dtype).removeprefix("torch.")


def checkpoint_compute(compute: Compute, dtype_name: str) -> Compute:
    """Return ``compute`` with the data type that a checkpoint was trained in."""
    dtype: torch.dtype = getattr(torch, dtype_name)
    return replace(compute, dtype=dtype, reason="the checkpoint was trained in it")


@functools.cache
def training_compute() -> Compute:
    """Return what to train in here: the faster of bfloat16 and float32.

    On a CPU the two are timed, since instructions alone do not tell: AVX512_BF16 runs
    at twice the rate of float32 on one make and at half of it on another, AMX at four
    times. float16 is never chosen: CPUs emulate its products (300 times slower than
    float32), and it needs loss scaling.
    """
    if torch.cuda.is_available():
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Compute(device="cuda", dtype=torch.bfloat16, reason="the GPU has bfloat16")
        return Compute(device="cuda", dtype=torch.float32, reason="the GPU lacks bfloat16")
    single, half = (_product_rate(dtype) for dtype in (torch.float32, torch.bfloat16))
    dtype = torch.bfloat16 if half > _WORTHWHILE * single else torch.float32
    reason = (
        f"matrix products reach {single / 1e9:.0f} GFLOP/s in float32 and"
        f" {half / 1e9:.0f} in bfloat16 on one core here"
    )
    return Compute(device="cpu", dtype=dtype, reason=reason)


def _product_rate(dtype: torch.dtype) -> float:
    """Return operations per second of one core in a training-sized product: the best of a few."""
    rows, inner, columns = 256, 512, 512
    x = torch.ones(rows, inner, dtype=dtype)
    weight = torch.ones(columns, inner, dtype=dtype)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = min(_seconds(lambda: nn.functional.linear(x, weight)) for _ in range(12))
    finally:
        torch.set_num_threads(threads)
    return 2 * rows * inner * columns / seconds


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def use_all_cores() -> int:
    """Let torch use every core that this process may keep busy; return how many threads.

    ``OMP_NUM_THREADS`` lowers it.
    """
    threads = max(1, int(usable_cores()))
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdigit():
        threads = max(1, min(threads, int(limit)))
    torch.set_num_threads(threads)
    return threads


def quiet_transformers() -> None:
    """Keep progress bars out of logs; errors and warnings stay."""
    from transformers.utils import logging  # noqa: PLC0415 - takes seconds

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped


def load_model(path: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Return the causal language model in folder ``path``, on the CPU, for inference."""
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - takes seconds

    quiet_transformers()
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        path, dtype=dtype, attn_implementation="sdpa", use_safetensors=True
    )
    return _frozen(model)


# One entry: a worker trains adapters of one model, and two copies could exhaust memory.
_LOADED: dict[tuple[str, Method, Compute], PreTrainedModel] = {}


def training_base(path: Path, method: Method, compute: Compute) -> PreTrainedModel:
    """Return the frozen base for training with ``method``; loaded once per process.

    Raises:
        UsageError: qlora without bitsandbytes.
    """
    key = (str(path.resolve()), method, compute)
    if key not in _LOADED:
        _LOADED.clear()
        if method == "qlora":
            _LOADED[key] = _load_nf4(path, compute)
        else:
            _LOADED[key] = load_model(path, compute.dtype)
            nn.Module.to(_LOADED[key], compute.device)
    return _LOADED[key]


def _load_nf4(path: Path, compute: Compute) -> PreTrainedModel:
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
        bnb_4bit_use_double_quant=True,
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


def _frozen(model: PreTrainedModel) -> PreTrainedModel:
    nn.Module.requires_grad_(model, requires_grad=False)
    set_training(model, is_training=False)
    return model


def head_of(model: PreTrainedModel) -> nn.Module:
    """Return the layer that makes logits."""
    head: nn.Module = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    return head


def set_training(model: PreTrainedModel, is_training: bool) -> None:
    """Switch dropout on or off, with 4-bit layers always in training mode.

    In evaluation mode bitsandbytes repacks 4-bit weights in place for AVX512_BF16
    (``_convert_weight_packed_for_cpu``), after which they cannot be trained on.
    """
    model.train(is_training)
    for module in model.modules():
        if type(module).__module__.startswith("bitsandbytes."):
            module.training = True
