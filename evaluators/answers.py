"""Comparing a generated answer with its reference: one value in [0, 1] per row.

``exact``: equal without outer white space. ``contains``: the reference stands in the
answer. ``f1``: harmonic mean of precision and recall over words, after lower-casing and
without punctuation and English articles (SQuAD's evaluate-v1.1.py, Rajpurkar et al. 2016).
A function of the user's own runs here, in the process that was started by the user, with
everything that is installed for it; a child that measures has none of that.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import string
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.errors import RunError, UsageError
from autotune.task import AnswerRule

__all__ = ["judge_answers", "resolve_rule"]

# ``function(predictions, references)`` returns one number in [0, 1] per row.
CustomMetric = Callable[[list[str], list[str]], Sequence[float]]
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def judge_answers(
    rule: AnswerRule, answers: Sequence[str], references: Sequence[str]
) -> list[float]:
    """Return the value of each answer, 1 for right and 0 for wrong.

    Raises:
        UsageError: a custom function that cannot be imported.
        RunError: a custom function that fails, or returns something else.
    """
    taken = [_taken(rule.extract, text) for text in answers]
    # A reference that the pattern does not match is compared as a whole.
    wanted = [
        text if (found := _taken(rule.extract, text)) is None else found for text in references
    ]
    if rule.is_custom:
        return _custom(rule.metric, ["" if text is None else text for text in taken], wanted)
    compare = {"contains": _contains, "f1": _f1}.get(rule.metric, _exact)
    pairs = zip(taken, wanted, strict=True)
    return [0.0 if text is None else compare(text, reference) for text, reference in pairs]


def _taken(pattern: str, text: str) -> str | None:
    """Return what ``pattern`` finds first, its first group where it has one; None for nothing."""
    if not pattern:
        return text
    match = re.search(pattern, text)
    if match is None:
        return None
    return (match[1] or "") if match.re.groups else match[0]


def _exact(answer: str, reference: str) -> float:
    return float(answer.strip() == reference.strip())


def _contains(answer: str, reference: str) -> float:
    return float(reference.strip() in answer)


def _f1(answer: str, reference: str) -> float:
    said, wanted = _words(answer), _words(reference)
    if not said or not wanted:
        return float(said == wanted)
    shared = sum((Counter(said) & Counter(wanted)).values())
    return 2 * shared / (len(said) + len(wanted))


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def resolve_rule(rule: AnswerRule, references: Sequence[str]) -> AnswerRule:
    """Return ``rule`` with the digest of its code, a custom function tried on a few rows.

    Args:
        rule: any.
        references: of the task, at least one; every function must be able to judge them.

    Raises:
        UsageError: the function cannot be imported, or fails on right answers.
    """
    if not rule.is_custom:
        return rule
    function = _function(rule.metric)
    few = list(references[:3])
    try:
        _custom(rule.metric, few, few)
    except RunError as error:
        raise UsageError(f"--metric was tried on right answers: {error}") from error
    return replace(rule, code=_code_digest(function))


def _custom(name: str, answers: list[str], references: list[str]) -> list[float]:
    """Return what the user's function says of every row.

    Raises:
        RunError: it raised, or returned other than one number in [0, 1] per row.
    """
    function = _function(name)
    try:
        values = [float(value) for value in function(list(answers), list(references))]
    except Exception as error:  # whatever the user's own code raises
        raise RunError(
            f"The metric {name!r} takes predictions and references, two lists of {len(answers)}"
            f" texts, and returns one number per row; it raised {type(error).__name__}"
            f" ({str(error)[:200]}). Correct it."
        ) from error
    wrong = [value for value in values if not 0 <= value <= 1]
    if len(values) != len(answers) or wrong:
        got = f"{wrong[0]!r} among them" if wrong else f"{len(values)} of them"
        raise RunError(
            f"The metric {name!r} returns {len(answers)} numbers in [0, 1], one per row and 1 for"
            f" right, it returned {got}. Correct it."
        )
    return values


def _function(name: str) -> CustomMetric:
    """Import ``package.module:function``, from the current folder too.

    Raises:
        UsageError: no such module or function, or one that fails to import.
    """
    module_name, _, attribute = name.partition(":")
    try:
        with _current_folder_on_path():
            module = importlib.import_module(module_name)
    except Exception as error:  # importing runs the user's own code
        raise UsageError(
            f"--metric {name!r} cannot be imported ({type(error).__name__}: {error}); name it as"
            " package.module:function, from the current folder or what is installed."
        ) from error
    found: Any = getattr(module, attribute, None)
    if not callable(found):
        functions = sorted(n for n, value in vars(module).items() if inspect.isfunction(value))
        raise UsageError(
            f"--metric {name!r} names no function; {module_name!r} has"
            f" {', '.join(functions) or 'none'}."
        )
    function: CustomMetric = found
    return function


@contextmanager
def _current_folder_on_path() -> Iterator[None]:
    """Let an import look into the current folder last, as ``python -m`` would."""
    folder = str(Path.cwd())
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _code_digest(function: CustomMetric) -> str:
    """Return the SHA-256 of the file that the function stands in, empty where there is none."""
    path = inspect.getsourcefile(inspect.unwrap(function))
    if path is None:
        return ""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
