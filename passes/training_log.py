"""What a training says while it runs: its losses, how fast it is and when it ends.

For worker processes: importing this module imports torch. Reading a number from a GPU
waits for all work queued there, so losses are read in groups.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import torch

from autotune.errors import DivergedError
from autotune.units import format_duration

__all__ = ["LossLog", "SpeedLog"]

# Steps whose losses are read from a GPU at once; a diverged training is noticed this late.
_GROUP = 16
_LINE_EVERY_S = 10.0


@dataclass(kw_only=True)
class LossLog:
    """Mean loss per answer token of each step since the start, nats.

    Attributes:
        name: of the adapter config, for messages.
        values: of the steps that were read.
    """

    name: str
    values: list[float] = field(default_factory=list)
    _waiting: list[torch.Tensor] = field(default_factory=list)

    def add(self, loss: torch.Tensor) -> None:
        """Take the loss of the next step, a number on the training device.

        Raises:
            DivergedError: as ``read``; on a processor of this very step.
        """
        self._waiting.append(loss)
        if loss.device.type != "cuda" or len(self._waiting) == _GROUP:
            self.read()

    def read(self) -> None:
        """Read what waits.

        Raises:
            DivergedError: the loss of a step is not finite.
        """
        if not self._waiting:
            return
        values: list[float] = torch.stack(self._waiting).tolist()
        self._waiting.clear()
        for value in values:
            if not math.isfinite(value):
                raise DivergedError(
                    f"The training loss must stay finite, it is {value!r} at step"
                    f" {len(self.values)} of {self.name}; use a lower learning rate."
                )
            self.values.append(value)


@dataclass(kw_only=True)
class SpeedLog:
    """Work and time of the steps made in this process.

    Attributes:
        flops_per_token: operations of the matrix products that a token needs, forwards
            and backwards; what is computed twice to save memory counts once.
        flops_per_answer_token: of the head, which runs on answers only.
        peak: operations per second that matrix products reach on the device.
        tokens: of the rows seen, padding left out.
        steps: made in this process.
    """

    flops_per_token: float
    flops_per_answer_token: float
    peak: float
    tokens: int = 0
    steps: int = 0
    _flops: float = 0.0
    _seconds: float = 0.0
    _since: float | None = None
    _said: float = 0.0

    def start(self) -> None:
        """Begin to count time."""
        self._since = self._said = time.perf_counter()

    def add(self, *, tokens: int, answer_tokens: int) -> None:
        """Count a step."""
        self.steps += 1
        self.tokens += tokens
        self._flops += tokens * self.flops_per_token + answer_tokens * self.flops_per_answer_token

    def stop(self) -> None:
        """End to count time; the device has to be done."""
        self._seconds, self._since = self.seconds, None

    @property
    def seconds(self) -> float:
        """Wall time between ``start`` and ``stop``, or until now."""
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return self._seconds + running

    @property
    def tokens_per_s(self) -> float | None:
        """Speed; None without steps."""
        return self.tokens / self.seconds if self.steps else None

    @property
    def peak_share(self) -> float | None:
        """Share of ``peak`` that the useful products took; None without steps."""
        return self._flops / self.seconds / self.peak if self.steps else None

    @property
    def is_due(self) -> bool:
        """Whether it is time for a line in the log."""
        return time.perf_counter() - self._said > _LINE_EVERY_S

    def line(self, *, step: int, stop: int, loss: float) -> str:
        """Return where a training to ``stop`` steps is; the device has to be done with ``step``."""
        self._said = time.perf_counter()
        left = (stop - step) * self.seconds / max(1, self.steps)
        rest = f"about {format_duration(left)} to go" if left else format_duration(self.seconds)
        return (
            f"step {step} of {stop}: loss {loss:.3f}, {self.tokens_per_s or 0:.0f} tokens/s,"
            f" {100 * (self.peak_share or 0):.1f} % of the {self.peak / 1e9:.0f} GFLOP/s"
            f" that matrix products reach here, {rest}"
        )
