"""A hardware report as one HTML file: no network, no script, light and dark, prints well."""

from __future__ import annotations

from html import escape

from .hardware_report import HardwareReport
from .hardware_sections import Section, hardware_sections, headline

__all__ = ["hardware_page"]

# Colours by role; the dark set replaces them, print always uses the light one.
_STYLE = """
:root { --ground: #fff; --ink: #1a1c20; --faint: #5b6270; --line: #d5d9e0; --band: #f4f6f9 }
@media (prefers-color-scheme: dark) {
  :root { --ground: #15171b; --ink: #e8eaee; --faint: #a2a9b6; --line: #343a45; --band: #1d2026 }
}
@media print {
  :root { --ground: #fff; --ink: #000; --faint: #444; --line: #bbb; --band: #fff }
  section { break-inside: avoid-page }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1rem; max-width: 64rem; color: var(--ink);
       background: var(--ground); font: 1rem/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem; margin: 0 0 .25rem } h2 { font-size: 1.125rem; margin: 2rem 0 .5rem }
p { margin: .25rem 0; color: var(--faint); overflow-wrap: break-word }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; vertical-align: top; padding: .3rem .75rem .3rem 0;
         border-bottom: 1px solid var(--line); overflow-wrap: break-word }
th { color: var(--faint); font-weight: 600 } tbody tr:nth-child(even) { background: var(--band) }
"""


def hardware_page(report: HardwareReport) -> str:
    """Return the whole page as text; it refers to nothing outside itself."""
    sections = "\n".join(_section(one) for one in hardware_sections(report))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Hardware report: {escape(report.label)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>Hardware report</h1>
<p>{escape(headline(report))}</p>
{sections}
</main>
</body>
</html>
"""


def _section(section: Section) -> str:
    notes = "".join(f"<p>{escape(note)}</p>" for note in section.notes)
    return f"<section><h2>{escape(section.title)}</h2>{_table(section)}{notes}</section>"


def _table(section: Section) -> str:
    if not section.rows:
        return ""
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in section.columns)
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in section.rows
    )
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="wide">{table}</div>'
