"""What this machine trains in: the device, its data type and its speed.

For worker processes: importing this module imports torch. Whether torch can use the
GPU of this machine is only known by using it, so ``training_compute`` does.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from autotune.errors import HardwareError
from autotune.targets import read_machine, usable_cores

__all__ = [
    "Compute",
    "checkpoint_compute",
    "free_bytes",
    "give_back_memory",
    "is_out_of_memory",
    "product_rate",
    "repeatable",
    "training_compute",
    "use_all_cores",
]

# bfloat16 rounds coarser, so it has to be clearly faster; real ratios lie far from this.
_WORTHWHILE = 1.3
# Rows, inner width and columns of a product: one of a training's size for a single core,
# and ones that fill all cores, or a GPU.
_ONE_CORE = (256, 512, 512)
_ALL_CORES = (512, 1024, 1024)
_GPU = (8192, 4096, 4096)
# What torch asks for where cuBLAS shall give the same sum twice; eight buffers of 4 MiB.
_CUBLAS = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Device and data type of the frozen weights, and why they were chosen.

    Attributes:
        device: ``cpu`` or ``cuda``, in torch's spelling.
        dtype: of the frozen weights and of the products.
        reason: for people.
        model: the GPU's name; None for a processor.
    """

    device: str
    dtype: torch.dtype
    reason: str
    model: str | None = None

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
    """Return what to train in here: the GPU if torch has one, in bfloat16 where that is fast.

    On a CPU bfloat16 and float32 are timed, since instructions alone do not tell:
    AVX512_BF16 runs at twice the rate of float32 on one make and at half of it on
    another, AMX at four times. float16 is never chosen: CPUs emulate its products (300
    times slower than float32), and it needs loss scaling.

    On a GPU float32 is left for those without bfloat16 (before Ampere). None of them has
    TF32 either, so torch's default, which rounds nothing, stays: it also keeps a float32
    checkpoint going on as it began.

    Raises:
        HardwareError: torch sees a GPU that it cannot compute on.
    """
    if torch.cuda.is_available():
        return _gpu_compute()
    single, half = (product_rate("cpu", dtype, 1) for dtype in (torch.float32, torch.bfloat16))
    dtype = torch.bfloat16 if half > _WORTHWHILE * single else torch.float32
    reason = (
        f"matrix products reach {single / 1e9:.0f} GFLOP/s in float32 and"
        f" {half / 1e9:.0f} in bfloat16 on one core here"
    )
    return Compute(device="cpu", dtype=dtype, reason=reason)


def _gpu_compute() -> Compute:
    os.environ.setdefault(*_CUBLAS)  # read when cuBLAS starts, so before the first product
    name = torch.cuda.get_device_name()
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    dtype = torch.bfloat16 if has_bf16 else torch.float32
    try:
        product_rate("cuda", dtype)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise HardwareError(
            f"torch {torch.__version__} sees the GPU {name!r} but cannot compute on it"
            f" ({str(error).splitlines()[0]}); install a torch for its driver and generation, or"
            " set CUDA_VISIBLE_DEVICES= to train on the processor."
        ) from error
    reason = "the GPU has bfloat16" if has_bf16 else "the GPU lacks bfloat16"
    return Compute(device="cuda", dtype=dtype, reason=reason, model=name)


@functools.cache
def product_rate(device: str, dtype: torch.dtype, threads: int | None = None) -> float:
    """Return operations per second of matrix products in ``dtype``: the best of a few.

    Args:
        device: ``cpu`` or ``cuda``.
        dtype: of both factors.
        threads: of the processor; None for as many as torch uses now.
    """
    shape = _GPU if device == "cuda" else _ONE_CORE if threads == 1 else _ALL_CORES
    rows, inner, columns = shape
    x = torch.ones(rows, inner, dtype=dtype, device=device)
    weight = torch.ones(columns, inner, dtype=dtype, device=device)
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        seconds = min(_seconds(lambda: nn.functional.linear(x, weight), device) for _ in range(12))
    finally:
        torch.set_num_threads(before)
    return 2 * rows * inner * columns / seconds


def _seconds(action: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    action()
    if device == "cuda":
        torch.cuda.synchronize()
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


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Make torch take the kernels that give the same bits every time, on a GPU.

    Those of a processor do so anyway. Attention's gradient is the one that matters: its
    faster kernel sums in any order. Tensors are not filled first, which torch adds to it.

    Within it, an operation that has no such kernel raises a ``RuntimeError``.
    """
    if device.type != "cuda":
        yield
        return
    settings: Any = torch.utils.deterministic  # a module with a property, which has no type
    before = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(mode=True)
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before[0])
        settings.fill_uninitialized_memory = before[1]


def free_bytes(device: torch.device) -> int | None:
    """Return what a training here may still take: of the GPU's memory, or of main memory.

    None where that is unknown.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    return read_machine().memory.available_bytes.value


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch says with ``error`` that memory ran out, a GPU's or the machine's."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def give_back_memory() -> None:
    """Return the GPU memory that torch keeps for later to the other processes of the machine."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
