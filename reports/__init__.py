"""Reports: the run record rendered for people, and the deploy folder.

Sees plain data only: events in, documents, tables and folders out.
"""

from __future__ import annotations

from .assemble import RunContext, build_report
from .deploy import write_model_folder
from .durable import append_json_line, read_json_lines, write_json_atomic
from .events import EventLog
from .model_folder import DecisionRule, ModelDescription, load_model
from .published import DOCUMENTS, SCHEMA_DIR, json_schema, schema_text, write_schemas
from .redact import redact_command, redact_text
from .run_report import (
    BoundVerdict,
    Metric,
    ModelFacts,
    RefusedRecipe,
    ReportedModel,
    RunOutcome,
    RunReport,
    TaskFacts,
    TimelineEntry,
    WorkloadFacts,
    load_report,
)
from .terminal import (
    PlanRow,
    front_table,
    make_console,
    nearest_miss,
    plan_table,
    run_summary,
)
from .trials import Trial, TrialLog, TrialOrigin, trials_of

__all__ = [
    "DOCUMENTS",
    "SCHEMA_DIR",
    "BoundVerdict",
    "DecisionRule",
    "EventLog",
    "Metric",
    "ModelDescription",
    "ModelFacts",
    "PlanRow",
    "RefusedRecipe",
    "ReportedModel",
    "RunContext",
    "RunOutcome",
    "RunReport",
    "TaskFacts",
    "TimelineEntry",
    "Trial",
    "TrialLog",
    "TrialOrigin",
    "WorkloadFacts",
    "append_json_line",
    "build_report",
    "front_table",
    "json_schema",
    "load_model",
    "load_report",
    "make_console",
    "nearest_miss",
    "plan_table",
    "read_json_lines",
    "redact_command",
    "redact_text",
    "run_summary",
    "schema_text",
    "trials_of",
    "write_json_atomic",
    "write_model_folder",
    "write_schemas",
]
