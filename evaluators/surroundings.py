"""What a session of timed blocks says beside its numbers: the machine meanwhile, and gaps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from autotune.calibration import SessionNoise
from autotune.targets import (
    Conditions,
    Disturbance,
    Fact,
    detected,
    disturbance,
    grade_noise,
    not_applicable,
    unknown,
    usable_cores,
)

__all__ = ["Surroundings"]


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """The machine before, during and after a session, and what could not be measured in it.

    Attributes:
        before, after: counters and averages at its ends.
        seconds: between them.
        ran_s: seconds that the timed requests' threads were on a core; None: not told.
        waited_s: seconds that they waited for one although they could run; the same.
        unmeasured: by model, then by metric, why there is no such number.
    """

    before: Conditions
    after: Conditions
    seconds: float
    ran_s: float | None = None
    waited_s: float | None = None
    unmeasured: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def during(self) -> Disturbance:
        """Return what went on beside the session."""
        return disturbance(
            self.before,
            self.after,
            seconds=self.seconds,
            usable_cores=usable_cores(),
            waited=self._waited(),
        )

    def noise(self, *, noise_floor: float | None = None, follows_own_work: bool) -> SessionNoise:
        """Return how quiet it was.

        Args:
            noise_floor: of an A/A test on this machine, a relative difference; None: none.
            follows_own_work: autotune itself was busy in the minute before, so that the
                load average says nothing about others and is left out.
        """
        found = self.during()
        if follows_own_work:
            found = replace(found, load=not_applicable("autotune itself was busy before"))
        grade, reasons = grade_noise(found, noise_floor)
        shares = {
            name: fact.value
            for name, fact in vars(found).items()
            if isinstance(fact, Fact) and fact.value is not None
        }
        return SessionNoise(grade=grade, reasons=reasons, shares=shares)

    def _waited(self) -> Fact[float]:
        if self.ran_s is None or self.waited_s is None:
            return unknown("this system does not count how long a thread waits for a core")
        if self.ran_s + self.waited_s <= 0:
            return unknown("nothing was timed")
        return detected(self.waited_s / (self.ran_s + self.waited_s))
