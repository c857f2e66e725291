"""report.html: a run as one file that a colleague can read, the answer first.

Rendered from the report and the journal of the run; every plot has its table, nothing
is loaded, and without its script the page still says everything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from autotune.steps import Event

from .answer_page import answer_section
from .classes_page import answers_section
from .front_plot import front_section
from .hardware_report import HardwareReport
from .latency_plot import latency_section
from .method_page import machine_section, method_section
from .mistakes import Mistake
from .page_parts import page
from .run_models import tried_models
from .run_page_style import SCRIPT, STYLE
from .run_report import RunReport
from .timeline_plot import timeline_section
from .training_plot import training_section

__all__ = ["run_page"]


def run_page(
    report: RunReport,
    events: Sequence[Event],
    *,
    run: str,
    mistakes: Sequence[Mistake] | None = None,
    hardware: HardwareReport | None = None,
) -> str:
    """Return the whole page as text; it refers to nothing outside itself.

    Args:
        report: of the run.
        events: its journal.
        run: the run folder as commands on the page name it.
        mistakes: test rows answered wrongly, None where they are not known or not to be shown.
        hardware: calibrated report of the run's machine; with it the page tells how near its
            floor the model runs.
    """
    models = tried_models(report, events)
    sections = [
        answer_section(report, models, run=run),
        front_section(report, models, run=run),
        latency_section(report, events),
        answers_section(report, mistakes),
        training_section(report, events),
        timeline_section(report, events),
        machine_section(report, hardware),
        method_section(report),
    ]
    name = report.model.hub_id or report.model.spec
    title = f"{name} on {report.device}"
    lead = f"{report.task.kind}, {report.task.source or 'own data'}, {report.created}"
    shown = [one for one in sections if one]
    body = "\n".join(
        [f"<h1>{escape(title)}</h1>", f"<p>{escape(lead)}</p>", _contents(shown), *shown]
    )
    return page(title=f"autotune: {title}", body=body, style=STYLE, script=SCRIPT)


def _contents(sections: Sequence[str]) -> str:
    """Return links to the sections, by their anchors and titles."""
    found = [re.match(r'<section id="(\w+)"><h2>(.*?)</h2>', one) for one in sections]
    links = "".join(f'<li><a href="#{one[1]}">{one[2]}</a></li>' for one in found if one)
    return f'<nav aria-label="Sections"><ul>{links}</ul></nav>'
