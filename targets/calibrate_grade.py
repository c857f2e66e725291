"""How quiet the machine was during a measurement: a grade with its reasons.

The rule is ``GRADE_RULE``. A grade never forbids a measurement; C stamps every
verdict that rests on it as noisy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune.calibration import Grade

from .conditions import Conditions
from .fact import Fact, detected, not_applicable, unknown
from .gpu import Gpu

__all__ = ["GRADE_RULE", "Disturbance", "device_reasons", "disturbance", "grade_noise"]

# Highest value of each share for grade A, and for grade B. The noise floor's 2 % is the
# difference below which nobody acts on a speed; load is per usable core.
_LIMITS = {
    "load": (0.5, 1.0),
    "steal": (0.01, 0.05),
    "pressure": (0.10, 0.30),
    "throttled": (0.01, 0.10),
    "waited": (0.02, 0.10),
    "noise floor": (0.02, 0.10),
}
_WORDS = {
    "load": "load before the start, per usable core",
    "steal": "share of core time that the hypervisor kept",
    "pressure": "share of time in which some process waited for a core",
    "throttled": "share of time that the control group's quota took",
    "waited": "share of the timed threads' time in which they waited for a core",
    "noise floor": "difference of the same work under two names",
}
GRADE_RULE = (
    "A: "
    + ", ".join(f"{name} at most {limits[0]:.0%}" for name, limits in _LIMITS.items())
    + "; B: "
    + ", ".join(f"{limits[1]:.0%}" for limits in _LIMITS.values())
    + " in the same order; C: above. A needs a known noise floor and a known load,"
    " pressure or waiting, and of NVIDIA devices: nobody else's process, clocks held back for"
    " at most 1% of the time."
)
_LONGEST_HELD = _LIMITS["throttled"][0]

_NOT_COUNTED: Fact[float] = not_applicable("the processes of this session do not count it")


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """What went on beside a measurement.

    Attributes:
        load: average number of running processes before it, per usable core; 1.0 is full.
        steal: share of the usable cores' time that a hypervisor kept back, 0 to 1.
        pressure: share of the time in which some process waited for a core, 0 to 1.
        throttled: share of the time that a quota held this control group back.
        waited: of the time in which the timed threads could run, the share in which they
            waited for a core, 0 to 1.
    """

    load: Fact[float]
    steal: Fact[float]
    pressure: Fact[float]
    throttled: Fact[float]
    waited: Fact[float] = _NOT_COUNTED


def disturbance(
    before: Conditions,
    after: Conditions,
    *,
    seconds: float,
    usable_cores: float,
    waited: Fact[float] = _NOT_COUNTED,
) -> Disturbance:
    """Return what the conditions before and after, ``seconds`` apart, say.

    ``waited`` comes from the timed processes themselves, which count it.
    """

    def grown(name: str, per: float) -> Fact[float]:
        first: Fact[float] = getattr(before, name)
        second: Fact[float] = getattr(after, name)
        if first.value is None:
            return first
        if second.value is None:
            return second
        if per <= 0:
            return unknown("no time passed")
        return detected(max(0.0, second.value - first.value) / per)

    load = before.load_1min
    return Disturbance(
        load=load if load.value is None else detected(load.value / usable_cores),
        steal=grown("steal_s", seconds * usable_cores),
        pressure=grown("pressure_cpu_s", seconds),
        throttled=grown("throttled_s", seconds),
        waited=waited,
    )


def device_reasons(
    before: Fact[tuple[Gpu, ...]], after: Fact[tuple[Gpu, ...]], *, seconds: float
) -> tuple[str, ...]:
    """Return what disturbed NVIDIA devices between two readings, ``seconds`` apart.

    Processes are counted before, when none of ours computes there. What holds the clocks
    back ends with the work, so the driver's counters say it, and the present cause only
    where it outlasts the work. A device that neither tells is not accused.
    """
    second = {one.index: one for one in after.value or ()}
    found: list[str] = []
    for first in before.value or ():
        name = f"GPU {first.index}"
        if first.processes.value:
            found.append(f"{first.processes.value} other processes compute on {name}")
        last = second.get(first.index)
        if last is None or seconds <= 0:
            continue
        for cause, start, end in (
            ("its power limit", first.held_by_power_s, last.held_by_power_s),
            ("its temperature", first.held_by_heat_s, last.held_by_heat_s),
        ):
            share = ((end.value or 0.0) - (start.value or 0.0)) / seconds
            if start.value is not None and share > _LONGEST_HELD:
                found.append(f"{cause} held the clocks of {name} back for {share:.1%} of the time")
        lasting = last.throttled_by.value or "none"
        if lasting != "none":
            found.append(f"after the work, the clocks of {name} are held back by {lasting}")
    return tuple(found)


def grade_noise(
    found: Disturbance, noise_floor: float | None, *, of_devices: Sequence[str] = ()
) -> tuple[Grade, tuple[str, ...]]:
    """Return the grade by ``GRADE_RULE`` and a reason for each step below A.

    Args:
        found: what went on.
        noise_floor: of the A/A test, a relative difference; None where there was none.
        of_devices: ``device_reasons``; with any, B is the best.
    """
    values = {
        "load": found.load.value,
        "steal": found.steal.value,
        "pressure": found.pressure.value,
        "throttled": found.throttled.value,
        "waited": found.waited.value,
        "noise floor": noise_floor,
    }
    grades: list[Grade] = ["A"]
    reasons = []
    for name, value in values.items():
        quiet, usable = _LIMITS[name]
        if value is not None and value > quiet:
            grades.append("B" if value <= usable else "C")
            limit = quiet if value <= usable else usable
            reasons.append(f"{_WORDS[name]} is {value:.1%}, above {limit:.0%}")
    if noise_floor is None:
        grades.append("B")
        reasons.append("there was no test of the same work under two names")
    if of_devices:
        grades.append("B")
        reasons.extend(of_devices)
    if not any(fact.value is not None for fact in (found.load, found.pressure, found.waited)):
        grades.append("B")
        reasons.append("neither load nor pressure nor waiting is known on this system")
    return max(grades), tuple(reasons)
