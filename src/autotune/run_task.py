"""The task of a run: its data read as the flags say, in the tokens of its model, and its rule."""

from __future__ import annotations

from autotune.bounds import check_bounds_on_task
from autotune.config import RunConfig
from autotune.evaluators import resolve_rule
from autotune.passes import ModelSource
from autotune.task import (
    AnswerRule,
    Task,
    Template,
    TokenizedTask,
    answer_rule,
    load_task,
    tokenize_task,
)
from autotune.training_data import split_shares

__all__ = ["read_task", "tokens_for"]


def read_task(config: RunConfig) -> tuple[Task, AnswerRule]:
    """Return the data with its splits and the rule for its answers, judgeable by all bounds.

    Raises:
        DataError: unusable data.
        UsageError: bounds or a metric that such a task has no use for, or a metric of the
            user's own that fails on right answers.
    """
    template = None
    if config.template:
        template = Template.parse(config.template, is_plain_text=config.kind == "perplexity")
    task = load_task(
        config.data_path,
        template=template,
        validation_data=config.validation_data,
        test_data=config.test_data,
        kind=config.kind,
        options=config.options,
        is_chat=config.chat,
        seed=config.seed,
        shares=split_shares(config),
    )
    check_bounds_on_task(config.constraints, task.kind)
    rule = answer_rule(task.kind, metric=config.metric, extract=config.extract)
    return task, resolve_rule(rule, [row.answer for row in task.validation])


def tokens_for(
    config: RunConfig, task: Task, rule: AnswerRule, source: ModelSource
) -> TokenizedTask:
    """Return ``task`` in the tokens of the model; prompts are cut only where a run asks for it.

    Raises:
        DataError: rows that the model cannot hold or tell apart.
        ModelSourceError: no usable tokenizer, or no chat template where one is asked for.
    """
    return tokenize_task(
        task,
        source.artifact.path,
        source.architecture.context_length,
        rule=rule,
        truncates=config.truncate,
    )
