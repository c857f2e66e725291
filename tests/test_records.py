"""What identifies a run, and the shelf of finished records."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.candidate import Candidate, Precision, Recipe
from autotune.errors import UsageError
from autotune.records import RecordShelf, RunIdentity
from autotune.reports import EventLog
from autotune.steps import Event, Outcome, OutcomeStatus, ScoreStep

FACTS = {"model": "a" * 64, "data": "b" * 64, "version of torch": "2.13.0"}
KEY = "0123456789abcdef"


def journal(path: Path, *, count: int = 2) -> list[Event]:
    """Write a journal of ``count`` events and return them."""
    recipe = Recipe(provider="cpu", precision=Precision.FP32)
    step = ScoreStep(candidate=Candidate(adapter=None, fraction=0, recipe=recipe))
    events = [
        Event(
            number=number,
            step=step,
            outcome=Outcome(status=OutcomeStatus.CRASHED, reason="out of luck"),
            started_s=number,
            elapsed_s=number + 1.0,
            at="2026-11-23T12:00:00+00:00",
        )
        for number in range(count)
    ]
    for event in events:
        EventLog(path).append(event)
    return events


def test_a_resumed_run_that_shares_every_fact_goes_on(tmp_path: Path) -> None:
    identity = RunIdentity(path=tmp_path / "identity.json")
    identity.check_or_write(FACTS)
    before = identity.path.read_bytes()
    identity.check_or_write(dict(reversed(FACTS.items())))
    assert identity.path.read_bytes() == before


@pytest.mark.parametrize(
    ("facts", "name", "before", "now"),
    [
        ({**FACTS, "version of torch": "2.14.0"}, "version of torch", "'2.13.0'", "'2.14.0'"),
        ({**FACTS, "data": "c" * 64}, "data", "'bbbbbbbbbbbbbbbb'", "'cccccccccccccccc'"),
        ({**FACTS, "version of peft": "1"}, "version of peft", "'absent'", "'1'"),
        ({"model": "a" * 64, "data": "b" * 64}, "version of torch", "'2.13.0'", "'absent'"),
    ],
)
def test_a_fact_that_differs_is_named_with_both_values(
    facts: dict[str, str], name: str, before: str, now: str, tmp_path: Path
) -> None:
    identity = RunIdentity(path=tmp_path / "identity.json")
    identity.check_or_write(FACTS)
    with pytest.raises(UsageError) as caught:
        identity.check_or_write(facts)
    message = str(caught.value)
    assert f"{name} was {before} and is {now} now; start a new run" in message


def test_facts_that_differ_late_are_shown_as_different(tmp_path: Path) -> None:
    identity = RunIdentity(path=tmp_path / "identity.json")
    identity.check_or_write({"version of x": "1.2.3.dev20261101+a"})
    with pytest.raises(UsageError) as caught:
        identity.check_or_write({"version of x": "1.2.3.dev20261101+b"})
    message = str(caught.value)
    before, now = message.partition(" was ")[2].split(";")[0].split(" and is ")
    assert before != now.removesuffix(" now")


def test_a_kept_record_is_found_again(tmp_path: Path) -> None:
    events = journal(tmp_path / "events.jsonl")
    shelf = RecordShelf(root=tmp_path / "shelf")
    shelf.keep(KEY, tmp_path / "events.jsonl")
    assert shelf.find(KEY) == events


def test_an_unknown_key_finds_nothing(tmp_path: Path) -> None:
    assert RecordShelf(root=tmp_path / "shelf").find(KEY) == []


def test_the_latest_record_stays_and_nothing_else(tmp_path: Path) -> None:
    shelf = RecordShelf(root=tmp_path / "shelf")
    journal(tmp_path / "first.jsonl", count=1)
    shelf.keep(KEY, tmp_path / "first.jsonl")
    second = journal(tmp_path / "second.jsonl", count=3)
    shelf.keep(KEY, tmp_path / "second.jsonl")
    assert shelf.find(KEY) == second
    assert len(list((tmp_path / "shelf").iterdir())) == 1


@pytest.mark.parametrize("damage", ["{}\n", "no json\n", '{"schema": "other"}\n'])
def test_a_damaged_record_is_no_record_and_goes_away(damage: str, tmp_path: Path) -> None:
    journal(tmp_path / "events.jsonl")
    shelf = RecordShelf(root=tmp_path / "shelf")
    shelf.keep(KEY, tmp_path / "events.jsonl")
    (kept,) = (tmp_path / "shelf").iterdir()
    kept.write_text(damage, encoding="utf-8")
    assert shelf.find(KEY) == []
    assert not kept.exists()
