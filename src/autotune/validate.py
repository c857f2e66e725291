"""``autotune validate DIR``: does a deploy folder hold what it says, here and now.

Cheap checks come first, and nothing of a folder runs whose digests are wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from autotune import demo
from autotune.errors import (
    AutotuneError,
    BuildError,
    HardwareError,
    ModelSourceError,
    StoreError,
    UsageError,
)
from autotune.measure_model import MeasureRequest, measure_folder
from autotune.measured_folder import ModelFolder, open_folder
from autotune.measured_requests import requests_on_data
from autotune.plain import to_plain
from autotune.progress import Progress
from autotune.reports import (
    Check,
    MeasureReport,
    ModelDescription,
    Validation,
    judge_times,
    load_model,
    validation_lines,
)
from autotune.targets import LocalExecutor, families

__all__ = ["run_validate", "validate_folder"]

_FAILED = 1
_DESCRIPTION = "autotune.json"


def run_validate(
    folder: Path, *, target: str | None, data: str | None, rounds: int, as_json: bool
) -> int:
    """Check the deploy folder, print what was found, and return the exit code.

    Args:
        folder: that a run or ``autotune export`` wrote, or a run folder with a ``model/``.
        target: to run on, where the provider is in another interpreter: ``cuda@/path``.
        data: of the run, for the same requests; None knows the demo's.
        rounds: fresh processes.
        as_json: print the document.

    Returns:
        0 where nothing that was checked failed, 1 where something did, 3 where the
        provider is not here.

    Raises:
        UsageError: no deploy folder of autotune.
    """
    found = validate_folder(folder, target=target, data=data, rounds=rounds)
    if as_json:
        sys.stdout.write(json.dumps(to_plain(found), indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in validation_lines(found)))
    if found.holds:
        return 0
    is_absent = any(one.name == "provider" and one.status == "fail" for one in found.checks)
    return HardwareError.exit_code if is_absent else _FAILED


def validate_folder(
    folder: Path, *, target: str | None = None, data: str | None = None, rounds: int = 4
) -> Validation:
    """Return the checks of ``folder``; arguments and errors as ``run_validate``."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    if not (folder / _DESCRIPTION).is_file() and (folder / "model").is_dir():
        folder /= "model"
    if not (folder / _DESCRIPTION).is_file():
        raise UsageError(
            f"A deploy folder of autotune has an {_DESCRIPTION}, {str(folder)!r} has none; name"
            " RUN/model, or time any onnxruntime-genai folder with `autotune measure`."
        )
    opened = _opened(folder)
    if isinstance(opened, Check):
        return Validation(created=created, folder=str(folder), checks=(opened,))
    checks, description = list(_of_files(opened)), load_model(folder)
    device = ""
    try:
        name = target or _target_of(description)
        report = _measured(opened, description, target=name, data=data, rounds=rounds)
    except (HardwareError, BuildError) as error:
        checks.append(Check(name="provider", status="fail", detail=str(error)))
    else:
        device = report.device
        checks += _of_times(description, report)
    return Validation(
        created=created,
        folder=str(folder),
        model=opened.name,
        device=device,
        checks=tuple(checks),
    )


def _opened(folder: Path) -> ModelFolder | Check:
    """Return the folder, or the check that it failed."""
    try:
        return open_folder(folder)
    except StoreError as error:
        return Check(name="digests", status="fail", detail=str(error))
    except ModelSourceError as error:
        return Check(name="files", status="fail", detail=str(error))
    except UsageError as error:
        return Check(name="description", status="fail", detail=str(error))


def _of_files(opened: ModelFolder) -> Iterator[Check]:
    if opened.checked_files:
        yield Check(
            name="digests", status="pass", detail=f"{opened.checked_files} files as SHA256SUMS says"
        )
    else:
        yield Check(name="digests", status="not_checked", detail="there is no SHA256SUMS")
    yield Check(
        name="description", status="pass", detail="autotune.json is a whole autotune.model 1.0"
    )


def _target_of(description: ModelDescription) -> str:
    """Return the user's word for the provider that the model is built for."""
    provider = description.recipe.provider
    known = [family.name for family in families().values() if family.provider == provider]
    return known[0] if known else provider


def _measured(
    opened: ModelFolder,
    description: ModelDescription,
    *,
    target: str,
    data: str | None,
    rounds: int,
) -> MeasureReport:
    named = data or _demo_data(opened, description)
    request = MeasureRequest(target=target, data=named, rounds=rounds)
    with LocalExecutor() as executor:
        return measure_folder(opened.path, request, executor=executor, progress=Progress())


def _demo_data(opened: ModelFolder, description: ModelDescription) -> str | None:
    """Return the demo's data where the folder was measured on them."""
    if description.task.template != demo.TEMPLATE:
        return None
    data = str(demo.data_path())
    try:
        workload = requests_on_data(opened, data=data, template=None, seed=description.seed)
    except AutotuneError:  # another tokenizer, other labels: not the demo
        return None
    return data if workload.digest == description.workload.digest else None


def _of_times(description: ModelDescription, report: MeasureReport) -> Iterator[Check]:
    """Yield that the model ran, and its times against the published ones where they compare."""
    yield Check(name="provider", status="pass", detail=f"it ran on {report.target}, all of it")
    noisy = "; ".join(report.grade_reasons) if report.grade == "C" else ""
    if noisy:
        yield Check(name="conditions", status="uncertain", detail=noisy)
    if why := _incomparable(description, report):
        for name in ("latency.p50", "tpot.p50"):
            if name in report.metrics:
                now = report.metrics[name]
                yield Check(
                    name=name, status="not_checked", detail=f"{why} (now {now.value:.4g} s)"
                )
        return
    yield from judge_times(description.metrics, report.metrics, noisy=noisy)


def _incomparable(description: ModelDescription, report: MeasureReport) -> str:
    """Return why times cannot be compared with the published ones; empty where they can."""
    if not report.workload.as_in_run:
        return (
            "these are other requests than the published times are of; give the run's data with"
            " --data"
        )
    if report.device != description.device:
        return f"published on {description.device!r}, this is {report.device!r}"
    return ""
