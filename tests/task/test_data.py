from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import DataError
from autotune.task import load_table
from autotune.task.data import hub_table

Write = Callable[..., str]


def test_a_missing_file_names_the_nearest_one(write: Write) -> None:
    path = write([{"a": 1}], "tones.jsonl")
    with pytest.raises(DataError, match=r"no data file .*Did you mean 'tones\.jsonl'\?"):
        load_table(path.replace("tones", "tonnes"))


def test_a_slip_in_the_ending_is_no_hub_id(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(write("phrase,tone\na,b\n", "tones.csv"))
    monkeypatch.chdir(path.parent)
    with pytest.raises(DataError, match=r"no data file 'tones\.cvs'\. Did you mean 'tones\.csv'\?"):
        load_table("tones.cvs")


def test_a_missing_file_in_a_missing_folder_is_no_hub_id(tmp_path: Path) -> None:
    for source in ("nowhere/at/all/x", "nowhere/tones.csv", str(tmp_path / "x")):
        with pytest.raises(DataError, match="There is no data file"):
            load_table(source)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        load_table(str(tmp_path))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all files")
def test_an_unreadable_file_says_why(write: Write) -> None:
    path = write("phrase,tone\na,b\n")
    Path(path).chmod(0)
    with pytest.raises(DataError, match="Permission denied"):
        load_table(path)


@pytest.mark.parametrize(
    ("magic", "what"), [(b"\x1f\x8b\x08", "gzip"), (b"PK\x03\x04", "spreadsheet")]
)
def test_archives_are_named_for_what_they_are(write: Write, magic: bytes, what: str) -> None:
    with pytest.raises(DataError, match=what):
        load_table(write(magic + b"rest", "data.csv"))


def test_parquet_is_recognised_by_content(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra train")
    arrow = pytest.importorskip("pyarrow", reason="needs the extra train")
    path = tmp_path / "data.csv"
    columns = {"phrase": ["a", "b", None], "n": [1, 2, 3], "x": [True, None, False], "l": [[1]] * 3}
    parquet.write_table(arrow.table(columns), path)
    table = load_table(str(path))
    assert table.unit == "row"
    assert [dict(record.fields) for record in table.records] == [
        {"phrase": "a", "n": "1", "x": "true", "l": [1]},
        {"phrase": "b", "n": "2", "x": None, "l": [1]},
        {"phrase": None, "n": "3", "x": "false", "l": [1]},
    ]
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=r"parquet file .* is damaged"):
        load_table(str(path))


@pytest.mark.parametrize("source", ["parquet", "hub"])
def test_a_missing_library_names_the_extra(
    write: Write, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    name = write(b"PAR1rest", "data.parquet") if source == "parquet" else "owner/name"
    with pytest.raises(DataError, match=r"autotune-slm\[train\]"):
        load_table(name)


class ClassLabel:
    names = ("no", "yes")


class Split:
    """What is used of ``datasets.Dataset``: features and iteration over dicts."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.features = {"text": object(), "label": ClassLabel()}

    def __iter__(self) -> Any:
        return iter([dict(row) for row in self.rows])


def test_hub_splits_are_kept_and_class_numbers_get_their_names() -> None:
    loaded = {
        "train": Split([{"text": "a", "label": 1}, {"text": "b", "label": -1}]),
        "dev": Split([{"text": "c", "label": 0}]),
        "unsupervised": Split([{"text": "d", "label": -1}]),
    }
    table = hub_table(loaded, ClassLabel, name="x")
    assert [(record.fields["label"], record.split) for record in table.records] == [
        ("yes", "train"),
        (None, "train"),
        ("no", "validation"),
    ]
    assert [record.number for record in table.records] == [1, 2, 3]
    assert table.notes == ("splits not used: unsupervised",)


def test_a_hub_data_set_with_one_split_of_any_name_has_no_splits_of_its_own() -> None:
    table = hub_table({"everything": Split([{"text": "a", "label": 1}])}, ClassLabel, name="x")
    assert [record.split for record in table.records] == [None]


def test_hub_splits_of_unknown_names_are_refused() -> None:
    rows = [{"text": "a", "label": 1}]
    with pytest.raises(DataError, match="has left, right"):
        hub_table({"left": Split(rows), "right": Split(rows)}, ClassLabel, name="x")


def test_the_datasets_library_gives_what_hub_table_expects() -> None:
    datasets = pytest.importorskip("datasets", reason="needs the extra train")
    features = datasets.Features(
        text=datasets.Value("string"), label=datasets.ClassLabel(names=["no", "yes"])
    )
    made = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    loaded = datasets.DatasetDict(train=made, test=made)
    table = hub_table(loaded, datasets.ClassLabel, name="x")
    assert [(r.fields["text"], r.fields["label"], r.split) for r in table.records] == [
        ("a", "yes", "train"),
        ("b", "no", "train"),
        ("a", "yes", "test"),
        ("b", "no", "test"),
    ]
