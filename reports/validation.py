"""What ``autotune validate`` found: a deploy folder checked against what it says of itself.

Published as ``schemas/validation-1.0.json``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .delta import delta_of
from .evidence import number_of
from .run_report import Metric
from .wording import metric_text, metric_title

__all__ = ["Check", "CheckStatus", "Validation", "judge_times", "validation_lines"]

CheckStatus = Literal["pass", "fail", "uncertain", "not_checked"]
# Below that a difference is none, as in comparisons.
_SLACK = 0.02
# Sessions of one model on one machine differ by more than their intervals say: medians of six
# sessions within an hour lay 5 to 11 % above the published one (docs/LOG.md). asv calls a change
# a regression from the same factor on (`asv compare --factor`).
_SESSIONS_APART = 0.10
_SIGNS: dict[CheckStatus, str] = {"pass": "✓", "fail": "✗", "uncertain": "?", "not_checked": "-"}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: ``digests``, ``description``, ``provider`` or a metric.
        status: how it came out; ``uncertain`` and ``not_checked`` are no failures.
        detail: what was found, for people.
    """

    name: str
    status: CheckStatus
    detail: str


@dataclass(frozen=True, kw_only=True)
class Validation:
    """All checks of a folder.

    Attributes:
        schema: names the document.
        schema_version: of this form.
        created: UTC time, RFC 3339.
        folder: as it was named.
        model: ``training/recipe``, empty where the folder does not say.
        device: this machine, empty where nothing was timed.
        checks: in the order they were made.
    """

    schema: Literal["autotune.validation"] = "autotune.validation"
    schema_version: Literal["1.0"] = "1.0"
    created: str
    folder: str
    model: str = ""
    device: str = ""
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing that was checked failed."""
        return all(check.status != "fail" for check in self.checks)


def judge_times(
    published: dict[str, Metric], measured: dict[str, Metric], *, noisy: str = ""
) -> Iterator[Check]:
    """Yield a check per published median and 95th percentile that was measured again.

    Slower by more than 10 % for sure is a failure, by more than 2 % for sure uncertain, since
    sessions on one machine differ as well; the interval of the ratio comes from both intervals.

    Args:
        published: metrics that the folder brings.
        measured: metrics taken now, on the same requests and a like machine.
        noisy: why nothing timed now is certain; empty where it was quiet enough.
    """
    for name, before in published.items():
        now = measured.get(name)
        if before.unit != "s" or now is None or not name.endswith((".p50", ".p95")):
            continue
        delta = delta_of(number_of(name, before), number_of(name, now))
        text = f"published {metric_text(before)}, now {metric_text(now)}"
        title = metric_title(name)
        if noisy:
            yield Check(name=title, status="uncertain", detail=f"{text}; the machine is noisy")
        elif delta.ci95 is None:
            yield Check(name=title, status="uncertain", detail=f"{text}; too few to compare")
        else:
            low, high = delta.ci95
            change = f"{text}: {delta.value:+.1%} [{low:+.1%}, {high:+.1%}]"
            yield Check(name=title, status=_status(low), detail=change)


def _status(at_least: float) -> CheckStatus:
    """Return what becomes of a model that is slower by ``at_least`` that share for sure."""
    if at_least > _SESSIONS_APART:
        return "fail"
    return "uncertain" if at_least > _SLACK else "pass"


def validation_lines(found: Validation) -> Iterator[str]:
    """Yield the checks as lines for people."""
    yield f"{found.folder}: {found.model or 'no model of autotune'}"
    for check in found.checks:
        words = check.status.replace("_", " ")
        yield f"{_SIGNS[check.status]} {check.name}: {words}, {check.detail}"
