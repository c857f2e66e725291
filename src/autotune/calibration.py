"""What a device was measured to do, and the shortest times that follow from it.

A latency is worth more beside its floor: the time below which no program can get
on this device. Rates are measured, never taken from data sheets; every sample is
kept, and the floors use the best one, because a floor must hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from autotune.errors import UsageError

__all__ = [
    "Control",
    "DeviceCalibration",
    "Grade",
    "NoiseFloor",
    "Rate",
    "RateKind",
    "SessionNoise",
    "Unmeasured",
    "decode_floor_s",
    "forward_operations",
    "make_rate",
    "prefill_floor_s",
]

RateKind = Literal["memory_read", "matrix_product"]
RateUnit = Literal["B/s", "op/s"]
Grade = Literal["A", "B", "C"]
Blocks = tuple[tuple[float, ...], ...]

_UNITS: dict[RateKind, RateUnit] = {"memory_read": "B/s", "matrix_product": "op/s"}
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Rate:
    """One kind of work, timed several times.

    Attributes:
        kind: ``memory_read`` or ``matrix_product``.
        data_type: of the weights, or of the array read: ``fp32``, ``int8``, ...
        operator: what did the work: an ONNX operator or a numpy function.
        shape: (m, k, n) of a product, (elements,) of a read.
        work: bytes, or multiplications and additions, behind each sample.
        unit: ``B/s`` or ``op/s``.
        median: work over the median time.
        best: work over the shortest time.
        samples_s: every time, seconds, in order.
        method: how it was taken, for people.
    """

    kind: RateKind
    data_type: str
    operator: str
    shape: tuple[int, ...]
    work: int
    unit: RateUnit
    median: float
    best: float
    samples_s: tuple[float, ...]
    method: str = ""

    def __post_init__(self) -> None:
        if self.work < 1 or not self.samples_s or not all(_is_time(s) for s in self.samples_s):
            raise ValueError(f"a rate has work and finite times above 0, got {self.operator!r}")
        wanted = (self.work / median(self.samples_s), self.work / min(self.samples_s))
        if self.unit != _UNITS[self.kind] or not all(
            math.isclose(a, b, rel_tol=_ROUNDING)
            for a, b in zip((self.median, self.best), wanted, strict=True)
        ):
            raise ValueError(
                f"median and best of {self.operator!r} in {_UNITS[self.kind]} follow from its"
                f" samples, got {self.median!r} and {self.best!r} {self.unit}"
            )


def _is_time(seconds: float) -> bool:
    return math.isfinite(seconds) and seconds > 0


def make_rate(
    *,
    kind: RateKind,
    data_type: str,
    operator: str,
    shape: tuple[int, ...],
    work: int,
    samples_s: tuple[float, ...],
    method: str = "",
) -> Rate:
    """Return the rate that ``samples_s`` stand for.

    Raises:
        ValueError: no sample, or one that is not a finite time above 0.
    """
    if not samples_s or not all(_is_time(second) for second in samples_s):
        raise ValueError(f"a rate needs finite times above 0, got {samples_s!r}")
    return Rate(
        kind=kind,
        data_type=data_type,
        operator=operator,
        shape=shape,
        work=work,
        unit=_UNITS[kind],
        median=work / median(samples_s),
        best=work / min(samples_s),
        samples_s=samples_s,
        method=method,
    )


@dataclass(frozen=True, kw_only=True)
class Unmeasured:
    """Work that was asked for and has no rate.

    Attributes:
        what: operator, data type and shape in a few words.
        reason: why, in the runtime's own words where it refused.
    """

    what: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Control:
    """The same work under two names, taken in turn (A/A test).

    Attributes:
        work: what was timed.
        first: seconds, a tuple per round.
        second: seconds, the same rounds.
    """

    work: str
    first: Blocks
    second: Blocks


@dataclass(frozen=True, kw_only=True)
class NoiseFloor:
    """What the A/A test says: the difference that this machine shows where there is none.

    Attributes:
        target: device it was taken on.
        floor: 95th percentile of abs(ratio - 1), 0.02 is 2 %.
        ratio: duration under the first name over the second, typical round.
        ci95: interval of ``ratio``, which should hold 1; null where the rounds are too few.
        rounds: pairs of blocks.
    """

    target: str
    floor: float
    ratio: float
    ci95: tuple[float, float] | None
    rounds: int


@dataclass(frozen=True, kw_only=True)
class SessionNoise:
    """How quiet the machine was during one session of timed requests.

    Attributes:
        grade: A quiet, B usable, C noisy: what rests on the session is stamped so.
        reasons: for each step below A.
        shares: what is known of ``load``, ``steal``, ``pressure``, ``throttled`` and
            ``waited``, by name; each a share, 1.0 is everything.
    """

    grade: Grade
    reasons: tuple[str, ...] = ()
    shares: dict[str, float] = field(default_factory=dict)

    @property
    def warning(self) -> str:
        """Why nothing timed in the session is certain; empty where it was quiet enough."""
        return "; ".join(self.reasons) if self.grade == "C" else ""


@dataclass(frozen=True, kw_only=True)
class DeviceCalibration:
    """What one execution provider on one device reached.

    Attributes:
        target: the user's word for it.
        provider: execution provider in onnxruntime's spelling.
        threads: of the runtime; a device that is not the processor has its own.
        cache_bytes: the last-level cache, 0 where it is unknown or not the processor's.
        rates: measured ones.
        unmeasured: the others, each with the reason.
        control: the A/A test, or null where no operator ran.
        seconds: that the calibration took, the start of its process left out.
        notes: what a careful reader would want to know.
    """

    target: str
    provider: str
    threads: int
    cache_bytes: int = 0
    rates: tuple[Rate, ...] = ()
    unmeasured: tuple[Unmeasured, ...] = ()
    control: Control | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def bandwidth(self) -> Rate | None:
        """Return the fastest read of an array that no cache holds, None where there is none."""
        return self._fastest([r for r in self._reads() if r.work > self.cache_bytes])

    def cached_bandwidth(self) -> Rate | None:
        """Return the fastest read of an array that the last-level cache holds, or None."""
        return self._fastest([r for r in self._reads() if r.work <= self.cache_bytes])

    def decode_floor_s(self, weight_bytes: float) -> float | None:
        """Return ``decode_floor_s`` on this device, None where no bandwidth was measured."""
        memory, cache = self.bandwidth(), self.cached_bandwidth()
        if memory is None:
            return None
        return decode_floor_s(
            weight_bytes=weight_bytes,
            bandwidth_bytes_per_s=memory.best,
            cached_bytes_per_s=None if cache is None else cache.best,
            cache_bytes=self.cache_bytes,
        )

    def prefill_floor_s(self, operations: float, data_type: str) -> float | None:
        """Return ``prefill_floor_s`` on this device, None where the type was not measured."""
        product = self.product(data_type)
        if product is None:
            return None
        return prefill_floor_s(operations=operations, rate_op_per_s=product.best)

    def _reads(self) -> list[Rate]:
        return [rate for rate in self.rates if rate.kind == "memory_read"]

    def product(self, data_type: str) -> Rate | None:
        """Return the fastest matrix product with weights of ``data_type``, over all shapes."""
        return self._fastest(
            [
                rate
                for rate in self.rates
                if rate.kind == "matrix_product" and rate.data_type == data_type
            ]
        )

    def data_types(self) -> tuple[str, ...]:
        """Return the data types that a product was measured for, in the order measured."""
        return tuple(dict.fromkeys(r.data_type for r in self.rates if r.kind == "matrix_product"))

    @staticmethod
    def _fastest(rates: list[Rate]) -> Rate | None:
        return max(rates, key=lambda rate: rate.best, default=None)


def decode_floor_s(
    *,
    weight_bytes: float,
    bandwidth_bytes_per_s: float,
    cached_bytes_per_s: float | None = None,
    cache_bytes: int = 0,
) -> float:
    """Return the shortest time for one generated token at batch 1, seconds.

    Each token reads every weight once, and a product with one row does two operations
    per weight read, far below what a processor can do meanwhile; so the memory decides
    (roofline model: Williams, Waterman, Patterson, CACM 52(4), 2009; for language
    models: Pope et al., arXiv:2211.05102, section 2). At best the last-level cache keeps
    as many weights as it holds from one token to the next; those are read at its rate.

    Args:
        weight_bytes: stored weights that one token reads, embedding rows left out.
        bandwidth_bytes_per_s: of arrays that no cache holds.
        cached_bytes_per_s: of arrays that the cache holds; None leaves the cache out, and
            weights that fit into it then beat the result.
        cache_bytes: size of that cache.

    Raises:
        UsageError: an argument that is not finite and above 0.
    """
    from_memory = _quotient(weight_bytes, bandwidth_bytes_per_s)
    if cached_bytes_per_s is None or cached_bytes_per_s <= bandwidth_bytes_per_s:
        return from_memory
    kept = min(weight_bytes, cache_bytes)
    return (weight_bytes - kept) / bandwidth_bytes_per_s + kept / cached_bytes_per_s


def prefill_floor_s(*, operations: float, rate_op_per_s: float) -> float:
    """Return the shortest time for work of many rows, which the arithmetic decides, seconds.

    Same source as ``decode_floor_s``.

    Args:
        operations: multiplications and additions, see ``forward_operations``.
        rate_op_per_s: ``DeviceCalibration.product(...).best`` of the weights' data type.

    Raises:
        UsageError: an argument that is not finite and above 0.
    """
    return _quotient(operations, rate_op_per_s)


def forward_operations(*, weights: int, tokens: int) -> int:
    """Return multiplications and additions of a forward pass: two per weight and token.

    Kaplan et al., arXiv:2001.08361, table 1; attention's own products are left out, so
    a floor made of it stays a floor.
    """
    return 2 * weights * tokens


def _quotient(amount: float, rate: float) -> float:
    if not (math.isfinite(amount) and math.isfinite(rate) and amount > 0 and rate > 0):
        raise UsageError(
            f"A floor needs an amount and a rate, finite and above 0, got {amount!r} and {rate!r};"
            " calibrate with `autotune hardware`."
        )
    return amount / rate
