"""Trying a model out: one question at a time, at the terminal or over OpenAI's protocol."""

from __future__ import annotations

from .answer_text import AnswerText, StopText, tidied
from .answering import Begun, Ended, Piece, Sampling, answers
from .engine import BusyError, Engine, LoadedModel, ModelPlace, RefusedQuestionError
from .question import Question, QuestionError, ask_fields, ask_raw, ask_text
from .served_model import ServedModel, find_model, open_model
from .server import serve
from .terminal_chat import chat

__all__ = [
    "AnswerText",
    "Begun",
    "BusyError",
    "Ended",
    "Engine",
    "LoadedModel",
    "ModelPlace",
    "Piece",
    "Question",
    "QuestionError",
    "RefusedQuestionError",
    "Sampling",
    "ServedModel",
    "StopText",
    "answers",
    "ask_fields",
    "ask_raw",
    "ask_text",
    "chat",
    "find_model",
    "open_model",
    "serve",
    "tidied",
]
