"""events.jsonl and trials.jsonl: appended whole or not at all, torn or damaged lines told apart."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.candidate import Candidate
from autotune.errors import OutputError, ReplayError
from autotune.plain import to_plain
from autotune.reports import (
    EventLog,
    TrialLog,
    TrialOrigin,
    append_json_line,
    json_schema,
    read_json_lines,
    trials_of,
    write_json_atomic,
)
from autotune.steps import OutcomeStatus

from .record import ADAPTER, BASE_FP32, BASE_INT4, DIVERGING, TUNED_FP32, TUNED_INT4, events

ORIGIN = TrialOrigin(versions={"autotune": "0.1.0"}, device="2 cores", seed=7)
HAS_PROC = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110 - evaluated at import


def journal(path: Path) -> EventLog:
    log = EventLog(path)
    for event in events():
        log.append(event)
    return log


def test_events_are_read_back_equal(tmp_path: Path) -> None:
    assert journal(tmp_path / "events.jsonl").read() == events()


def test_a_journal_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert EventLog(tmp_path / "events.jsonl").read() == []
    assert TrialLog(tmp_path / "trials.jsonl").read() == []


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_torn_last_line_never_happened_and_is_overwritten(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "events.jsonl"
    journal(path)
    *whole, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole) + last[:kept])
    log = EventLog(path)
    assert log.read() == events()[:-1]
    log.append(events()[-1])
    assert log.read() == events()


@given(cut=st.integers(min_value=0), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_journal_cut_anywhere_gives_the_whole_lines_before(
    tmp_path_factory: pytest.TempPathFactory, cut: int, data: st.DataObject
) -> None:
    values = data.draw(
        st.lists(
            st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)), max_size=4
        )
    )
    path = tmp_path_factory.mktemp("journal") / "j.jsonl"
    for value in values:
        append_json_line(path, value)
    content = path.read_bytes() if values else b""
    content = content[: cut % (len(content) + 1)]
    path.write_bytes(content)
    n_whole = content.count(b"\n")
    assert read_json_lines(path) == values[:n_whole]
    append_json_line(path, "next")
    assert read_json_lines(path) == [*values[:n_whole], "next"]


@pytest.mark.parametrize("damage", [b"{]", b'{"number": 2', b"\x00\x00", b"\xff"])
def test_a_damaged_line_in_the_middle_stops_the_replay(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "events.jsonl"
    journal(path)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:2], damage, *lines[3:]]))
    with pytest.raises(ReplayError, match="Line 3"):
        EventLog(path).read()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": "9.0"}, "no event of version 1.0"),
        ({"number": 5}, "holds event 5, expected 2"),
        ({"elapsed_s": "soon"}, "damaged at elapsed_s"),
        ({"step": {"kind": "guess"}}, "damaged at step"),
    ],
)
def test_a_line_that_is_no_event_of_ours_stops_the_replay(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "events.jsonl"
    journal(path)
    lines = path.read_text().splitlines()
    lines[2] = json.dumps(json.loads(lines[2]) | change)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ReplayError, match=message):
        EventLog(path).read()


def test_a_missing_line_stops_the_replay(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    journal(path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3] + lines[4:]))
    with pytest.raises(ReplayError, match="holds event 4, expected 3"):
        EventLog(path).read()


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        append_json_line(tmp_path / "j.jsonl", float("nan"))
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json_atomic(tmp_path / "d.json", {"a": float("inf")})
    assert list(tmp_path.iterdir()) == []


@HAS_PROC
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    (tmp_path / "j.jsonl").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"j\.jsonl.*free some space"):
        append_json_line(tmp_path / "j.jsonl", {"a": 1})


def test_a_failed_write_leaves_the_old_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.json"
    write_json_atomic(path, {"a": 1})

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_json_atomic(path, {"a": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["d.json"]
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_document_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"nowhere.*--output"):
        write_json_atomic(tmp_path / "nowhere" / "d.json", {})


def test_trials_end_where_their_last_number_is_known() -> None:
    trials = trials_of(events(), ORIGIN)
    assert [(t.event, t.outcome) for t in trials] == [
        (2, OutcomeStatus.MEASURED),
        (2, OutcomeStatus.MEASURED),
        (3, OutcomeStatus.DIVERGED),
        (5, OutcomeStatus.OUT_OF_MEMORY),
        (6, OutcomeStatus.MEASURED),
    ]
    assert [t.number for t in trials] == list(range(5))
    models = [
        Candidate(adapter=t.adapter, fraction=t.fraction, recipe=t.recipe)
        for t in trials
        if t.recipe
    ]
    assert models == [BASE_INT4, BASE_FP32, TUNED_FP32, TUNED_INT4]
    assert (trials[2].adapter, trials[2].recipe) == (DIVERGING, None)


def test_a_trial_keeps_raw_samples_and_tells_its_own_numbers_from_its_recipes() -> None:
    census, tuned = (trials_of(events(), ORIGIN)[place] for place in (0, 4))
    assert census.measurements["latency.p95"].blocks == ((0.05, 0.05),)
    assert set(census.measurements) == {"accuracy", "nll", "size", "latency.p95", "memory", "load"}
    assert census.recipe_measurements == {}
    assert tuned.adapter == ADAPTER
    assert set(tuned.measurements) == {"accuracy", "nll", "size"}
    assert tuned.recipe_measurements["latency.p95"].value == 0.05


def test_a_failed_trial_has_no_numbers_and_no_secrets() -> None:
    failed = trials_of(events(), ORIGIN)[3]
    assert failed.measurements == {}
    assert "hunter2" not in failed.reason


def test_trials_of_a_part_are_a_part_of_the_trials() -> None:
    everything = trials_of(events(), ORIGIN)
    for n in range(len(events()) + 1):
        part = trials_of(events()[:n], ORIGIN)
        assert part == everything[: len(part)]


def test_every_trial_is_written_once_across_resumes(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    for n in (3, 3, 4, 9, 9):
        TrialLog(path).catch_up(trials_of(events()[:n], ORIGIN))
    path.write_bytes(path.read_bytes()[:-7])
    added = TrialLog(path).catch_up(trials_of(events(), ORIGIN))
    assert [trial.number for trial in added] == [4]
    assert TrialLog(path).read() == trials_of(events(), ORIGIN)


def test_trial_lines_fit_the_published_schema() -> None:
    validator = jsonschema.Draft202012Validator(json_schema("trial-1.0"))
    for trial in trials_of(events(), ORIGIN):
        plain = to_plain(trial)
        validator.validate(plain)
        assert list(plain)[:2] == ["schema", "schema_version"]


def test_trials_of_another_version_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    TrialLog(path).catch_up(trials_of(events(), ORIGIN))
    path.write_text(path.read_text().replace('"schema_version":"1.0"', '"schema_version":"0.9"'))
    with pytest.raises(ReplayError, match=r"Line 1 .*schema_version"):
        TrialLog(path).read()
