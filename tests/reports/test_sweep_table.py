"""TABLE.csv: numbers and text come back equal, rows are whole, a foreign table is refused."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import UsageError
from autotune.reports import Cell, SweepTable

COLUMNS = ("instance", "x_rank", "loss", "reason")


def table(folder: Path) -> SweepTable:
    return SweepTable(path=folder / "t.csv", columns=COLUMNS)


def test_commas_quotes_and_line_breaks_in_text_come_back(tmp_path: Path) -> None:
    row: dict[str, Cell] = {"instance": 'a, "b"', "x_rank": 8, "loss": 0.1 + 0.2}
    table(tmp_path).append([{**row, "reason": 'it said:\n"no", twice\r\n\tthen  ended'}])
    expected = {"instance": 'a, "b"', "x_rank": "8", "loss": "0.30000000000000004"}
    assert table(tmp_path).read() == [
        {**expected, "reason": 'it said: "no", twice then ended'},
    ]
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        assert next(csv.DictReader(file))["instance"] == 'a, "b"'
    assert (tmp_path / "t.csv").read_bytes().count(b"\n") == 2


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "instance": st.text(st.characters(exclude_categories=["Cs"])),
                "x_rank": st.integers() | st.none(),
                "loss": st.floats(allow_nan=False, allow_infinity=False) | st.none(),
            }
        ),
        max_size=4,
    )
)
def test_what_is_appended_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Cell]]
) -> None:
    folder = tmp_path_factory.mktemp("table")
    said = [row for one in rows for row in table(folder).append([one])]
    found = table(folder).read()
    assert found == said
    assert len(found) == len(rows)
    for row, text in zip(rows, found, strict=True):
        assert text["instance"] == " ".join(str(row["instance"]).split())
        assert text["x_rank"] == ("" if row["x_rank"] is None else str(row["x_rank"]))
        assert (float(text["loss"]) if text["loss"] else None) == row["loss"]
        assert text["reason"] == ""


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_torn_last_row_never_happened_and_is_replaced(tmp_path: Path, cut: int) -> None:
    rows: list[dict[str, Cell]] = [{"instance": f"row {i}", "loss": i / 3} for i in range(2)]
    table(tmp_path).append(rows)
    path = tmp_path / "t.csv"
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    whole = table(tmp_path).read()
    assert len(whole) < 2
    table(tmp_path).append(rows[len(whole) :])
    assert path.read_bytes() == content


def test_a_torn_heading_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("instance,x_r", encoding="utf-8")
    assert table(tmp_path).read() == []
    table(tmp_path).append([{"loss": 1.0}])
    assert [row["loss"] for row in table(tmp_path).read()] == ["1.0"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("instance,rank,loss,reason\n", r"Line 1 .* it has 'instance,rank"),
        ("instance,x_rank,loss,reason\na,8\n", "Line 2 .* it has 2 cells"),
        ("instance,x_rank,loss,reason\na,8,1.0,\na,8,1.0,no,really\n", "Line 3 .* 5 cells"),
    ],
)
def test_a_table_of_another_form_is_refused_with_the_line(
    tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        table(tmp_path).read()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_is_written_that_is_none(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        table(tmp_path).append([{"loss": value}])
    assert not (tmp_path / "t.csv").exists()


def test_a_cell_of_no_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="latency"):
        table(tmp_path).append([{"latency": 1.0}])
