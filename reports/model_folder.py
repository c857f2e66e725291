"""autotune.json: what a deploy folder says about itself, and what run.py reads.

Published as ``schemas/model-1.0.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autotune.candidate import AdapterConfig, Recipe
from autotune.kinds import Kind

from .documents import load_document
from .run_report import BoundVerdict, LayersKept, Metric, ModelFacts, RunReport, WorkloadFacts

__all__ = ["DecisionRule", "ModelDescription", "ShippedTask", "describe_model", "load_model"]


@dataclass(frozen=True, kw_only=True)
class DecisionRule:
    """How a prompt is made and an answer decided; plain values of the run's task.

    Attributes:
        kind: what is asked of the model.
        template: text of the template, escapes resolved.
        literals: texts around its fields, one more than ``fields``.
        fields: its fields in order; the last is the answer's.
        labels: answers as text, classification only.
        label_ids: token ids of each label, end-of-sequence included.
        nodes: token prefixes that two or more labels share, the empty one among them
            (``decision_plan(label_ids).nodes``); none for generation.
        eos_ids: tokens that end a generation.
        max_new_tokens: limit of a generated answer, 0 for a decision.
        around: texts before and after the filled prompt, of a chat template.
        options: columns of the data that hold the options, multiple choice only.
        metric: how options are compared, or answers were judged.
    """

    kind: Kind
    template: str
    literals: tuple[str, ...]
    fields: tuple[str, ...]
    labels: tuple[str, ...] = ()
    label_ids: tuple[tuple[int, ...], ...] = ()
    nodes: tuple[tuple[int, ...], ...] = ()
    eos_ids: tuple[int, ...] = ()
    max_new_tokens: int = 0
    around: tuple[str, str] = ("", "")
    options: tuple[str, ...] = ()
    metric: str = ""

    def __post_init__(self) -> None:
        if len(self.literals) != len(self.fields) + 1 or not self.fields:
            raise ValueError(
                "a template has one literal more than fields, got"
                f" {len(self.literals)} and {len(self.fields)}"
            )
        if len(self.labels) != len(self.label_ids):
            raise ValueError(
                f"every label has its tokens, got {len(self.labels)} labels"
                f" and {len(self.label_ids)} token lists"
            )
        is_decision = bool(self.labels) or self.kind == "choice"
        if bool(self.labels) != bool(self.nodes) or is_decision == bool(self.max_new_tokens):
            raise ValueError(
                "labels come with nodes, and what is no decision with max_new_tokens, got"
                f" {len(self.labels)}, {len(self.nodes)} and {self.max_new_tokens!r}"
            )


@dataclass(frozen=True, kw_only=True)
class ShippedTask:
    """What run.py needs to ask and to decide.

    Attributes:
        kind: what is asked of the model.
        template: as in the run.
        prompt: texts and names of fields in turn, a text first and last; spaces at the
            end of the filled prompt are dropped, and are the beginning of an option.
        fields: names that the prompt needs, each once.
        suffix: text after the answer in the template, taken off a generated answer.
        labels: answers as text, classification only.
        label_ids: token ids of each label, end-of-sequence included.
        nodes: token prefixes that two or more labels share, in depth-first order, so
            that each costs one token after a rewind; the first is empty.
        eos_ids: tokens that end a generation.
        max_new_tokens: limit of a generated answer, 0 for a decision.
        is_chat: the texts of the model's chat template are in ``prompt``.
        options: columns of the data that hold the options, multiple choice only.
        metric: how options are compared, or answers were judged.
    """

    kind: Kind
    template: str
    prompt: tuple[str, ...]
    fields: tuple[str, ...]
    suffix: str
    labels: tuple[str, ...]
    label_ids: tuple[tuple[int, ...], ...]
    nodes: tuple[tuple[int, ...], ...]
    eos_ids: tuple[int, ...]
    max_new_tokens: int
    is_chat: bool = False
    options: tuple[str, ...] = ()
    metric: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """The chosen configuration with the numbers that speak for it.

    Attributes:
        schema: names the document.
        schema_version: of this form.
        name: ``training/recipe``.
        base_model: what was tuned.
        recipe: how it is built.
        adapter: how it was trained, or null.
        fraction: share of the training steps that were done, 0 for untrained.
        layers_kept: which layers of the base model it has, null for all of them; the
            adapter fits no other selection.
        task: what run.py needs.
        constraints: bounds of the run with the verdicts on this model.
        metrics: accuracy on the test split, timings of the confirmation.
        baseline_name: the untrained model it is compared with, or empty.
        baseline_metrics: the same metrics of that model.
        workload: what the latencies were measured on.
        device: the machine it was measured on.
        command: that made it, credentials replaced.
        seed: of split, search and training.
        versions: of the libraries that shape the result.
        created: UTC time, RFC 3339.
    """

    schema: Literal["autotune.model"] = "autotune.model"
    schema_version: Literal["1.0"] = "1.0"
    name: str
    base_model: ModelFacts
    recipe: Recipe
    adapter: AdapterConfig | None
    fraction: float
    layers_kept: LayersKept | None = None
    task: ShippedTask
    constraints: tuple[BoundVerdict, ...]
    metrics: dict[str, Metric]
    baseline_name: str = ""
    baseline_metrics: dict[str, Metric]
    workload: WorkloadFacts
    device: str
    command: tuple[str, ...]
    seed: int
    versions: dict[str, str]
    created: str


def _prompt(rule: DecisionRule) -> list[str]:
    """Return texts and fields in turn; of plain text, whose one field is all there is, that."""
    fields, literals = rule.fields[:-1], rule.literals[:-1]
    if rule.kind == "perplexity":
        fields, literals = rule.fields, (rule.literals[0], "")
    prompt = [literals[0]]
    for field, literal in zip(fields, literals[1:], strict=True):
        prompt += [field, literal]
    before, after = rule.around
    if before or after:
        # White space around a question is dropped in a chat, as it was in training.
        prompt[0], prompt[-1] = before + prompt[0].lstrip(), prompt[-1].rstrip() + after
    return prompt


def _shipped_task(rule: DecisionRule) -> ShippedTask:
    prompt = _prompt(rule)
    return ShippedTask(
        kind=rule.kind,
        template=rule.template,
        prompt=tuple(prompt),
        fields=tuple(dict.fromkeys(prompt[1::2])),
        suffix=rule.literals[-1],
        labels=rule.labels,
        label_ids=rule.label_ids,
        nodes=tuple(sorted(rule.nodes)),
        eos_ids=rule.eos_ids,
        max_new_tokens=rule.max_new_tokens,
        is_chat=rule.around != ("", ""),
        options=rule.options,
        metric=rule.metric,
    )


def describe_model(
    rule: DecisionRule, report: RunReport, layers_kept: LayersKept | None = None
) -> ModelDescription:
    """Return the description of the chosen model of ``report``.

    Raises:
        ValueError: the report chose none.
    """
    chosen, baseline = report.chosen, report.baseline
    if chosen is None:
        raise ValueError("a model folder is written for a chosen model, the report has none")
    return ModelDescription(
        name=chosen.name,
        base_model=report.model,
        recipe=chosen.recipe,
        adapter=chosen.adapter,
        fraction=chosen.fraction,
        layers_kept=layers_kept,
        task=_shipped_task(rule),
        constraints=report.constraints,
        metrics=chosen.metrics,
        baseline_name=baseline.name if baseline else "",
        baseline_metrics=baseline.metrics if baseline else {},
        workload=report.workload,
        device=report.device,
        command=report.command,
        seed=report.seed,
        versions=report.versions,
        created=report.created,
    )


def load_model(folder: Path) -> ModelDescription:
    """Return what the deploy folder ``folder`` says about itself.

    Raises:
        UsageError: autotune.json is missing, damaged or of another version.
    """
    return load_document(folder / "autotune.json", ModelDescription)
