"""Making room in the store: what goes, in which order, and never under a command at work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.cache import plan_prune, size_lines
from autotune.errors import UnitError, UsageError
from autotune.passes import (
    ArtifactStore,
    Origin,
    Stored,
    chosen_to_go,
    prune_store,
    stored_artifacts,
)
from autotune.plain import digest


def filled(root: Path) -> ArtifactStore:
    """Return a store with three artifacts of 1, 2 and 3 kB, the first the oldest."""
    store = ArtifactStore(root)
    for number in (1, 2, 3):
        key = digest({"artifact": number})
        with store.workdir(key) as workdir:
            (workdir / "weights").write_bytes(b"w" * 1000 * number)
            origin = Origin(key=key, name="build", parameters={}, inputs={}, versions={})
            artifact = store.commit(workdir, origin, facts={}, seconds=1.0)
        os.utime(artifact.path, (1e9 + 86400 * number, 1e9 + 86400 * number))
    return store


STORED = st.lists(
    st.builds(
        Stored,
        name=st.just("build"),
        key=st.uuids().map(str),
        size_bytes=st.integers(0, 1000),
        made_s=st.floats(0, 1e6),
    ),
    max_size=8,
).map(lambda found: sorted(found, key=lambda one: one.made_s))


@given(stored=STORED, limit=st.integers(0, 4000), age_s=st.floats(0, 1e6))
def test_the_oldest_go_and_no_more_than_needed(
    stored: list[Stored], limit: int, age_s: float
) -> None:
    gone = chosen_to_go(stored, now_s=1e6, to_bytes=limit)
    assert gone == stored[: len(gone)]
    kept = sum(one.size_bytes for one in stored[len(gone) :])
    assert kept <= limit
    assert not gone or kept + gone[-1].size_bytes > limit
    old = chosen_to_go(stored, now_s=1e6, older_than_s=age_s)
    assert old == [one for one in stored if 1e6 - one.made_s > age_s]
    assert chosen_to_go(stored, now_s=1e6) == []
    both = chosen_to_go(stored, now_s=1e6, older_than_s=age_s, to_bytes=limit)
    assert set(map(id, both)) == set(map(id, [*gone, *old]))


def test_a_pruned_store_is_whole_and_makes_again_what_went(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    first, second, third = stored_artifacts(store)
    assert [one.size_bytes // 1000 for one in (first, second, third)] == [1, 2, 3]
    assert prune_store(store, [first, second]) == first.size_bytes + second.size_bytes
    assert stored_artifacts(store) == [third]
    assert store.get(first.key, "build") is None
    assert store.get_verified(third.key, "build") is not None
    assert list((tmp_path / "store" / "tmp").iterdir()) == []
    assert prune_store(store, [first]) == first.size_bytes  # gone already: no error


def test_a_command_at_work_keeps_the_store_from_being_pruned(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    everything = stored_artifacts(store)
    with (
        store.used(),
        pytest.raises(UsageError, match="is at work with the store"),
    ):
        prune_store(ArtifactStore(store.root), everything)
    assert stored_artifacts(store) == everything
    assert prune_store(store, everything) > 6000


def test_a_command_that_was_killed_keeps_nothing(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from autotune.passes import ArtifactStore\n"
        "with ArtifactStore(Path(sys.argv[1])).used():\n"
        "    os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.root)], check=False)
    assert done.returncode == 9
    assert len(list((store.root / "locks").glob("user-*"))) == 1
    assert prune_store(store, stored_artifacts(store)) > 6000
    assert list((store.root / "locks").glob("user-*")) == []


# The flags


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOTUNE_CACHE", str(tmp_path / "store"))
    return tmp_path / "store"


def test_looking_into_a_store_that_is_not_there_makes_none(at_home: Path) -> None:
    assert list(size_lines()) == [f"{at_home}: nothing stored yet"]
    assert plan_prune(older_than=None, to=None, everything=True) is None
    assert not at_home.exists()


def test_what_goes_is_told_first_and_removed_when_asked(at_home: Path) -> None:
    filled(at_home)
    assert next(size_lines()).split() == [
        "build",
        *next(size_lines()).split()[1:3],
        "3",
        "artifacts",
    ]
    plan = plan_prune(older_than="365d", to=None, everything=False)
    assert plan is not None
    assert (len(plan.gone), plan.kept) == (3, 0)  # of the year 2001
    plan = plan_prune(older_than=None, to="4kB", everything=False)
    assert plan is not None
    assert (len(plan.gone), plan.kept) == (2, 1)
    assert plan.carry_out() == plan.freed_bytes
    assert len(stored_artifacts(ArtifactStore(at_home))) == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "Say what may go"),
        ({"everything": True, "to": "1GB"}, "--all leaves nothing"),
        ({"older_than": "30"}, "--older-than needs a unit"),
        ({"to": "0GB"}, "greater than zero"),
    ],
)
def test_a_wrong_flag_of_prune_names_the_way_out(flags: dict[str, object], message: str) -> None:
    asked: dict[str, object] = {"older_than": None, "to": None, "everything": False, **flags}
    with pytest.raises((UsageError, UnitError), match=message):
        plan_prune(**asked)  # type: ignore[arg-type]  # values of the cases above
