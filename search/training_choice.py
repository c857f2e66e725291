"""What the loop may do next with a training."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.candidate import AdapterConfig

from .arms import WHOLE, Arm

__all__ = ["TrainingChoice"]


@dataclass(frozen=True, kw_only=True)
class TrainingChoice:
    """A training to begin or to go on with.

    Attributes:
        adapter: None is a new config of ``arm``, to be proposed.
        target: fraction to train to.
        gain: expected improvement of the log of the final loss.
        cost_s: until it is trained to the end and scored.
        base_s: of that what its base takes, which later trainings at its depth have for nothing.
        reason: for people.
        arm: what the training can be built for.
    """

    adapter: AdapterConfig | None
    target: float
    gain: float
    cost_s: float
    reason: str
    base_s: float = 0.0
    arm: Arm = WHOLE
