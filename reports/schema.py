"""``python -m autotune.reports.schema [--write]``: compare or refresh the published schemas.

Nothing imports this file; what it calls is in ``published.py``.
"""

from __future__ import annotations

import argparse
import sys

from .published import DOCUMENTS, SCHEMA_DIR, schema_text, write_schemas

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """List the files that differ from the types, or write them; 1 where some differ."""
    parser = argparse.ArgumentParser(prog="python -m autotune.reports.schema")
    parser.add_argument("--write", action="store_true", help="write the files in schemas/")
    if parser.parse_args(arguments).write:
        write_schemas()
        return 0
    stale = [
        name
        for name in DOCUMENTS
        if not (path := SCHEMA_DIR / f"{name}.json").exists()
        or path.read_text(encoding="utf-8") != schema_text(name)
    ]
    sys.stdout.write("".join(f"{name}.json differs; run with --write\n" for name in stale))
    return int(bool(stale))


if __name__ == "__main__":
    raise SystemExit(main())
