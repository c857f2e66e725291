from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import DataError
from autotune.task import TextRow
from autotune.task.split import DEFAULT_SHARES, check_leaks, normalized, split_rows, unique_rows

rows_of_any_kind = st.lists(
    st.builds(TextRow, prompt=st.text("aAbB \t", min_size=1), answer=st.sampled_from("xyz"))
)


def row(prompt: str, answer: str = "x") -> TextRow:
    return TextRow(prompt=prompt, answer=answer)


def test_case_and_white_space_do_not_make_a_prompt_new() -> None:
    assert normalized("  What\n a\tDAY ") == "what a day" == normalized("What a day")


def test_repeats_are_removed_and_conflicts_left_out() -> None:
    found = unique_rows(
        [row("a"), row("b"), row(" A "), row("c"), row("c", "y"), row("C", "x"), row("d", "y")]
    )
    assert found.rows == (row("a"), row("b"), row("d", "y"))
    assert (found.repeats, found.conflicting_prompts, found.conflicting_rows) == (1, 1, 3)
    assert found.conflicts == ((row("c"), row("c", "y"), row("C", "x")),)


@given(rows_of_any_kind)
def test_every_row_is_used_a_repeat_or_in_conflict(rows: list[TextRow]) -> None:
    found = unique_rows(rows)
    assert len(found.rows) + found.repeats + found.conflicting_rows == len(rows)
    keys = [normalized(kept.prompt) for kept in found.rows]
    assert len(set(keys)) == len(keys)
    assert {normalized(left.prompt) for left in rows} >= set(keys)


def test_a_leak_is_counted_and_shown() -> None:
    train, test = [row("a"), row("b"), row("c")], [row("d"), row(" B"), row("C")]
    with pytest.raises(DataError, match="train and test share 2, the first is ' B'"):
        check_leaks({"train": train, "test": test})
    check_leaks({"train": train, "validation": [row("e")], "test": [row("d")]})


unique = rows_of_any_kind.map(lambda rows: list(unique_rows(rows).rows))


@given(unique, st.integers(0, 9), st.booleans(), st.randoms(use_true_random=False))
def test_a_split_shares_nothing_loses_nothing_and_ignores_the_order(
    rows: list[TextRow], seed: int, stratify: bool, random: object
) -> None:
    splits = split_rows(rows, seed=seed, stratify=stratify)
    dealt = [found for part in splits.values() for found in part]
    assert sorted(map(repr, dealt)) == sorted(map(repr, rows))
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # Hypothesis' random is a random.Random
    assert split_rows(shuffled, seed=seed, stratify=stratify) == splits


@given(unique, st.integers(0, 9))
def test_a_stratified_split_is_within_a_row_of_its_shares(rows: list[TextRow], seed: int) -> None:
    splits = split_rows(rows, seed=seed, stratify=True)
    totals = Counter(found.answer for found in rows)
    for name, share in DEFAULT_SHARES.items():
        counts = Counter(found.answer for found in splits[name])
        for answer, total in totals.items():
            assert abs(counts[answer] - share * total) <= 1


def test_another_seed_deals_other_rows() -> None:
    rows = [row(f"prompt {n}") for n in range(100)]
    first, second = (split_rows(rows, seed=seed, stratify=True)["test"] for seed in (0, 1))
    assert set(first) != set(second)


def test_a_split_that_is_not_asked_for_is_not_made() -> None:
    rows = [row(f"prompt {n}") for n in range(40)]
    splits = split_rows(rows, seed=0, shares={"train": 0.6, "validation": 0.2}, stratify=True)
    assert {name: len(part) for name, part in splits.items()} == {"train": 30, "validation": 10}


def test_more_rows_leave_most_rows_where_they_were() -> None:
    rows = [row(f"prompt {n}") for n in range(220)]
    before = split_rows(rows[:200], seed=0, stratify=True)["test"]
    after = split_rows(rows, seed=0, stratify=True)["test"]
    assert len(set(before) & set(after)) >= 30
