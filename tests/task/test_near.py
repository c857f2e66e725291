from __future__ import annotations

import itertools
import random
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.task import TextRow
from autotune.task.findings import about_near_rows
from autotune.task.near import NEAR, near_pairs

WORDS = [f"word{n}" for n in range(400)]


def row(text: str, number: int = 0) -> TextRow:
    return TextRow(prompt=f"### Text: {text}\n### Tone:", answer="x", place=f"line {number}")


def similarity(first: str, second: str) -> float:
    """Say slowly and obviously what share of neighbouring words two texts share."""

    def pairs(text: str) -> set[tuple[str, str]]:
        words = ["<", *re.findall(r"\w+", text.casefold()), ">"]
        return set(itertools.pairwise(words))

    one, other = pairs(first), pairs(second)
    return len(one & other) / len(one | other)


def test_case_and_punctuation_make_no_text_another() -> None:
    train = [row("The news, today: good!", 1), row("quite another text", 2)]
    test = [row("nothing like it", 7), row("the NEWS today -- good", 8)]
    (pair,) = near_pairs({"train": train, "test": test})
    assert (pair.split, pair.other, pair.rows) == ("test", "train", 1)
    assert (pair.text.place, pair.other_text.place) == ("line 8", "line 1")


def test_the_words_of_the_template_do_not_count() -> None:
    long = "once upon a time there was a very long template with so many more words than the text "
    train = [TextRow(prompt=f"{long}{n}", answer="x") for n in range(3)]
    test = [TextRow(prompt=f"{long}{n}", answer="x") for n in range(3, 6)]
    assert similarity(train[0].prompt, test[0].prompt) > NEAR
    assert near_pairs({"train": train, "test": test}) == ()


def test_all_pairs_of_the_slow_comparison_are_found_and_no_others() -> None:
    draw = random.Random(1)
    train = [" ".join(draw.choices(WORDS, k=draw.randint(3, 40))) for _ in range(300)]
    test = []
    for number, text in enumerate(train[:200]):
        words = text.split()
        for _ in range(number % 3):
            words[draw.randrange(len(words))] = "other"
        test.append(" ".join(words))
    slow = sum(any(similarity(text, other) >= NEAR for other in train) for text in test)
    assert 60 < slow < 190
    pairs = near_pairs({"train": list(map(row, train)), "test": list(map(row, test))})
    # A pair at the threshold is missed once in a thousand; these, with fixed hashes, are not.
    assert [pair.rows for pair in pairs] == [slow]


@given(st.lists(st.text("ab .\n", max_size=12), max_size=8), st.lists(st.text("ab "), max_size=8))
@settings(deadline=None)  # numpy is imported in the first example
def test_any_texts_can_be_compared(train: list[str], test: list[str]) -> None:
    pairs = near_pairs(
        {
            "train": [TextRow(prompt=text, answer="x") for text in train],
            "test": [TextRow(prompt=text, answer="x") for text in test],
        }
    )
    for pair in pairs:
        assert 1 <= pair.rows <= len(test)


def test_rows_that_are_all_alike_cost_no_square() -> None:
    same = [row("one and the same text") for _ in range(3000)]
    (pair,) = near_pairs({"train": same, "test": same})
    assert pair.rows == 3000


def test_a_split_too_long_to_compare_whole_says_so() -> None:
    same = {"train": [row("a b c d", n) for n in range(5)], "test": [row("a b c d")]}
    told, near = about_near_rows(same, most=4)
    assert told == "near-duplicates were looked for in the first rows only: train 4 of 5"
    assert near.startswith("1 of 1 test rows are near-duplicates of train rows")
