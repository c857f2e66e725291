"""Measured memory bandwidth and matrix-product rates of a proven target.

One child process per target does the work, alone, with the runtime that models run
on. Whoever calls holds the measurement lock. What could not be measured is in the
result with its reason, and never costs what could.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autotune.calibration import Control, DeviceCalibration, Rate, Unmeasured, make_rate
from autotune.errors import UsageError

from .calibrate_graph import ELEMENT_TYPES, OPERATORS, Product, product_model
from .contract import Executor, Job, JobResult
from .detect import Finding
from .machine import Machine
from .proven import ProvenTarget

__all__ = ["CalibrationPlan", "calibrate", "plan_calibration"]

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# Shapes (m, k, n) from small decoder layers; larger ones reach the units' full rate.
_CPU_SHAPES = ((128, 576, 1536), (256, 1024, 4096), (512, 2048, 2048))
# Square, so that products can be chained and copies to the device weigh little.
_DEVICE_SHAPES = ((256, 1024, 1024), (1024, 2048, 2048), (2048, 4096, 4096))
_DEVICE_CHAIN = 8
_DEVICE_TYPES = ("fp32", "fp16", "bf16", "int8", "int4")
# A first look at each type, by which a device that would take minutes for more is known.
_FIRST_LOOK = (16, 256, 256)
# One row against a matrix of 268 MB and one of 1 GiB: larger than the caches of any GPU.
_DEVICE_READS = (8192, 16384)
# A data-centre card does the above in a time that its start is a part of: a product of
# 550 GFLOP, and reads of 1 GiB and half of it in a row (a cache of 50 MB may hold a twentieth
# or a tenth). Half precision too, because cuBLAS has other kernels for it; the faster counts.
_CUDA_SHAPES = (*_DEVICE_SHAPES, (4096, 8192, 8192))
_CUDA_READS = (("fp32", 16384), ("fp16", 16384))
_CUDA_SMALL_READS = (("fp32", 8192),)
# Root mean square of stored quantised weights less their zero point, by bits: scales are
# divided by it, so that a chain of products stays in the range of fp16.
_SPREAD = {0: 1.0, 4: 5.0, 8: 83.0}
_CACHE_FACTOR = 4
# Of a calibration's limit: an array of 2 GB takes 3 s to fill and read, which some servers'
# caches of 500 MB ask for, and the products come after it.
_FILLED_PER_S = 250e6
_LEAST_READ_BYTES = 2**28
_LEAST_CACHE_BYTES = 2**21  # starting two threads takes as long as reading a smaller one
_MEMORY_SHARE = 4  # of what is available, at most a quarter
_GRACE_S = 30.0  # for starting the process and for a sample that outlasts the limit


@dataclass(frozen=True, kw_only=True)
class CalibrationPlan:
    """What to time on one target.

    Attributes:
        read_bytes: sizes of the arrays that the processor reads.
        read_threads: that read it.
        threads: of onnxruntime.
        products: matrix products, small ones first; those of one row with a plain
            weight count as memory reads.
        device: where x and y lie, as onnxruntime names it: ``cuda``; empty is main memory.
        n_looks: of ``products``, a first look each: they tell what more would take.
        rounds: of the A/A test, which repeats the first product that runs after the looks,
            or else the first look that runs.
        per_block: samples per round and name.
        limit_s: of the whole calibration in the child once its libraries are loaded, greater
            than 0.
        seed: of contents and orders.
        cache_bytes: of the last-level cache, 0 where unknown.
        notes: for the result.
    """

    read_bytes: tuple[int, ...] = ()
    read_threads: int = 1
    threads: int = 1
    products: tuple[Product, ...]
    device: str = ""
    n_looks: int = 0
    rounds: int = 12
    per_block: int = 8
    limit_s: float = 15.0
    seed: int = 0
    cache_bytes: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.limit_s > 0 or min(self.threads, self.read_threads, self.per_block) < 1:
            raise UsageError(f"A calibration needs a time limit and threads above 0, got {self!r}.")


def plan_calibration(
    finding: Finding, machine: Machine, *, limit_s: float, seed: int = 0
) -> CalibrationPlan:
    """Return the plan for a proven target on ``machine``.

    The processor is read by numpy, with an array of four times its last-level cache
    (at most a quarter of the available memory) and one of half that cache; other devices
    by one-row products. On CUDA, input and output stay on the device; elsewhere they are
    copied in each run, because WebGPU's outputs bound there are not seen to work.
    """
    threads = _threads(machine)
    if finding.family.onnxruntime_name != _CPU:
        is_cuda = finding.family.onnxruntime_name == _CUDA
        make = _cuda_products if is_cuda else _device_products
        return CalibrationPlan(
            threads=threads,
            products=make(machine, _activations(finding)),
            device="cuda" if is_cuda else "",
            n_looks=len(_DEVICE_TYPES),
            limit_s=limit_s,
            seed=seed,
        )
    cache = max((machine.processor.cache_bytes.value or {}).values(), default=0)
    n_bytes, note = _read_size(machine, cache, limit_s)
    cached = (cache // 2,) if _LEAST_CACHE_BYTES <= cache < n_bytes else ()
    products = tuple(
        Product(label=label, m=m, k=k, n=n) for m, k, n in _CPU_SHAPES for label in OPERATORS
    )
    return CalibrationPlan(
        read_bytes=(n_bytes, *cached),
        read_threads=max(1, math.ceil(machine.processor.usable_cores.value or 1)),
        threads=threads,
        products=products,
        limit_s=limit_s,
        seed=seed,
        cache_bytes=cache if cached else 0,
        notes=(note,),
    )


def _threads(machine: Machine) -> int:
    """Return the usable physical cores: a second thread on a core adds no arithmetic unit."""
    usable = machine.processor.usable_cores.value or 1.0
    return max(1, int(min(usable, machine.processor.physical_cores.value or usable)))


def _read_size(machine: Machine, last: int, limit_s: float) -> tuple[int, str]:
    """Return the size of the large array, and what to know of it; ``last`` is the cache's."""
    available = machine.memory.available_bytes.value or _LEAST_READ_BYTES
    wanted = max(_LEAST_READ_BYTES, _CACHE_FACTOR * last)
    in_time = int(limit_s * _FILLED_PER_S)
    n_bytes = max(2**20, min(wanted, available // _MEMORY_SHARE, in_time))
    size = f"bandwidth of an array of {n_bytes / 1e6:.0f} MB"
    if not last:
        return n_bytes, f"{size}; the size of the caches is unknown, so they may hold part of it"
    cache = f"the last-level cache holds {last / 1e6:.0f} MB"
    if n_bytes < wanted:
        short = "time" if n_bytes == in_time else "memory"
        return n_bytes, f"{size}, all that {short} allows; {cache}, so part of it may be cached"
    return n_bytes, f"{size}; {cache}, which was read with an array of half its size"


def _activations(finding: Finding) -> str:
    """Return what models on this device have: fp16, fp32 where it does not compute in that."""
    target = finding.target
    refused = target.proof.refused_types if isinstance(target, ProvenTarget) else {}
    return "fp32" if "fp16" in refused else "fp16"


def _device_products(machine: Machine, activations: str) -> tuple[Product, ...]:
    reads = tuple(Product(label="fp32", m=1, k=side, n=side) for side in _DEVICE_READS)
    chains = _chains(_DEVICE_SHAPES, activations, accuracy_level=4)
    return _ordered(chains, _that_fit(machine, reads))


def _cuda_products(machine: Machine, activations: str) -> tuple[Product, ...]:
    """Return products for CUDA; MatMulNBits computes in the activations' type there."""

    def reads(sides: Sequence[tuple[str, int]]) -> tuple[Product, ...]:
        chained = [
            Product(label=label, m=1, k=side, n=side, repeat=_DEVICE_CHAIN) for label, side in sides
        ]
        return _that_fit(machine, chained)

    chains = _chains(_CUDA_SHAPES, activations, accuracy_level=0)
    return _ordered(chains, reads(_CUDA_READS) or reads(_CUDA_SMALL_READS))


def _that_fit(machine: Machine, reads: Sequence[Product]) -> tuple[Product, ...]:
    """Return the reads whose weight fits: it is made in main memory, then copied."""
    available = machine.memory.available_bytes.value or 0
    return tuple(
        one for one in reads if one.weight_bytes // one.repeat * _MEMORY_SHARE <= available
    )


def _chains(
    shapes: Sequence[tuple[int, int, int]], activations: str, *, accuracy_level: int
) -> tuple[Product, ...]:
    return tuple(
        Product(
            label=label,
            m=m,
            k=k,
            n=n,
            repeat=_DEVICE_CHAIN,
            activation=activations if OPERATORS[label].bits else "",
            accuracy_level=accuracy_level,
        )
        for m, k, n in shapes
        for label in _DEVICE_TYPES
    )


def _ordered(chains: tuple[Product, ...], reads: tuple[Product, ...]) -> tuple[Product, ...]:
    """Return a look at each type, the smallest products, the reads, the other products."""
    n_types = len(_DEVICE_TYPES)
    m, k, n = _FIRST_LOOK
    looks = tuple(replace(chain, m=m, k=k, n=n, repeat=1) for chain in chains[:n_types])
    return looks + chains[:n_types] + reads + chains[n_types:]


def calibrate(
    finding: Finding, plan: CalibrationPlan, *, executor: Executor, log_path: str = ""
) -> DeviceCalibration:
    """Run ``plan`` on a proven target in a fresh process and return what it reached.

    Never raises for what the device or its runtime does: a crashed or overdue child is
    an ``unmeasured`` entry with its message.

    Args:
        finding: of the target, status ``proven``.
        plan: what to time.
        executor: runs the child; it must have no other job.
        log_path: where the child's output goes; empty discards it.

    Raises:
        UsageError: the target is not proven, or the executor has another job.
    """
    name = finding.family.name
    if finding.target is None:
        raise UsageError(f"Only a proven target can be calibrated, {name!r} is {finding.status}.")
    handle = executor.submit(
        Job(
            name=f"calibrate {name}",
            entry="autotune.targets.calibrate_child",
            payload=_request(finding.family.onnxruntime_name, plan),
            interpreter=finding.interpreter,
            timeout_s=plan.limit_s + _GRACE_S,
            environment={"ORT_DISABLE_TELEMETRY": "1"},
            log_path=log_path,
        )
    )
    result = executor.poll()
    if result is None or result.handle != handle:
        raise UsageError(f"{name!r} is calibrated alone; wait for the executor's other jobs first.")
    return _read_result(finding, plan, result)


def _request(provider: str, plan: CalibrationPlan) -> dict[str, Any]:
    return {
        "provider": provider,
        "threads": plan.threads,
        "read_bytes": plan.read_bytes,
        "read_threads": plan.read_threads,
        "products": [_entry(product) for product in plan.products],
        "n_looks": plan.n_looks,
        "device": plan.device,
        "element_types": ELEMENT_TYPES,
        "rounds": plan.rounds,
        "per_block": plan.per_block,
        "limit_s": plan.limit_s,
        "seed": plan.seed,
    }


def _entry(product: Product) -> dict[str, Any]:
    spread = _SPREAD[OPERATORS[product.label].bits]
    return {
        "label": product.label,
        "is_read": product.is_read,
        "model": base64.b64encode(product_model(product)).decode(),
        "weights": {
            name: [kind, list(shape), spread] for name, (kind, shape) in product.weights().items()
        },
        "x": [product.input_element, [product.m, product.k]],
        "work": product.operations,
    }


def _read_result(finding: Finding, plan: CalibrationPlan, result: JobResult) -> DeviceCalibration:
    device = DeviceCalibration(
        target=finding.family.name,
        provider=finding.family.onnxruntime_name,
        threads=plan.threads,
        cache_bytes=plan.cache_bytes,
        unmeasured=(
            Unmeasured(what="everything", reason=result.error or f"the process {result.status}"),
        ),
        seconds=result.seconds,
        notes=plan.notes,
    )
    return device if result.status != "ok" else _measured(device, plan, result.value)


def _measured(
    device: DeviceCalibration, plan: CalibrationPlan, value: Mapping[str, Any]
) -> DeviceCalibration:
    pairs = list(zip(plan.products, value["products"], strict=True))
    rates = [
        _product_rate(product, tuple(answer["samples_s"]), device=plan.device)
        for product, answer in pairs
        if "samples_s" in answer
    ]
    return DeviceCalibration(
        target=device.target,
        provider=device.provider,
        threads=device.threads,
        cache_bytes=device.cache_bytes,
        rates=(*(_read_rate(plan, read) for read in value["reads"]), *rates),
        unmeasured=tuple(
            Unmeasured(what=_words(product), reason=answer["refused"])
            for product, answer in pairs
            if "refused" in answer
        ),
        control=_control(plan.products, value["control"]),
        seconds=value["seconds"],
        notes=(*device.notes, f"onnxruntime {value['onnxruntime']}, numpy {value['numpy']}"),
    )


def _words(product: Product) -> str:
    operator = OPERATORS[product.label]
    return f"{operator.name} {product.label} {product.m}x{product.k}x{product.n}"


def _read_rate(plan: CalibrationPlan, read: Mapping[str, Any]) -> Rate:
    place = "in the last-level cache" if read["bytes"] <= plan.cache_bytes else "in memory"
    return make_rate(
        kind="memory_read",
        data_type="fp32",
        operator="numpy.maximum.reduce",
        shape=(read["bytes"] // 4,),
        work=read["bytes"],
        samples_s=tuple(read["samples_s"]),
        method=f"{plan.read_threads} threads, each reading its own part of an array {place}",
    )


def _product_rate(product: Product, samples_s: tuple[float, ...], *, device: str) -> Rate:
    place = f"on the device ({device})" if device else "in main memory"
    method = [f"constant weight{f', {product.repeat} in a row' if product.repeat > 1 else ''}"]
    method.append(f"input and output {place}, the device waited for in each sample")
    if device == "cuda" and product.label == "fp32":
        method.append("in TF32 where the device has it, the provider's default")
    if device == "cuda" and OPERATORS[product.label].bits:
        method.append(f"activations in {product.input_element}")
    return make_rate(
        kind="memory_read" if product.is_read else "matrix_product",
        data_type=product.label.partition("-")[0],
        operator=OPERATORS[product.label].name,
        shape=(product.m, product.k, product.n),
        work=product.weight_bytes if product.is_read else product.operations,
        samples_s=samples_s,
        method="; ".join(method),
    )


def _control(products: Sequence[Product], blocks: Mapping[str, Any] | None) -> Control | None:
    if not blocks or not blocks["first"]:
        return None
    return Control(
        work=_words(products[blocks["product"]]),
        first=tuple(tuple(block) for block in blocks["first"]),
        second=tuple(tuple(block) for block in blocks["second"]),
    )
