"""The demo's data keep what their README promises."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from autotune.demo import data_path

ROOT = Path(__file__).parents[1]
Row = dict[str, str]


@pytest.fixture(scope="module")
def demo_rows() -> list[Row]:
    return [json.loads(line) for line in data_path().read_text("utf-8").splitlines()]


def test_demo_data_is_balanced_and_large_enough(demo_rows: list[Row]) -> None:
    tones = Counter(row["tone"] for row in demo_rows)
    assert set(tones) == {"joy", "sadness", "fear", "surprise"}
    assert len(demo_rows) >= 800
    assert max(tones.values()) <= 1.1 * min(tones.values())
    assert sum(row["split"] == "test" for row in demo_rows) >= 160


def test_no_demo_phrase_stands_twice(demo_rows: list[Row]) -> None:
    words = [" ".join(re.findall(r"\w+", row["phrase"].casefold())) for row in demo_rows]
    assert [phrase for phrase, count in Counter(words).items() if count > 1] == []


def test_single_words_do_not_give_the_demo_tone_away(demo_rows: list[Row]) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is in the extra 'test'")
    from sklearn.feature_extraction.text import CountVectorizer  # noqa: PLC0415 - optional
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - same
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415 - same

    known = [row for row in demo_rows if row["split"] != "test"]
    unseen = [row for row in demo_rows if row["split"] == "test"]
    model = make_pipeline(CountVectorizer(), LogisticRegression(max_iter=1000))
    model.fit([row["phrase"] for row in known], [row["tone"] for row in known])
    score = model.score([row["phrase"] for row in unseen], [row["tone"] for row in unseen])
    assert score <= 0.80
    for readme in (ROOT / "README.md", ROOT / "src" / "autotune" / "demo" / "README.md"):
        assert f"{score:.3f}" in readme.read_text("utf-8"), f"{readme.name} says another figure"
