"""What can go wrong, one class per thing a caller can act on.

    AutotuneError                  exit code 4
    ├── UsageError (ValueError)    exit code 2: a flag, a file, a name, a bound
    │   ├── UnitError              a number without unit, or with an unknown one
    │   ├── DataError              the data set or its template
    │   ├── ModelSourceError       the model cannot be had or cannot be used
    │   ├── UnsupportedRecipeError a combination that the capability table refuses
    │   └── OutputError            the output folder, the disk
    ├── HardwareError              exit code 3: known but absent hardware or provider
    └── RunError                   exit code 4: a step failed
        ├── WorkerError            a child process crashed, hung or ran out of memory
        ├── BuildError             a graph that was not built as asked
        ├── MergeError             merged weights disagree with the adapter
        ├── DivergedError          a training whose loss is not finite any more
        ├── StoreError             a damaged artifact
        ├── ServiceError           a cloud service refused, or did not answer
        └── ReplayError            a record that does not fit the run

A message is rule + offending value + way out, in one or two sentences.
"""

from __future__ import annotations

__all__ = [
    "AutotuneError",
    "BuildError",
    "DataError",
    "DivergedError",
    "HardwareError",
    "MergeError",
    "ModelSourceError",
    "OutputError",
    "ReplayError",
    "RunError",
    "ServiceError",
    "StoreError",
    "UnitError",
    "UnsupportedRecipeError",
    "UsageError",
    "WorkerError",
]


class AutotuneError(Exception):
    """Base of every error that autotune raises on purpose."""

    exit_code = 4


class UsageError(AutotuneError, ValueError):
    """The request itself is wrong; nothing was started."""

    exit_code = 2


class UnitError(UsageError):
    """A quantity without a unit, with an unknown one, or out of range."""


class DataError(UsageError):
    """A data set, split or template that cannot be used as asked."""


class ModelSourceError(UsageError):
    """A model that cannot be fetched, is unsafe to load, or cannot be exported."""


class UnsupportedRecipeError(UsageError):
    """A recipe that the capability table refuses, with the reason it gives."""


class OutputError(UsageError):
    """An output folder that exists or cannot be written, or a disk too small."""


class HardwareError(AutotuneError):
    """Hardware or an execution provider that is known but not usable here."""

    exit_code = 3


class RunError(AutotuneError):
    """A step of the run failed."""


class WorkerError(RunError):
    """A child process ended without an answer.

    Attributes:
        kind: ``crashed``, ``timed_out`` or ``out_of_memory``.
    """

    def __init__(self, message: str, *, kind: str = "crashed") -> None:
        super().__init__(message)
        self.kind = kind


class BuildError(RunError):
    """The builder failed, or its graph does not have the attributes asked for."""


class MergeError(RunError):
    """The merged model's logits disagree with the adapter's."""


class DivergedError(RunError):
    """The training loss became NaN or infinite."""


class StoreError(RunError):
    """An artifact whose files do not match its manifest."""


class ReplayError(RunError):
    """A recorded step that the planner would not take: other version or damaged record."""


class ServiceError(RunError):
    """A cloud service refused, or did not answer.

    Attributes:
        kind: ``login``, ``lost`` (worth asking again), ``absent`` or ``refused``.
    """

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind
