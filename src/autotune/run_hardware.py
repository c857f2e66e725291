"""The hardware report that a model was chosen on, for its deploy folder.

With ``--target-report`` that is the other machine's own report, census and all. A run here
knows what its machine is and which providers it proved; it takes no calibration, but one that
was taken on this machine before stands in it.
"""

from __future__ import annotations

import sys
import time

from autotune.known_machine import calibrated_for
from autotune.machine_report import proven_target, tool_facts
from autotune.plain import from_plain, to_plain
from autotune.reports import (
    HardwareReport,
    Missing,
    ReportedFact,
    ReportedTarget,
    RunReport,
    redact_command,
)
from autotune.session import Session
from autotune.targets import ProvenTarget, Target, read_accelerators

__all__ = ["hardware_of"]

_FACTS = dict[str, ReportedFact]
_NOT_TAKEN = "a run takes none; `autotune hardware` on that machine does"
_METHOD = (
    "A provider is proven by a node whose profile names it, in a process of its own. Taken by the"
    " run that chose the model."
)


def hardware_of(session: Session, report: RunReport) -> HardwareReport:
    """Return the report of the machine that ``session`` chooses for.

    Args:
        session: of the run.
        report: of the run.
    """
    if session.target_machine is not None:
        return session.target_machine.report
    known = calibrated_for(report)
    calibration = known.calibration if known is not None else None
    missing = [Missing(field="census", reason="the run's own is in its journal, events.jsonl")]
    if calibration is None:
        missing.append(Missing(field="calibration", reason=_NOT_TAKEN, is_required=True))
    return HardwareReport(
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command=tuple(redact_command(list(report.command))),
        tool=tool_facts(),
        complete=calibration is not None,
        missing=tuple(missing),
        asserted={},
        device=session.device,
        hardware={
            group: from_plain(_FACTS, dict(found))
            for group, found in session.hardware.items()
            if group != "accelerators"  # only their names: an identity needs no more
        },
        accelerators=from_plain(_FACTS, to_plain(read_accelerators())),
        targets=tuple(_reported(target) for target in session.targets),
        conflicts=(),
        calibration=calibration,
        census=None,
        versions=session.all_versions,
        method=(_METHOD,) if known is None else (_METHOD, f"Calibrated {known.created}."),
    )


def _reported(target: Target) -> ReportedTarget:
    is_elsewhere = target.interpreter not in ("", sys.executable)
    if not isinstance(target, ProvenTarget):  # another distribution's, which knows how it proved
        return ReportedTarget(
            name=target.name,
            provider=target.provider,
            status="proven",
            is_other_interpreter=is_elsewhere,
        )
    return proven_target(target, is_other_interpreter=is_elsewhere)
