"""Raw timings and counters of fresh processes, and the measurements they add up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from autotune.measurement import Measurement, metric_unit

from .statistics import (
    MINIMUM_ROUNDS,
    SpeedVerdict,
    bootstrap_mean,
    compare_latency,
    hierarchical_bootstrap,
    percentile,
)

__all__ = ["LatencyBlocks", "Measurements", "pool_latency", "tell_apart"]

Measurements = dict[str, Measurement]
Blocks = Sequence[tuple[float, ...]]

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95}
_TIMED = {
    "latency": "seconds of a request: tokenise, prefill, decide or generate",
    "ttft": "seconds of a request to its first token chosen",
    "tpot": "seconds per further token, mean of a request",
}
_NOT_HERE = "not measurable here"
# Compared as it stands: numbers of other counters are other numbers.
_GROSS = (
    "gross energy, nothing subtracted, read once before and once after the timed requests of a"
    " process (repeated for a second where a device's counter advances in steps) and divided by"
    " their number (their generated tokens), mean over processes with the bootstrap over them;"
    " counters:"
)


@dataclass(kw_only=True)
class LatencyBlocks:
    """What the processes of one model have shown so far, one entry per process.

    Attributes:
        timed: seconds per request by metric.
        load_s: seconds to load model and tokenizer, imports left out.
        cold_s: seconds of the first request, which is in no other number.
        new_length_s: seconds of the first request of each further prompt length, on devices.
        peak_bytes: highest resident set after the timed requests, where known.
        threads: of ONNX Runtime.
        interruptions: involuntary context switches during the timed requests.
        ran_s, waited_s: seconds that the timed requests' threads were on a core, and
            waited for one, where the system tells.
        joules: per request, and per generated token, by metric; processes that told.
        counters: that the joules are the sum of.
        device_bytes: memory on the device, processes that told.
        device_method: how it was taken.
        gaps: by metric, why a process told nothing.
    """

    timed: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)
    load_s: list[float] = field(default_factory=list)
    cold_s: list[float] = field(default_factory=list)
    new_length_s: list[tuple[float, ...]] = field(default_factory=list)
    peak_bytes: list[float] = field(default_factory=list)
    threads: int = 0
    interruptions: int = 0
    ran_s: float = 0.0
    waited_s: float = 0.0
    joules: dict[str, list[float]] = field(default_factory=dict)
    counters: tuple[str, ...] = ()
    device_bytes: list[float] = field(default_factory=list)
    device_method: str = ""
    gaps: dict[str, list[str]] = field(default_factory=dict)

    def add(self, value: Mapping[str, Any]) -> None:
        """Take in what a runtime child answered."""
        block = value["latency"]
        for metric, key in (("latency", "total_s"), ("ttft", "ttft_s"), ("tpot", "tpot_s")):
            if block[key]:
                self.timed.setdefault(metric, []).append(tuple(block[key]))
        self.load_s.append(value["load_s"])
        self.cold_s.append(block["cold_s"])
        if block["new_length_s"]:
            self.new_length_s.append(tuple(block["new_length_s"]))
        if block["peak_bytes"] is not None:
            self.peak_bytes.append(float(block["peak_bytes"]))
        self.threads = value["threads"]
        self.interruptions += block["interruptions"] or 0
        self.ran_s += block["ran_s"] or 0.0
        self.waited_s += block["waited_s"] or 0.0
        self._add_meters(block)

    def _add_meters(self, block: Mapping[str, Any]) -> None:
        energy, memory = block["energy"], block["device_memory"]
        if energy is not None:
            rounds = block["metered_rounds"]
            shares = {
                "energy": len(block["total_s"]) * rounds,
                "energy_per_token": sum(block["new_tokens"]) * rounds,
            }
            for metric, n in shares.items():
                if n:
                    self.joules.setdefault(metric, []).append(energy["joules"] / n)
            self.counters = tuple(energy["counters"])
        if memory is not None:
            self.device_bytes.append(float(memory["bytes"]))
            self.device_method = memory["method"]
        for metric, reason in block["unmeasured"].items():
            self.gaps.setdefault(metric, []).append(reason)
        if block["peak_bytes"] is None:
            reason = "this system does not tell the peak memory of a process"
            self.gaps.setdefault("memory", []).append(reason)

    def unmeasured(self) -> dict[str, str]:
        """Return by metric why there is no such number; one gap leaves out the whole metric."""
        return {
            metric: reason if reason.startswith("not applicable") else f"{_NOT_HERE}: {reason}"
            for metric, (reason, *_) in self.gaps.items()
        }

    def measurements(self, *, seed: int) -> Measurements:
        """Return every metric that the samples are enough for; ``seed`` is the bootstrap's."""
        result: Measurements = {}
        how = (
            f"{len(self.load_s)} fresh processes, {self.threads} threads,"
            f" {self.interruptions} involuntary context switches while timed"
        )
        for metric, blocks in self.timed.items():
            result |= _percentiles(metric, blocks, seed=seed, how=how)
        cold_s = sorted(self.cold_s)[len(self.cold_s) // 2]
        result["load"] = _load(self.load_s, f"median first request {cold_s:.4g} s", seed=seed)
        if self.new_length_s:
            result["new_length"] = _new_length(self.new_length_s, seed=seed)
        if self.peak_bytes:
            result["memory"] = _memory(self.peak_bytes)
        if self.device_bytes and "device_memory" not in self.gaps:
            result["device_memory"] = _device_memory(self.device_bytes, self.device_method)
        if "energy" not in self.gaps:
            method = f"{_GROSS} {' and '.join(self.counters)}"
            for metric, joules in self.joules.items():
                result[metric] = _energy(metric, joules, method, seed=seed)
        return result


def _percentiles(metric: str, blocks: Blocks, *, seed: int, how: str) -> Measurements:
    """Return ``metric.p50`` and those higher percentiles that enough requests stand behind."""
    samples = [second for block in blocks for second in block]
    result = {}
    for name, q in _QUANTILES.items():
        value = percentile(samples, q)
        if value is not None:
            result[f"{metric}.{name}"] = Measurement(
                metric=f"{metric}.{name}",
                unit=metric_unit(metric),
                value=value,
                n=len(samples),
                ci95=hierarchical_bootstrap(blocks, q, seed=seed),
                blocks=tuple(blocks),
                method=f"{_TIMED[metric]}; {how}; bootstrap over processes, then requests",
            )
    return result


def _load(seconds: Sequence[float], note: str, *, seed: int) -> Measurement:
    blocks = tuple((second,) for second in seconds)
    return Measurement(
        metric="load",
        unit=metric_unit("load"),
        value=percentile(seconds, 0.5) or seconds[0],
        n=len(seconds),
        ci95=hierarchical_bootstrap(blocks, 0.5, seed=seed) if len(blocks) > 1 else None,
        blocks=blocks,
        method=f"median seconds to load model and tokenizer, imports left out; {note}",
    )


def _new_length(blocks: Blocks, *, seed: int) -> Measurement:
    seconds = [second for block in blocks for second in block]
    return Measurement(
        metric="new_length",
        unit=metric_unit("new_length"),
        value=percentile(seconds, 0.5) or seconds[0],
        n=len(seconds),
        ci95=hierarchical_bootstrap(blocks, 0.5, seed=seed) if len(blocks) > 1 else None,
        blocks=tuple(blocks),
        method="median seconds of a process's first request of a prompt length, after the warm-up"
        " with another; in no other number",
    )


def _memory(peaks: Sequence[float]) -> Measurement:
    return Measurement(
        metric="memory",
        unit=metric_unit("memory"),
        value=max(peaks),
        n=len(peaks),
        blocks=tuple((peak,) for peak in peaks),
        method="largest peak resident set of a measuring process, interpreter included",
    )


def _device_memory(largest: Sequence[float], method: str) -> Measurement:
    return Measurement(
        metric="device_memory",
        unit=metric_unit("device_memory"),
        value=max(largest),
        n=len(largest),
        blocks=tuple((one,) for one in largest),
        method=method,
    )


def _energy(metric: str, joules: Sequence[float], method: str, *, seed: int) -> Measurement:
    return Measurement(
        metric=metric,
        unit=metric_unit(metric),
        value=mean(joules),
        n=len(joules),
        ci95=bootstrap_mean(joules, seed=seed) if len(joules) > 1 else None,
        blocks=tuple((one,) for one in joules),
        method=method,
    )


def pool_latency(first: Measurements, second: Measurements, *, seed: int) -> Measurements:
    """Return the measurements of both sessions' processes taken together.

    For sessions of one model on one workload, the second going on with the first's
    rounds (``first_round``).
    """
    result: Measurements = {}
    for metric in _TIMED:
        parts = [session.get(f"{metric}.p50") for session in (first, second)]
        blocks = [block for part in parts if part is not None for block in part.blocks]
        if blocks:
            how = f"{len(blocks)} fresh processes in two sessions"
            result |= _percentiles(metric, blocks, seed=seed, how=how)
    loads = [block[0] for session in (first, second) for block in session["load"].blocks]
    result["load"] = _load(loads, "two sessions", seed=seed)
    peaks = [b[0] for s in (first, second) if "memory" in s for b in s["memory"].blocks]
    if peaks:
        result["memory"] = _memory(peaks)
    for metric in ("energy", "energy_per_token"):
        if metric in first and metric in second:
            joules = [b[0] for s in (first, second) for b in s[metric].blocks]
            result[metric] = _energy(metric, joules, first[metric].method, seed=seed)
    if "device_memory" in first and "device_memory" in second:
        largest = [b[0] for s in (first, second) for b in s["device_memory"].blocks]
        result["device_memory"] = _device_memory(largest, first["device_memory"].method)
    return result


def tell_apart(first: Measurement, second: Measurement) -> SpeedVerdict:
    """Say whether the first of two latencies of one session is faster.

    Round by round where there are enough of both: rounds share the machine's drifts, which
    pairing takes out. With fewer (a census has two) the intervals must lie apart.
    """
    if len(first.blocks) == len(second.blocks) >= MINIMUM_ROUNDS:
        return compare_latency(first.blocks, second.blocks).verdict
    one, two = (m.ci95 or (m.value, m.value) for m in (first, second))
    if one[1] < two[0]:
        return "faster"
    return "slower" if one[0] > two[1] else "same"
