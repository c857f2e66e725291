"""What the HTML pages are made of: one file each, no network, light and dark, prints well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["details", "page", "paragraphs", "section", "table"]

# A page that could load something would be no document that stays as it is.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
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


def page(*, title: str, body: str, style: str = "", script: str = "") -> str:
    """Return a whole page that refers to nothing outside itself.

    Args:
        title: as text.
        body: HTML of its main part.
        style: CSS beside that of all pages.
        script: JavaScript that makes the page pleasanter; it must say everything without.
    """
    tail = f"<script>{script}</script>\n" if script else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title>
<style>{_STYLE}{style}</style>
</head>
<body>
<main>
{body}
</main>
{tail}</body>
</html>
"""


def section(title: str, *parts: str, anchor: str = "") -> str:
    """Return a titled section of HTML parts; empty parts are left out."""
    name = f' id="{anchor}"' if anchor else ""
    return f"<section{name}><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def paragraphs(texts: Iterable[str]) -> str:
    """Return each text as a paragraph."""
    return "".join(f"<p>{escape(text)}</p>" for text in texts)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, marked: Iterable[int] = ()
) -> str:
    """Return a table of texts, or nothing without rows; ``marked`` rows stand out."""
    strong = set(marked)
    lines = []
    for number, row in enumerate(rows):
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        kind = ' class="marked"' if number in strong else ""
        lines.append(f"<tr{kind}>{cells}</tr>")
    if not lines:
        return ""
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in columns)
    whole = f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'<div class="wide">{whole}</div>'


def details(summary: str, content: str) -> str:
    """Return ``content`` folded away under ``summary``; nothing where there is no content."""
    if not content:
        return ""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"
