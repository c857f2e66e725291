"""Which targets this machine has, each proven by a session in a child process.

The first child names what the build contains, so providers that were never
compiled in cost nothing. A crash while a provider starts ends its child only.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from autotune.errors import HardwareError, RunError, UsageError

from .assumed import AssumedTarget
from .capability import types_to_prove
from .conflict import Conflict, find_conflicts
from .contract import Executor, Job, JobResult, Target
from .cuda_needs import advice, unmet
from .fact import Fact
from .families.family import Family, Proof
from .gpu import Gpu, read_nvidia
from .registry import (
    families,
    family_named,
    is_for_this_platform,
    load_target,
)

__all__ = ["Finding", "FindingStatus", "detect", "resolve_targets", "survey"]

_PROOF_TIMEOUT_S = 60.0
_CPU = "cpu"
_CUDA = "CUDAExecutionProvider"
_MESSAGE_CHARS = 160
_FOLDERS = re.compile(r"(?<![\w:/])(?:/[^\s/]+)+/")

FindingStatus = Literal["proven", "absent", "fell_back", "failed"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What became of one family in one interpreter.

    Attributes:
        family: which.
        interpreter: Python that was asked.
        status: ``proven`` has a target; ``absent`` is not installed or not for this
            system; ``fell_back`` ran on another provider; ``failed`` broke.
        reason: for people, where not proven.
        target: where proven.
        available: providers compiled into the runtime, usable or not, where it told.
    """

    family: Family
    interpreter: str
    status: FindingStatus
    reason: str = ""
    target: Target | None = None
    available: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Ask:
    family: Family
    interpreter: str


def detect(executor: Executor) -> list[Target]:
    """Return the proven targets of this machine, the processor first.

    Raises:
        HardwareError: packages in this interpreter exclude each other.
    """
    return [found.target for found in survey(executor) if found.target is not None]


def survey(
    executor: Executor,
    *,
    interpreter: str = sys.executable,
    known: Iterable[Family] | None = None,
    read_gpus: Callable[[], Fact[tuple[Gpu, ...]]] = read_nvidia,
) -> list[Finding]:
    """Return a finding for every known family; ``executor`` must have no other job.

    Args:
        executor: runs the proofs.
        interpreter: Python to ask.
        known: families, the registry's by default.
        read_gpus: what the NVIDIA driver lists; a device that this interpreter's runtime
            cannot use is pointed out.

    Raises:
        HardwareError: the interpreter cannot be run, or its packages exclude each other.
    """
    table = families().values() if known is None else known
    findings: list[Finding] = []
    available: tuple[str, ...] | None = None
    for family in table:
        ask = _Ask(family=family, interpreter=interpreter)
        found = _find(ask, executor=executor, available=available)
        findings.append(_with_advice(found, read_gpus))
        available = found.available or available
    return findings


def _with_advice(found: Finding, read_gpus: Callable[[], Fact[tuple[Gpu, ...]]]) -> Finding:
    """Return ``found``; an absent CUDA with what its owner could do for a device that is here."""
    is_for_nvidia = found.family.onnxruntime_name == _CUDA
    if not is_for_nvidia or found.status != "absent" or not is_for_this_platform(found.family):
        return found
    words = advice(read_gpus(), found.family.install)
    return replace(found, reason=f"{found.reason}; {words}") if words else found


def resolve_targets(
    text: str,
    executor: Executor,
    *,
    known: Iterable[Family] | None = None,
    may_be_absent: bool = False,
) -> list[Target]:
    """Return the targets that ``text`` names, each proven unless it may be absent.

    Args:
        text: ``auto``, or names separated by commas, each with an interpreter of its own
            if needed: ``cpu,cuda@/path/to/python``.
        executor: runs the proofs; it must have no other job.
        known: families, the registry's by default.
        may_be_absent: a target that is named and not usable here becomes an
            ``AssumedTarget``, for which graphs can be built.

    Raises:
        UsageError: an unknown name, or ``auto`` beside others.
        HardwareError: a target is not usable here, with what is and what to install.
    """
    names = list(dict.fromkeys(part.strip() for part in text.split(",")))
    table = tuple(families().values() if known is None else known)
    if names == ["auto"]:
        return _automatic(executor, table)
    asks = [_read_ask(name, text, table) for name in names]
    if len({ask.family.name for ask in asks}) < len(asks):
        raise UsageError(f"Each target is named once, got {text!r}; choose one interpreter each.")
    found = [_find(ask, executor=executor) for ask in asks]
    targets: list[Target] = []
    for finding in found:
        if finding.target is not None:
            targets.append(finding.target)
        elif may_be_absent:
            targets.append(AssumedTarget(family=finding.family, reason=finding.reason))
        else:
            raise HardwareError(_absence(finding, executor, table))
    return targets


def _automatic(executor: Executor, known: Iterable[Family]) -> list[Target]:
    findings = survey(executor, known=known)
    targets = [finding.target for finding in findings if finding.target is not None]
    if targets:
        return targets
    reason = "; ".join(f"{finding.family.name}: {finding.reason}" for finding in findings)
    raise HardwareError(
        f"No execution provider is usable here ({reason}). "
        'For the processor: pip install "autotune-slm[cpu]".'
    )


def _read_ask(name: str, text: str, known: Iterable[Family]) -> _Ask:
    word, at, interpreter = name.partition("@")
    if not word or (at and not interpreter):
        raise UsageError(
            f"A target is a name, or name@interpreter, got {name!r} in {text!r}; "
            "write for example cpu or cuda@/path/to/python."
        )
    if word == "auto":
        raise UsageError(f"'auto' stands alone, got {text!r}; give auto or a list of names.")
    return _Ask(family=family_named(word, known), interpreter=interpreter or sys.executable)


def _find(ask: _Ask, *, executor: Executor, available: Sequence[str] | None = None) -> Finding:
    """Return what becomes of ``ask``; ``available`` spares the proof of what is not built in."""
    if not is_for_this_platform(ask.family):
        return _not_proven(ask, "absent", f"there is none for {sys.platform}")
    capabilities = executor.capabilities(ask.interpreter)
    _refuse_conflicts(ask, capabilities)
    missing = _missing(ask.family, capabilities, available)
    if missing:
        return _not_proven(ask, "absent", missing)
    result = _prove(ask, executor)
    told = {} if result.error.startswith("not_in_build") else _ask_cuda(ask, executor)
    if result.status != "ok":
        status, reason, words = _explain(ask.family, result, capabilities)
        words = unmet(told, read_nvidia()) or words
        return _not_proven(ask, status, f"{reason}: {words}" if words else reason)
    proof = Proof(
        onnxruntime=result.value["onnxruntime"],
        nodes=result.value["nodes"],
        available=tuple(result.value["available"]),
        devices=(*result.value["devices"], *_cuda_devices(told)),
        versions=capabilities["versions"],
        refused_types=result.value["refused_types"],
    )
    return Finding(
        family=ask.family,
        interpreter=ask.interpreter,
        status="proven",
        target=load_target(ask.family, interpreter=ask.interpreter, proof=proof),
        available=proof.available,
    )


def _not_proven(ask: _Ask, status: FindingStatus, reason: str) -> Finding:
    return Finding(family=ask.family, interpreter=ask.interpreter, status=status, reason=reason)


def _refuse_conflicts(ask: _Ask, capabilities: Mapping[str, Any]) -> None:
    conflicts = find_conflicts(
        owners=capabilities["owners"],
        versions=capabilities["versions"],
        interpreter=ask.interpreter,
        wanted=(*ask.family.runtimes, *ask.family.genai) if ask.family.runtimes else (),
    )
    if conflicts:
        raise HardwareError(_conflict_message(conflicts))


def _conflict_message(conflicts: list[Conflict]) -> str:
    names = "; ".join(
        f"{' and '.join(one.distributions)} both write {one.module}" for one in conflicts
    )
    commands = " && ".join(command for one in conflicts for command in one.commands)
    return f"Packages exclude each other: {names}. Mend it with: {commands}"


def _missing(
    family: Family, capabilities: Mapping[str, Any], available: Sequence[str] | None
) -> str:
    """Return what is not installed or not built in; empty where a proof is worth a try."""
    owners = capabilities["owners"]
    if not owners["onnxruntime"]:
        return "no onnxruntime is installed"
    if not set(owners["onnxruntime_genai"]) & set(family.genai):
        here = ", ".join(owners["onnxruntime_genai"]) or "none"
        return f"it needs {' or '.join(family.genai)}, installed is {here}"
    if available is not None and family.onnxruntime_name not in available:
        return _not_in_build(family, capabilities, ", ".join(available))
    return ""


def _not_in_build(family: Family, capabilities: Mapping[str, Any], available: str) -> str:
    flavours = ", ".join(
        f"{name} {capabilities['versions'][name]}" for name in capabilities["owners"]["onnxruntime"]
    )
    return f"{flavours} was built without {family.onnxruntime_name} (it has {available})"


def _prove(ask: _Ask, executor: Executor) -> JobResult:
    family = ask.family
    return _alone(
        executor,
        Job(
            name=f"prove {family.name}",
            entry="autotune.targets.prove_child",
            payload={
                "provider": family.onnxruntime_name,
                "types": types_to_prove(family.provider),
            },
            interpreter=ask.interpreter,
            timeout_s=_PROOF_TIMEOUT_S,
        ),
    )


def _ask_cuda(ask: _Ask, executor: Executor) -> Mapping[str, Any]:
    """Return what CUDA's libraries say there; nothing for other providers, or if it failed."""
    if ask.family.onnxruntime_name != _CUDA:
        return {}
    result = _alone(
        executor,
        Job(
            name="ask CUDA",
            entry="autotune.targets.cuda_child",
            payload={},
            interpreter=ask.interpreter,
            timeout_s=_PROOF_TIMEOUT_S,
        ),
    )
    told: Mapping[str, Any] = result.value if result.status == "ok" else {}
    return told


def _cuda_devices(told: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the devices that the runtime can choose from, with the versions that it uses."""
    used = {name: told[name] for name in ("cuda", "cudnn", "driver_cuda") if told.get(name)}
    return [{**device, **used} for device in told.get("devices", ())]


def _alone(executor: Executor, job: Job) -> JobResult:
    handle = executor.submit(job)
    result = executor.poll()
    if result is None or result.handle != handle:
        raise RunError("A target can be proven only while the executor has no other job.")
    return result


def _explain(
    family: Family, result: JobResult, capabilities: Mapping[str, Any]
) -> tuple[FindingStatus, str, str]:
    """Return what became of the proof, in our words and in the runtime's own, if it has any."""
    kind, _, message = result.error.partition(": ")
    name = family.onnxruntime_name
    if kind == "not_in_build":
        return "absent", _not_in_build(family, capabilities, message), ""
    if kind == "fell_back":
        return "fell_back", f"{name} left its node to another provider", _ending(message)
    return "failed", f"{name} did not run one node", _ending(message or kind)


def _ending(message: str) -> str:
    """Return one line of a native message; what matters stands at its end, folders do not."""
    line = _FOLDERS.sub("", " ".join(message.split())).rstrip(".")
    return line if len(line) <= _MESSAGE_CHARS else f"... {line[-_MESSAGE_CHARS:]}"


def _absence(finding: Finding, executor: Executor, known: Iterable[Family]) -> str:
    family = finding.family
    found = survey(executor, known=known)
    usable = ", ".join(one.target.name for one in found if one.target is not None)
    message = (
        f"Target {family.name!r} is not usable here: {finding.reason}; usable: {usable or 'none'}. "
        f"It needs {family.needs}; install it with {' && '.join(family.install)}"
    )
    if family.name == _CPU:
        return f"{message}."
    return (
        f"{message} in an environment of its own and name that: "
        f"--target {family.name}@/path/to/python."
    )
