"""Evaluators: accuracy, latency, energy, memory and size, measured on the built model."""

from __future__ import annotations

from .accuracy import Scored, read_scored, score, score_job
from .answers import judge_answers, resolve_rule
from .contract import BuiltModel, EvaluationRow, RowSet, Workload
from .latency import BlockSettings, block_rows, latency_job, measure_latency
from .lock import measurement_lock
from .measurable import nvml_file, unmeasurable
from .meters import Meters
from .runtime import child_result
from .samples import LatencyBlocks, Measurements, pool_latency, tell_apart
from .size import measure_size
from .statistics import (
    MINIMUM_ROUNDS,
    MINIMUM_SAMPLES,
    Comparison,
    SpeedVerdict,
    accuracy_difference,
    bootstrap_mean,
    bootstrap_ratio,
    compare_latency,
    hierarchical_bootstrap,
    macro_f1,
    mcnemar_exact,
    noise_floor,
    percentile,
    wilson_interval,
)
from .surroundings import Surroundings
from .workload import make_workload, workload_digest

__all__ = [
    "MINIMUM_ROUNDS",
    "MINIMUM_SAMPLES",
    "BlockSettings",
    "BuiltModel",
    "Comparison",
    "EvaluationRow",
    "LatencyBlocks",
    "Measurements",
    "Meters",
    "RowSet",
    "Scored",
    "SpeedVerdict",
    "Surroundings",
    "Workload",
    "accuracy_difference",
    "block_rows",
    "bootstrap_mean",
    "bootstrap_ratio",
    "child_result",
    "compare_latency",
    "hierarchical_bootstrap",
    "judge_answers",
    "latency_job",
    "macro_f1",
    "make_workload",
    "mcnemar_exact",
    "measure_latency",
    "measure_size",
    "measurement_lock",
    "noise_floor",
    "nvml_file",
    "percentile",
    "pool_latency",
    "read_scored",
    "resolve_rule",
    "score",
    "score_job",
    "tell_apart",
    "unmeasurable",
    "wilson_interval",
    "workload_digest",
]
