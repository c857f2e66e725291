"""The published JSON Schemas, generated from the document types.

A test compares the files in ``schemas/`` with the types, so neither can drift;
``python -m autotune.reports.schema --write`` refreshes them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from .bundle import Bundle
from .comparison import Comparison
from .hardware_report import HardwareReport
from .measure_report import MeasureReport
from .model_folder import ModelDescription
from .model_records import EvalResults, Provenance
from .picking import Picking
from .run_report import RunReport
from .sweep_report import SweepReport
from .trials import Trial
from .validation import Validation

__all__ = ["DOCUMENTS", "SCHEMA_DIR", "json_schema", "schema_text", "write_schemas"]

SCHEMA_DIR = Path(__file__).parent / "schemas"
DOCUMENTS: dict[str, type] = {
    "run-1.0": RunReport,
    "trial-1.0": Trial,
    "model-1.0": ModelDescription,
    "hardware-1.0": HardwareReport,
    "measure-1.0": MeasureReport,
    "comparison-1.0": Comparison,
    "picking-1.0": Picking,
    "bundle-1.0": Bundle,
    "sweep-1.0": SweepReport,
    "validation-1.0": Validation,
    "eval-1.0": EvalResults,
    "provenance-1.0": Provenance,
}


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a document: ``run-1.0``, ...

    Raises:
        KeyError: no document has that name.
    """
    schema = TypeAdapter(DOCUMENTS[name]).json_schema(mode="validation")
    # What a reader needs to tell documents apart is written always, so it is required.
    schema["required"] = ["schema", "schema_version", *schema["required"]]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text(name: str) -> str:
    """Return the text of ``schemas/NAME.json``."""
    return json.dumps(json_schema(name), indent=1) + "\n"


def write_schemas(folder: Path = SCHEMA_DIR) -> list[Path]:
    """Write every schema to ``folder`` and return the files."""
    paths = []
    for name in DOCUMENTS:
        path = folder / f"{name}.json"
        path.write_text(schema_text(name), encoding="utf-8")
        paths.append(path)
    return paths
