"""Reports: the run record rendered for people, and the deploy folder.

Sees plain data only: events in, documents, tables and folders out.
"""

from __future__ import annotations

from .assemble import RunContext, build_report, search_models
from .bundle import (
    BUNDLE_FILE,
    Bundle,
    BundledRecipe,
    BundledRequests,
    bundled_folder,
    load_bundle,
)
from .comparison import Change, ComparedDocument, Comparison, FactRow, compare
from .comparison_table import comparison_view
from .delta import Delta, delta_of
from .deploy import HARDWARE_FILE, place_built, write_model_folder
from .durable import (
    append_json_line,
    read_json_lines,
    whole_folder,
    write_json_atomic,
    write_text_atomic,
)
from .events import EventLog
from .evidence import (
    Evidence,
    MeasuredModel,
    Origin,
    labelled,
    load_evidence,
    of_hardware,
    of_measurement,
    of_run,
)
from .floors import NearFloor, check_machine, floors_of, near_floors
from .hardware_page import hardware_page
from .hardware_report import (
    Calibration,
    Census,
    CensusEntry,
    FlavourConflict,
    HardwareReport,
    Missing,
    ReportedFact,
    ReportedTarget,
    ToolFacts,
    load_hardware_report,
    sealed,
)
from .hardware_terminal import hardware_summary
from .measure_report import (
    MeasuredFolder,
    MeasuredWorkload,
    MeasureReport,
    load_measure_report,
    measure_view,
)
from .mistakes import MISTAKES_FILE, Mistake, read_mistakes, write_mistakes
from .model_card import model_card
from .model_folder import DecisionRule, ModelDescription, ShippedTask, load_model
from .model_package import COMPONENT as PACKAGE_COMPONENT
from .model_package import PackagedModel, write_model_package
from .model_records import EvalResults, Provenance, eval_results, provenance
from .picking import JudgedBound, Pick, Picked, Picking, check_measured, pick, picking_view
from .published import DOCUMENTS, SCHEMA_DIR, json_schema, schema_text, write_schemas
from .redact import redact_command, redact_text
from .run_models import TriedModel, failed_trials, tried_models
from .run_page import run_page
from .run_report import (
    BoundVerdict,
    LayersKept,
    Metric,
    ModelFacts,
    RefusedRecipe,
    ReportedLever,
    ReportedModel,
    RunOutcome,
    RunReport,
    TaskFacts,
    TimelineEntry,
    WorkloadFacts,
    load_report,
)
from .sums import SUMS, check_sums, file_digests, read_sums, write_sums
from .sweep_report import SweepReport, load_sweep_report
from .sweep_table import Cell, SweepTable
from .sweep_view import sweep_summary
from .terminal import (
    PAGE_FILE,
    PlanRow,
    front_table,
    make_console,
    nearest_miss,
    plan_table,
    run_summary,
)
from .trials import Trial, TrialLog, TrialOrigin, trials_of
from .validation import Check, Validation, judge_times, validation_lines
from .wording import metric_text, metric_title

__all__ = [
    "BUNDLE_FILE",
    "DOCUMENTS",
    "HARDWARE_FILE",
    "MISTAKES_FILE",
    "PACKAGE_COMPONENT",
    "PAGE_FILE",
    "SCHEMA_DIR",
    "SUMS",
    "BoundVerdict",
    "Bundle",
    "BundledRecipe",
    "BundledRequests",
    "Calibration",
    "Cell",
    "Census",
    "CensusEntry",
    "Change",
    "Check",
    "ComparedDocument",
    "Comparison",
    "DecisionRule",
    "Delta",
    "EvalResults",
    "EventLog",
    "Evidence",
    "FactRow",
    "FlavourConflict",
    "HardwareReport",
    "JudgedBound",
    "LayersKept",
    "MeasureReport",
    "MeasuredFolder",
    "MeasuredModel",
    "MeasuredWorkload",
    "Metric",
    "Missing",
    "Mistake",
    "ModelDescription",
    "ModelFacts",
    "NearFloor",
    "Origin",
    "PackagedModel",
    "Pick",
    "Picked",
    "Picking",
    "PlanRow",
    "Provenance",
    "RefusedRecipe",
    "ReportedFact",
    "ReportedLever",
    "ReportedModel",
    "ReportedTarget",
    "RunContext",
    "RunOutcome",
    "RunReport",
    "ShippedTask",
    "SweepReport",
    "SweepTable",
    "TaskFacts",
    "TimelineEntry",
    "ToolFacts",
    "Trial",
    "TrialLog",
    "TrialOrigin",
    "TriedModel",
    "Validation",
    "WorkloadFacts",
    "append_json_line",
    "build_report",
    "bundled_folder",
    "check_machine",
    "check_measured",
    "check_sums",
    "compare",
    "comparison_view",
    "delta_of",
    "eval_results",
    "failed_trials",
    "file_digests",
    "floors_of",
    "front_table",
    "hardware_page",
    "hardware_summary",
    "json_schema",
    "judge_times",
    "labelled",
    "load_bundle",
    "load_evidence",
    "load_hardware_report",
    "load_measure_report",
    "load_model",
    "load_report",
    "load_sweep_report",
    "make_console",
    "measure_view",
    "metric_text",
    "metric_title",
    "model_card",
    "near_floors",
    "nearest_miss",
    "of_hardware",
    "of_measurement",
    "of_run",
    "pick",
    "picking_view",
    "place_built",
    "plan_table",
    "provenance",
    "read_json_lines",
    "read_mistakes",
    "read_sums",
    "redact_command",
    "redact_text",
    "run_page",
    "run_summary",
    "schema_text",
    "sealed",
    "search_models",
    "sweep_summary",
    "trials_of",
    "tried_models",
    "validation_lines",
    "whole_folder",
    "write_json_atomic",
    "write_mistakes",
    "write_model_folder",
    "write_model_package",
    "write_schemas",
    "write_sums",
    "write_text_atomic",
]
