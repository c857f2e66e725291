"""README.md of a deploy folder: a Hugging Face model card with the run's own numbers.

Front matter follows https://huggingface.co/docs/hub/model-cards (metadata UI fields
``base_model``, ``base_model_relation``, ``library_name``, ``license``).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import PurePath

from autotune.candidate import Precision
from autotune.units import format_quantity

from .classes import class_cells, class_header, class_rows, mistake_lines
from .run_report import LayersKept, Metric, ReportedModel, RunReport
from .wording import adapter_text, bound_text, interval_text, metric_title

__all__ = ["model_card"]

_RUNTIME_PACKAGE = {
    "cuda": "onnxruntime-genai-cuda",
    "dml": "onnxruntime-genai-directml",
}
_FLOAT = (Precision.FP32, Precision.FP16, Precision.BF16)


def _spec(report: RunReport) -> str:
    """Return the base model's name; of a local folder the last part, paths stay private."""
    spec = report.model.hub_id or report.model.spec
    return PurePath(spec).name if PurePath(spec).is_absolute() else spec


def _front_matter(report: RunReport, chosen: ReportedModel) -> str:
    tags = ["onnx", "onnxruntime-genai", "autotune"]
    if chosen.adapter is not None:
        tags.append(chosen.adapter.method)
    if chosen.recipe.precision not in _FLOAT:
        tags.append(chosen.recipe.precision.value)
    task = "text-classification" if report.task.kind == "classification" else "text-generation"
    lines = [f"license: {report.model.license or 'other'}", "library_name: onnxruntime-genai"]
    if report.model.hub_id:
        relation = "finetune" if chosen.adapter is not None else "quantized"
        lines += [f"base_model: {report.model.hub_id}", f"base_model_relation: {relation}"]
    lines += [f"pipeline_tag: {task}", "tags:", *(f"- {tag}" for tag in tags)]
    return "\n".join(["---", *lines, "---"])


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escaped(cells: Iterable[str]) -> list[str]:
    """Return cells in which no label ends its column or its line."""
    return [" ".join(cell.replace("|", r"\|").split()) for cell in cells]


def _cell(metric: Metric | None) -> str:
    if metric is None:
        return "not measured"
    interval = interval_text(metric)
    count = f" (n = {metric.n})" if metric.n > 1 else ""
    return f"{format_quantity(metric.value, metric.unit)} {interval}".rstrip() + count


def _latency_note(report: RunReport) -> str:
    workload = report.workload
    return (
        f"Latency: {workload.statement.rstrip('.')}. Workload `{workload.digest[:12]}`,"
        f" measured on {report.device}."
    )


def _results(report: RunReport, chosen: ReportedModel) -> str:
    baseline = report.baseline
    header = ["", "this model"] + ([f"untrained ({baseline.recipe_name})"] if baseline else [])
    rows = []
    for name, metric in chosen.metrics.items():
        split = f" ({metric.split} split)" if metric.split else ""
        cells = [_cell(metric)] + ([_cell(baseline.metrics.get(name))] if baseline else [])
        rows.append([metric_title(name) + split, *cells])
    parts = [
        "Estimates with 95 % confidence intervals; n is the number of rows or requests.",
        _table(header, rows),
        _latency_note(report),
    ]
    if chosen.bounds:
        bounds = [[bound_text(b), str(b.verdict or "not measured")] for b in chosen.bounds]
        parts.append(_table(["bound asked for", "verdict"], bounds))
    if classes := class_rows(report, chosen):
        parts.append(_table(class_header(classes), [_escaped(class_cells(row)) for row in classes]))
    if mistakes := "; ".join(mistake_lines(report, chosen)):
        parts.append(f"Most frequent mistakes: {mistakes}.")
    return "\n\n".join(parts)


def _how_to_run(report: RunReport, chosen: ReportedModel, fields: Sequence[str]) -> str:
    package = _RUNTIME_PACKAGE.get(chosen.recipe.provider, "onnxruntime-genai")
    version = report.versions.get(package)
    words = " ".join(f"{field}=..." for field in fields)
    text = "python run.py TEXT\n" if len(fields) == 1 else ""
    if report.task.kind == "choice":
        words, text = f"{words} -- OPTION OPTION ...", ""
    return (
        f"```\npip install {package}{f'=={version}' if version else ''}\n"
        f"{text}python run.py {words}\n```\n\n"
        "The answer is the last line printed. The prompt is the template up to its last field:\n\n"
        f"```\n{report.task.template}\n```"
    )


def _layers_text(layers: LayersKept) -> str:
    """Return the kept layers as ``18 of 30 layers: 0-2, 7-11, ...``, numbered from 0."""
    starts = [n for n in layers.kept if n - 1 not in layers.kept]
    ends = [n for n in layers.kept if n + 1 not in layers.kept]
    pieces = [
        str(first) if first == last else f"{first}-{last}"
        for first, last in zip(starts, ends, strict=True)
    ]
    return f"{len(layers.kept)} of {layers.of} layers: {', '.join(pieces)}"


def _adapter_note(layers: LayersKept) -> str:
    """Return how to put the adapter on the layers that it was trained on."""
    return (
        "The adapter fits the base model cut to these layers, and no other. With transformers"
        " and peft:\n\n```\n"
        f"kept = {list(layers.kept)}\n"
        "base.model.layers = torch.nn.ModuleList([base.model.layers[i] for i in kept])\n"
        "base.config.num_hidden_layers = len(kept)\n"
        "for number, layer in enumerate(base.model.layers):\n"
        "    layer.self_attn.layer_idx = number\n"
        'tuned = peft.PeftModel.from_pretrained(base, "adapter")\n'
        "```"
    )


def _provenance(report: RunReport, chosen: ReportedModel, layers: LayersKept | None) -> str:
    pinned = report.model.revision_or_digest[:16]
    counts = ", ".join(f"{count} {split}" for split, count in report.task.counts.items())
    versions = ", ".join(f"{name} {version}" for name, version in sorted(report.versions.items()))
    lines = [
        f"base model: `{_spec(report)}` ({report.model.architecture}, `{pinned}`)",
        *([f"layers: {_layers_text(layers)} ({layers.reason})"] if layers else []),
        f"training: {adapter_text(chosen)}",
        f"recipe: `{chosen.recipe_name}`",
        f"data: {counts} rows, digest `{report.task.digest[:12]}`",
        f"command: `{shlex.join(report.command)}`, seed {report.seed}",
        f"versions: {versions}",
    ]
    text = "\n".join(f"- {line}" for line in lines)
    return f"{text}\n\n{_adapter_note(layers)}" if layers and chosen.adapter else text


def _limits(report: RunReport) -> str:
    lines = [
        "The accuracy holds for rows like those of the test split; other text may fare worse.",
        "Latency and memory hold for the machine and workload named above, batch 1.",
        "`SHA256SUMS` finds damage (`sha256sum -c SHA256SUMS`); it is not signed.",
    ]
    if report.task.kind == "classification":
        labels = ", ".join(json.dumps(label, ensure_ascii=False) for label in report.task.labels)
        lines.insert(0, f"Every text gets one of these answers, fitting or not: {labels}.")
    elif report.task.kind == "choice":
        lines.insert(0, "Every question gets one of its options, fitting or not.")
    else:
        lines.insert(0, "Answers are generated greedily and not checked.")
    lines.append(
        f"The base model's licence ({report.model.license or 'unknown to autotune'})"
        " applies to this model too."
    )
    return "\n".join(f"- {line}" for line in lines)


def model_card(
    report: RunReport, *, fields: Sequence[str], layers_kept: LayersKept | None = None
) -> str:
    """Return the text of README.md for the chosen model of ``report``.

    Args:
        report: of the run, with a chosen model.
        fields: names that ``run.py`` asks for.
        layers_kept: which layers of the base model it has, None for all.

    Raises:
        ValueError: the report chose none.
    """
    chosen = report.chosen
    if chosen is None:
        raise ValueError("a model card is written for a chosen model, the report has none")
    cut = f"cut to {_layers_text(layers_kept).partition(':')[0]}, " if layers_kept else ""
    how = "tuned, merged and built" if chosen.adapter is not None else "built, untrained,"
    intro = (
        f"{_spec(report)} {cut}{how} as {chosen.recipe.precision.value} for onnxruntime-genai"
        f" ({chosen.recipe.provider}) by autotune."
    )
    adapter = "adapter/` holds the LoRA adapter before merging; `" if chosen.adapter else ""
    sections = [
        _front_matter(report, chosen),
        f"# {PurePath(_spec(report)).name} for {report.task.kind}: {chosen.recipe_name}",
        f"{intro} `{adapter}autotune.json` holds the whole configuration.",
        f"## Results\n\n{_results(report, chosen)}",
        f"## How to run\n\n{_how_to_run(report, chosen, fields)}",
        f"## How it was made\n\n{_provenance(report, chosen, layers_kept)}",
        f"## Limits\n\n{_limits(report)}",
    ]
    return "\n\n".join(sections) + "\n"
