"""A hardware report as one HTML file: no network, no script, light and dark, prints well."""

from __future__ import annotations

from html import escape

from .hardware_report import HardwareReport
from .hardware_sections import Section, hardware_sections, headline
from .page_parts import page, paragraphs, section, table

__all__ = ["hardware_page", "section_html"]


def hardware_page(report: HardwareReport) -> str:
    """Return the whole page as text; it refers to nothing outside itself."""
    sections = "\n".join(section_html(one) for one in hardware_sections(report))
    body = f"<h1>Hardware report</h1>\n<p>{escape(headline(report))}</p>\n{sections}"
    return page(title=f"Hardware report: {report.label}", body=body)


def section_html(one: Section) -> str:
    """Return a section of a hardware report as HTML."""
    return section(one.title, table(one.columns, one.rows), paragraphs(one.notes))
