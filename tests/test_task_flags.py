"""What may stand beside --task: contradictions and missing partners cost no minute of work."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.errors import UsageError
from autotune.kinds import KINDS, is_decision, quality_of
from autotune.task_flags import TaskFlags


def _kind(asked: str | None = None, *, template: str | None = "{q} {a}", **flags: Any) -> Any:
    return TaskFlags(**flags).resolve(asked, data="rows.csv", template=template)


def test_kinds_are_recognised() -> None:
    assert [_kind(kind) for kind in ("classification", "generation")] == [*KINDS[:2]]
    assert _kind() is None
    assert _kind(options="A, B ,C") == "choice"
    assert TaskFlags(options="A, B ,C").columns == ("A", "B", "C")
    assert _kind("perplexity", template=None) == "perplexity"
    assert _kind(template=None, chat=True) is None
    assert [kind for kind in KINDS if is_decision(kind)] == ["classification", "choice"]
    assert [quality_of(kind) for kind in KINDS] == ["accuracy"] * 3 + ["perplexity"]


@pytest.mark.parametrize(
    ("asked", "flags", "message"),
    [
        ("regression", {}, "--task is one of classification, generation, choice, perplexity"),
        ("choice", {}, "needs --options"),
        ("generation", {"options": "A"}, "leave one of them out"),
        (None, {"options": " , "}, "names the columns"),
        ("perplexity", {"chat": True}, "reads plain text"),
        ("perplexity", {"truncate": True}, "reads plain text"),
        (None, {"template": None}, "needs --template.*--chat.*--task perplexity"),
        ("generation", {"metric": "bleu"}, "exact, contains, f1 or a function"),
        ("generation", {"metric": "a.b:"}, "exact, contains, f1 or a function"),
        ("choice", {"options": "A", "metric": "exact"}, "per-character, per-token, sum"),
        ("classification", {"metric": "exact"}, "accuracy and macro F1"),
        ("perplexity", {"metric": "sum"}, "always gets perplexity"),
        ("classification", {"extract": "x"}, "generates none"),
        ("generation", {"extract": "("}, r"'\(' is none"),
        (None, {"extract": "("}, r"'\(' is none"),
    ],
)
def test_flags_that_cannot_work_are_refused(
    asked: str | None, flags: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        _kind(asked, **flags)


@pytest.mark.parametrize("flags", [{"chat": True}, {"options": "A"}, {"metric": "f1"}])
def test_they_are_about_data_of_the_users_own(flags: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="add --data"):
        TaskFlags(**flags).resolve(None, data=None, template=None)
