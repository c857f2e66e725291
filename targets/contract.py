"""What a target is and where a step is executed: the contract of this folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from autotune.candidate import Recipe

__all__ = [
    "Architecture",
    "Executor",
    "Job",
    "JobResult",
    "JobStatus",
    "Refusal",
    "Target",
]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What recipes depend on, read from a model's ``config.json``.

    Attributes:
        name: ``architectures[0]``, for example ``LlamaForCausalLM``.
        layers: decoder layers.
        hidden_size: width of the residual stream.
        vocab_size: rows of the embedding.
        tied_embeddings: head and embedding share their weights.
        context_length: ``max_position_embeddings``, tokens.
        parameters: weights in the whole model, counted from the files.
        input_widths: weights in a row of the decoder's matrices and of the head, distinct
            and ascending; empty where unknown.
    """

    name: str
    layers: int
    hidden_size: int
    vocab_size: int
    tied_embeddings: bool
    context_length: int
    parameters: int
    input_widths: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A recipe that the capability table leaves out, and why."""

    recipe: Recipe
    reason: str
    source: str


class Target(Protocol):
    """One execution provider on one machine, proven by a session that ran."""

    @property
    def name(self) -> str:
        """The user's word for it: ``cpu``, ``cuda``, ``webgpu``."""

    @property
    def provider(self) -> str:
        """The builder's and runtime's spelling of the execution provider."""

    @property
    def interpreter(self) -> str:
        """Python that builds and measures for it."""

    def facts(self) -> dict[str, Any]:
        """Return machine facts; what is unknown is absent, never guessed."""

    def recipes(self, architecture: Architecture) -> tuple[list[Recipe], list[Refusal]]:
        """Return what to try, fastest expected first, and what was left out with the reason."""


JobStatus = Literal["ok", "error", "crashed", "timed_out", "out_of_memory", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """Work for a child process.

    Attributes:
        name: for logs and progress.
        entry: ``module:function`` of one JSON-able dict argument and result; or a
            module alone, whose *file* is run as a script in a fresh process that
            imports nothing of autotune (payload as JSON on stdin, result as the last
            line of stdout).
        payload: JSON-able argument.
        pool: jobs of one pool share a long-lived worker process, one at a time, so
            that imports and caches are paid once; None is a fresh process per job.
        timeout_s: killed after that, with its process group.
        interpreter: Python to use; empty is this one.
        environment: variables set on top of the parent's.
        log_path: where the child's output goes (appended); empty discards it.
    """

    name: str
    entry: str
    payload: Mapping[str, Any]
    pool: str | None = None
    timeout_s: float = 3600.0
    interpreter: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    log_path: str = ""


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """How a job ended.

    Attributes:
        handle: what ``submit`` returned.
        status: ``ok``; ``error`` (the entry raised: a deterministic failure);
            ``crashed``, ``timed_out``, ``out_of_memory``, ``cancelled``.
        value: what the entry returned, where ok.
        error: message of the failure, with the class name of the exception.
        traceback: of the entry, for the log.
        seconds: wall time, waiting for the worker left out.
        peak_rss_bytes: highest resident set of the process so far, or None where unknown.
    """

    handle: str
    status: JobStatus
    value: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    traceback: str = ""
    seconds: float = 0.0
    peak_rss_bytes: int | None = None


class Executor(Protocol):
    """Where jobs run: local child processes now, other machines behind the same calls."""

    def submit(self, job: Job) -> str:
        """Start ``job`` (or queue it behind its pool) and return a handle."""

    def poll(self, timeout_s: float | None = None) -> JobResult | None:
        """Block until a job ends or the time is over (None: for ever); never spins."""

    def cancel(self, handle: str) -> None:
        """Kill a job and its process group; its result has status ``cancelled``."""

    def capabilities(self, interpreter: str = "") -> dict[str, Any]:
        """Return ``versions`` (by distribution) and ``device_class`` of the workers.

        For store keys; ``interpreter`` is the Python of the workers, empty is this one.
        """

    def close(self) -> None:
        """End every child within a few seconds."""
