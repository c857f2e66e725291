"""Targets: what a machine is and can run, and where steps are executed."""

from .capability import check as check_recipe
from .capability import recipes as recipes_for
from .conditions import Conditions, read_conditions
from .conflict import Conflict, find_conflicts
from .contract import Architecture, Executor, Job, JobResult, JobStatus, Refusal, Target
from .detect import Finding, FindingStatus, detect, resolve_targets, survey
from .fact import Fact, FactStatus, detected, known_facts, not_applicable, probe, unknown
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
from .proven import ProvenTarget
from .registry import ENTRY_POINTS, Family, Proof, families, family_named
from .versions import RUNTIME_FLAVOURS

__all__ = [
    "ENTRY_POINTS",
    "RUNTIME_FLAVOURS",
    "Architecture",
    "Conditions",
    "Conflict",
    "Executor",
    "Fact",
    "FactStatus",
    "Family",
    "Finding",
    "FindingStatus",
    "Job",
    "JobResult",
    "JobStatus",
    "LocalExecutor",
    "Machine",
    "MemoryFacts",
    "ProcessorFacts",
    "Proof",
    "ProvenTarget",
    "Refusal",
    "SystemFacts",
    "Target",
    "check_recipe",
    "cpu_flags",
    "detect",
    "detected",
    "device_class",
    "families",
    "family_named",
    "find_conflicts",
    "known_facts",
    "not_applicable",
    "probe",
    "read_conditions",
    "read_machine",
    "recipes_for",
    "relevant_extensions",
    "resolve_targets",
    "survey",
    "unknown",
    "usable_cores",
]
