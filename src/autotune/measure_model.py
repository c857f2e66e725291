"""``autotune measure``: time any onnxruntime-genai folder on this machine and keep the record."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autotune.calibration import SessionNoise
from autotune.command_line import shared_command_line
from autotune.errors import OutputError, UsageError
from autotune.evaluators import BuiltModel, Surroundings, Workload, measure_latency
from autotune.kinds import is_decision
from autotune.measured_folder import ModelFolder, open_folder
from autotune.measured_requests import Lengths, requests_of_lengths, requests_on_data
from autotune.measurement import Measurement, metric_unit
from autotune.plain import to_plain
from autotune.progress import Progress
from autotune.reports import (
    MeasuredFolder,
    MeasuredWorkload,
    MeasureReport,
    Metric,
    make_console,
    measure_view,
    write_json_atomic,
)
from autotune.targets import (
    Executor,
    LocalExecutor,
    Target,
    read_machine,
    resolve_targets,
)

__all__ = ["MeasureRequest", "measure_folder", "run_measure"]

# Four fresh processes of sixteen requests: enough samples for a 95th percentile.
DEFAULT_ROUNDS = 4
_PER_BLOCK = 16


@dataclass(frozen=True, kw_only=True)
class MeasureRequest:
    """What ``autotune measure`` was asked.

    Attributes:
        target: one target by name, with an interpreter of its own if needed.
        data: prompts; None takes random words of the stated lengths.
        template: of ``data``; None takes the one that the folder brings.
        prompt_tokens, new_tokens: stated lengths; None is 128 and 64.
        rounds: fresh processes, at least 1; a 95th percentile takes 4.
        seed: None takes that of the run that made the folder, else 0.
        validation_data, test_data: split files of the run's own, with ``data``.
    """

    target: str = "cpu"
    data: str | None = None
    template: str | None = None
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    rounds: int = DEFAULT_ROUNDS
    seed: int | None = None
    validation_data: str | None = None
    test_data: str | None = None

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise UsageError(f"--rounds is at least 1, got {self.rounds!r}.")
        if self.data and (self.prompt_tokens, self.new_tokens) != (None, None):
            raise UsageError(
                "--prompt-tokens and --new-tokens are for random words, --data brings prompts"
                f" and answers of its own ({self.data!r}); leave one of them out."
            )
        if self.template and not self.data:
            raise UsageError(f"--template {self.template!r} needs --data; add it.")

    @property
    def lengths(self) -> Lengths:
        """Lengths of the random requests.

        Raises:
            UsageError: one of them is below 1.
        """
        default = Lengths()
        return Lengths(
            prompt=default.prompt if self.prompt_tokens is None else self.prompt_tokens,
            new=default.new if self.new_tokens is None else self.new_tokens,
        )


def run_measure(
    model_dir: Path, request: MeasureRequest, *, output: Path | None, as_json: bool
) -> int:
    """Measure the model in ``model_dir``, print and keep the record; return the exit code 0.

    Args:
        model_dir: onnxruntime-genai folder.
        request: on what and how long.
        output: file of the record; must not exist. None keeps none.
        as_json: print the record as JSON instead of a table.

    Raises:
        UsageError: a folder, a flag or data that cannot be used.
        OutputError: ``output`` exists or cannot be written.
        StoreError: a file of the model is damaged.
        HardwareError: the target is not here, or the model fell back to another provider.
        BuildError: the model cannot be loaded or run.
        WorkerError: the measuring process died.
    """
    if output is not None and output.exists():
        raise OutputError(
            f"--output {str(output)!r} exists already and nothing is overwritten;"
            " choose another name."
        )
    with LocalExecutor() as executor:
        report = measure_folder(model_dir, request, executor=executor, progress=Progress())
    plain = to_plain(report)
    if output is not None:
        write_json_atomic(output, plain)
    if as_json:
        sys.stdout.write(json.dumps(plain, indent=2, ensure_ascii=False) + "\n")
    else:
        make_console(sys.stdout).print(measure_view(report))
    return 0


def measure_folder(
    model_dir: Path, request: MeasureRequest, *, executor: Executor, progress: Progress
) -> MeasureReport:
    """Return the record of measuring ``model_dir``; errors as ``run_measure``."""
    folder = open_folder(model_dir)
    seed = _seed(request, folder)
    workload, what = _workload(folder, request, seed=seed)
    target = _one_target(request.target, executor)
    timed = _timed(folder, workload, request, target=target, executor=executor, progress=progress)
    hardware = to_plain(read_machine())
    found = {**timed.found, "size": _size(folder)}
    return MeasureReport(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shared_command_line(),
        seed=seed,
        versions=dict(executor.capabilities(target.interpreter)["versions"]),
        model=_described(folder),
        workload=_workload_facts(folder, workload, what),
        target=target.name,
        rounds=request.rounds,
        device=_device(target, hardware),
        hardware=hardware,
        conditions=timed.conditions,
        grade=timed.noise.grade,
        grade_reasons=timed.noise.reasons,
        metrics={name: _metric(number, folder.name) for name, number in found.items()},
        samples=_samples(found),
        unmeasured=timed.unmeasured,
    )


@dataclass(frozen=True, kw_only=True)
class _Timed:
    """Measurements, and how quiet the machine was meanwhile."""

    found: dict[str, Measurement]
    conditions: dict[str, Any]
    noise: SessionNoise
    unmeasured: dict[str, str]


def _timed(
    folder: ModelFolder,
    workload: Workload,
    request: MeasureRequest,
    *,
    target: Target,
    executor: Executor,
    progress: Progress,
) -> _Timed:
    model = BuiltModel(
        name=folder.name,
        path=folder.path.resolve(),
        provider=target.provider,
        interpreter=target.interpreter,
    )
    around: list[Surroundings] = []
    found = measure_latency(
        [model],
        workload,
        rounds=request.rounds,
        requests_per_block=_PER_BLOCK,
        seed=_seed(request, folder),
        executor=executor,
        on_progress=lambda text: progress.working(text, silent=True),
        on_surroundings=around.append,
    )[folder.name]
    progress.rest()
    (session,) = around
    noise = session.noise(follows_own_work=False)
    states = {"before": session.before, "after": session.after, "during": session.during()}
    return _Timed(
        found=found,
        conditions={name: to_plain(state) for name, state in states.items()},
        noise=noise,
        unmeasured=dict(session.unmeasured[folder.name]),
    )


def _seed(request: MeasureRequest, folder: ModelFolder) -> int:
    """Return the seed asked for, else that of the run that made the folder, else 0."""
    if request.seed is not None:
        return request.seed
    return folder.description.seed if folder.description else 0


def _workload(folder: ModelFolder, request: MeasureRequest, *, seed: int) -> tuple[Workload, str]:
    """Return the requests and what they are, for people."""
    if request.data:
        workload = requests_on_data(
            folder,
            data=request.data,
            template=request.template,
            seed=seed,
            validation_data=request.validation_data,
            test_data=request.test_data,
        )
        kind = workload.rows.kind
        between = "labels" if kind == "classification" else "options"
        ending = f"the decision between the {between}" if is_decision(kind) else "the answer"
        return workload, f"prompts of the user's data, seed {seed}; prefill and {ending}"
    lengths = request.lengths
    workload = requests_of_lengths(folder, lengths, seed=seed)
    return workload, (
        f"{lengths.prompt} tokens of random words, seed {seed}, and {lengths.new} generated"
    )


def _one_target(text: str, executor: Executor) -> Target:
    targets = resolve_targets(text, executor)
    if len(targets) > 1:
        names = ", ".join(target.name for target in targets)
        raise UsageError(
            f"A measurement is for one target, --target {text!r} stands for {names}; choose one."
        )
    return targets[0]


def _size(folder: ModelFolder) -> Measurement:
    return Measurement(
        metric="size",
        unit=metric_unit("size"),
        value=float(folder.runtime_bytes),
        n=1,
        method="graph, weights, tokenizer and configuration on disk; adapter and texts left out",
    )


def _described(folder: ModelFolder) -> MeasuredFolder:
    return MeasuredFolder(
        name=folder.name,
        digest=folder.digest,
        checked_files=folder.checked_files,
        base_model=folder.description.base_model if folder.description else None,
    )


def _workload_facts(folder: ModelFolder, workload: Workload, what: str) -> MeasuredWorkload:
    shipped = folder.description.workload.digest if folder.description else None
    return MeasuredWorkload(
        digest=workload.digest,
        requests=len(workload.rows.rows),
        kind=workload.rows.kind,
        statement=f"batch 1, {what}; tokenising included, loading left out",
        as_in_run=workload.digest == shipped,
    )


def _device(target: Target, hardware: Mapping[str, Any]) -> str:
    processor = hardware["processor"]
    cores = processor["usable_cores"]["value"] or "?"
    model = processor["model"]["value"] or "unknown CPU"
    return f"{target.name}: {model}, {cores:g} usable cores"


def _metric(number: Measurement, model: str) -> Metric:
    return Metric(
        value=number.value,
        unit=number.unit,
        n=number.n,
        ci95=number.ci95,
        measured_on=model,
        method=number.method,
    )


def _samples(found: Mapping[str, Measurement]) -> dict[str, tuple[tuple[float, ...], ...]]:
    """Return the samples once per quantity; its percentiles share them."""
    return {
        name.partition(".")[0]: number.blocks for name, number in found.items() if number.blocks
    }
