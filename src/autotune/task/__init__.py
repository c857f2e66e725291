"""Tasks: data, template, labels and the train/validation/test split."""

from __future__ import annotations

from .answer_rule import ANSWER_METRICS, OPTION_METRICS, AnswerRule, answer_rule
from .asking import added_beginning
from .chat import ChatTemplate
from .conversations import CHAT_TEMPLATE
from .corpus import corpus_examples
from .data import load_table
from .documents import DOCUMENT_TEMPLATE
from .labels import LEAST_ROWS_PER_LABEL, MOST_LABELS
from .rows import EvaluationRow, Kind, Message, RowSet, TextRow, TrainingExample
from .split import DEFAULT_SHARES
from .summary import TaskSummary
from .table import SPLIT_NAMES, Record, SplitName, Table
from .task import Task, load_task
from .template import Template
from .tokenized import TokenizedTask, tokenize_task
from .tokens import Encoder
from .trie import DecisionPlan, decision_plan

__all__ = [
    "ANSWER_METRICS",
    "CHAT_TEMPLATE",
    "DEFAULT_SHARES",
    "DOCUMENT_TEMPLATE",
    "LEAST_ROWS_PER_LABEL",
    "MOST_LABELS",
    "OPTION_METRICS",
    "SPLIT_NAMES",
    "AnswerRule",
    "ChatTemplate",
    "DecisionPlan",
    "Encoder",
    "EvaluationRow",
    "Kind",
    "Message",
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
    "added_beginning",
    "answer_rule",
    "corpus_examples",
    "decision_plan",
    "load_table",
    "load_task",
    "tokenize_task",
]
