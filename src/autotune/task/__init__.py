"""Tasks: data, template, labels and the train/validation/test split."""

from __future__ import annotations

from .corpus import corpus_examples
from .data import load_table
from .labels import LEAST_ROWS_PER_LABEL, MOST_LABELS
from .rows import EvaluationRow, Kind, RowSet, TextRow, TrainingExample
from .split import DEFAULT_SHARES
from .summary import TaskSummary
from .table import SPLIT_NAMES, Record, SplitName, Table
from .task import Task, load_task
from .template import Template
from .tokenized import TokenizedTask, tokenize_task
from .tokens import Encoder
from .trie import DecisionPlan, decision_plan

__all__ = [
    "DEFAULT_SHARES",
    "LEAST_ROWS_PER_LABEL",
    "MOST_LABELS",
    "SPLIT_NAMES",
    "DecisionPlan",
    "Encoder",
    "EvaluationRow",
    "Kind",
    "Record",
    "RowSet",
    "SplitName",
    "Table",
    "Task",
    "TaskSummary",
    "Template",
    "TextRow",
    "TokenizedTask",
    "TrainingExample",
    "corpus_examples",
    "decision_plan",
    "load_table",
    "load_task",
    "tokenize_task",
]
