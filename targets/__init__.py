"""Targets: what a machine is and can run, and where steps are executed."""

from .assumed import AssumedTarget
from .calibrate import CalibrationPlan, calibrate, plan_calibration
from .calibrate_grade import (
    GRADE_RULE,
    Disturbance,
    device_reasons,
    disturbance,
    grade_noise,
)
from .calibrate_graph import OPERATORS, Product, product_model
from .capability import check as check_recipe
from .capability import recipes as recipes_for
from .capability import stand_in, types_to_prove
from .conditions import Conditions, read_conditions
from .conflict import Conflict, find_conflicts
from .contract import Architecture, Executor, Job, JobResult, JobStatus, Refusal, Target
from .cuda_needs import advice as cuda_advice
from .cuda_needs import unmet as unmet_cuda
from .detect import Finding, FindingStatus, detect, resolve_targets, survey
from .fact import Fact, FactStatus, detected, known_facts, not_applicable, probe, unknown
from .families.family import Family, Graphs, InVain, Proof
from .gpu import Accelerators, Adapter, Gpu, read_accelerators, read_nvidia
from .isa import cpu_flags, device_class, relevant_extensions
from .local import LocalExecutor
from .machine import (
    Machine,
    MemoryFacts,
    ProcessorFacts,
    SystemFacts,
    read_machine,
    usable_cores,
)
from .nvidia_libraries import libraries_script, load_nvidia_libraries
from .proven import ProvenTarget
from .registry import ENTRY_POINTS, families, family_named
from .rounding import embedding_of, has_zero_points, head_of, mixed_layers
from .versions import RUNTIME_FLAVOURS

__all__ = [
    "ENTRY_POINTS",
    "GRADE_RULE",
    "OPERATORS",
    "RUNTIME_FLAVOURS",
    "Accelerators",
    "Adapter",
    "Architecture",
    "AssumedTarget",
    "CalibrationPlan",
    "Conditions",
    "Conflict",
    "Disturbance",
    "Executor",
    "Fact",
    "FactStatus",
    "Family",
    "Finding",
    "FindingStatus",
    "Gpu",
    "Graphs",
    "InVain",
    "Job",
    "JobResult",
    "JobStatus",
    "LocalExecutor",
    "Machine",
    "MemoryFacts",
    "ProcessorFacts",
    "Product",
    "Proof",
    "ProvenTarget",
    "Refusal",
    "SystemFacts",
    "Target",
    "calibrate",
    "check_recipe",
    "cpu_flags",
    "cuda_advice",
    "detect",
    "detected",
    "device_class",
    "device_reasons",
    "disturbance",
    "embedding_of",
    "families",
    "family_named",
    "find_conflicts",
    "grade_noise",
    "has_zero_points",
    "head_of",
    "known_facts",
    "libraries_script",
    "load_nvidia_libraries",
    "mixed_layers",
    "not_applicable",
    "plan_calibration",
    "probe",
    "product_model",
    "read_accelerators",
    "read_conditions",
    "read_machine",
    "read_nvidia",
    "recipes_for",
    "relevant_extensions",
    "resolve_targets",
    "stand_in",
    "survey",
    "types_to_prove",
    "unknown",
    "unmet_cuda",
    "usable_cores",
]
